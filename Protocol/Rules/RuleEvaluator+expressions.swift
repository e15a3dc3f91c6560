import Expressions
import Primitives

/// Combinations of several sensors.
///
/// Every value that an expression reads has one place, whoever reads it; an expression is judged whenever one of its
/// values comes. A missing value (never heard, not a number, of bad quality, or older than the rule allows) is unknown:
/// what is unknown opens nothing, ends what is only pending, and leaves an open fault open, because nobody knows that it
/// is over.
extension RuleEvaluator {
    /// One value that expressions read.
    struct Input: Sendable {
        /// NaN while it is missing.
        var value = Double.nan
        var at = Int64.min
    }

    /// An expression bound to the values that it reads.
    struct Program: Sendable {
        let expression: SignalExpression
        /// For each signal of the expression, its place in `inputs`.
        let places: [Int]
        /// What ends the fault; `nil`: that the expression does not hold.
        let clear: SignalExpression?
        let clearPlaces: [Int]
    }

    /// Which rules with expressions read a key.
    struct ExpressionIndex: Sendable {
        struct Use: Sendable {
            let rule: Int
            /// Whose state it is; `nil` when the key's own device.
            let device: DeviceID?
        }

        /// Rules for one device.
        var named: [Key: [Use]] = [:]
        /// Rules for any device, by a metric of the device itself.
        var open: [String: [Use]] = [:]
        /// Rules for any device, by a metric of a device that the expression names.
        var shared: [Key: [Int]] = [:]
        var isEmpty: Bool { named.isEmpty && open.isEmpty && shared.isEmpty }

        init(_ rules: [Rule]) {
            for (index, rule) in rules.enumerated() {
                for signal in rule.signals {
                    switch (rule.device, signal.device) {
                    case (.one(let own), let other):
                        named[Key(device: other ?? own, metric: signal.metric), default: []]
                            .append(Use(rule: index, device: own))
                    case (.any, nil): open[signal.metric, default: []].append(Use(rule: index, device: nil))
                    case (.any, let other?):
                        shared[Key(device: other, metric: signal.metric), default: []].append(index)
                    }
                }
            }
        }

        func reads(_ key: Key) -> Bool {
            !isEmpty && (named[key] != nil || open[key.metric] != nil || shared[key] != nil)
        }
    }

    /// The states that read the key; made where the rules are for its device.
    mutating func programStates(
        reading key: Key, _ now: Int64, _ outcomes: inout [RuleOutcome]
    ) -> (indices: [Int], isComplete: Bool) {
        var indices: [Int] = []
        var isComplete = true
        for use in (expressions.named[key] ?? []) + (expressions.open[key.metric] ?? []) {
            let (made, isMade) = makeStates(of: [use.rule], use.device ?? key.device, now, &outcomes)
            indices += made.filter { !indices.contains($0) }
            isComplete = isComplete && isMade
        }
        for rule in expressions.shared[key] ?? [] {
            indices += states.indices.filter { states[$0].rule == rule && !indices.contains($0) }
        }
        return (indices, isComplete)
    }

    /// Binds the rule's expression for a device, and lets the values that were heard before find the new state.
    mutating func makeProgram(_ rule: Int, _ device: DeviceID, state: Int) -> Int32 {
        guard case .expression(let expression) = rules[rule].condition else {
            preconditionFailure("only expressions are bound")
        }
        let key: (SignalName) -> Key = { Key(device: $0.device ?? device, metric: $0.metric) }
        let clear = rules[rule].clearCondition
        programs.append(
            Program(
                expression: expression, places: expression.signals.map { inputPlace(of: key($0)) }, clear: clear,
                clearPlaces: (clear?.signals ?? []).map { inputPlace(of: key($0)) }))
        for signal in rules[rule].signals { joinWatchers(of: key(signal), state) }
        return Int32(programs.count - 1)
    }

    mutating func inputPlace(of key: Key) -> Int {
        if let place = inputIndex[key] { return place }
        inputs.append(Input())
        inputIndex[key] = inputs.count - 1
        return inputs.count - 1
    }

    mutating func take(_ value: Double?, into place: Int, at now: Int64) {
        guard now >= inputs[place].at else { return }
        inputs[place] = Input(value: value ?? .nan, at: now)
    }

    mutating func combine(_ index: Int, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        states[index].lastSeen = now
        guard states[index].isActive, case .expression(let maxAge) = compiled[Int(states[index].rule)].judge else {
            return
        }
        settle(index, truth(index, now, maxAge), nil, now, &outcomes)
    }

    func truth(_ index: Int, _ now: Int64, _ maxAge: Int64) -> Judge.Verdict {
        let program = Int(states[index].memory)
        let holds = programs[program].expression.truth { signal in
            value(programs[program].places[signal], now, maxAge)
        }
        if holds == true { return .breached }
        if states[index].phase == .breached, let clear = programs[program].clear {
            let isOver = clear.truth { signal in value(programs[program].clearPlaces[signal], now, maxAge) }
            return isOver == true ? .good : .between
        }
        return holds == nil ? .undecided : .good
    }

    private func value(_ place: Int, _ now: Int64, _ maxAge: Int64) -> Double? {
        let input = inputs[place]
        return maxAge > 0 && input.at < now - maxAge ? nil : input.value
    }
}
