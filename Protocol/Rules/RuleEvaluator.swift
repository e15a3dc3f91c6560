public import Primitives

/// What a rule found about one device.
public struct RuleOutcome: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case breached
        case recovered
        /// There is no room to watch this device: the rule does not see it. Said once for each rule.
        case full
    }

    /// Index in the evaluator's `rules`.
    public let rule: Int
    public let device: DeviceID
    public let kind: Kind
    /// The value that decided; `nil` when silence did.
    public let value: Double?
    public let at: MonotonicInstant
}

/// Holds values against rules: the same code at the edge and in the hub.
///
///                  breached                held for the rule's time
///     clear ───────────────► pending ───────────────────────────► breached
///       ▲   ◄─── good again ───┘                                     │
///       └────────────── recovered, beyond the hysteresis ────────────┘
///
/// One state for each (rule, device). Time comes with every input; an observation older than the last one of its state
/// is left out, so that back-fill never reopens anything. Values that are not finite decide nothing.
public struct RuleEvaluator: Sendable {
    /// States that are kept at most: 2,560. A gateway's snapshot, with its open faults, then stays under 1 MiB.
    public static let statesMaxDefault = 2560

    struct State: Sendable {
        enum Phase: UInt8, Sendable { case clear = 0, pending = 1, breached = 2 }

        let rule: Int
        let device: DeviceID
        var phase = Phase.clear
        /// When the phase began.
        var since: MonotonicInstant
        /// The last observation, or when watching began.
        var lastSeen: MonotonicInstant
        var value: Double?
    }

    struct Key: Hashable, Sendable {
        let device: DeviceID
        let metric: String
    }

    struct StateKey: Hashable, Sendable {
        let rule: Int
        let device: DeviceID
    }

    public let rules: [Rule]
    public let statesMax: Int
    /// Changes with every change that a snapshot should keep; being heard is not one.
    public private(set) var revision: UInt64 = 0
    /// Observations that no state could be made for, since the start.
    public private(set) var unwatchedCount: UInt64 = 0

    var states: [State] = []
    private var stateIndex: [StateKey: Int] = [:]
    /// Which states an observation concerns; filled when a device and metric are first seen.
    private var watched: [Key: [Int]] = [:]
    private var watchedAnyMetric: [DeviceID: [Int]] = [:]
    private let rulesByMetric: [String: [Int]]
    private let anyMetricRules: [Int]
    private var saidFull: Set<Int> = []
    /// No deadline lies before it; it may be earlier than the first one.
    private var earliest: MonotonicInstant?

    /// - Parameter rules: names must differ; what runs elsewhere is the caller's to leave out.
    public init(rules: [Rule], statesMax: Int = Self.statesMaxDefault) {
        precondition(Set(rules.map(\.name)).count == rules.count, "two rules have the same name")
        self.rules = rules
        self.statesMax = statesMax
        rulesByMetric = Dictionary(grouping: rules.indices.filter { rules[$0].metric != nil }) {
            rules[$0].metric ?? ""
        }
        anyMetricRules = rules.indices.filter { rules[$0].metric == nil }
    }

    /// Starts the clock of rules about the silence of a named device: it may never have spoken. Call once, after
    /// `restore` if there is something to restore.
    public mutating func begin(at now: MonotonicInstant) {
        for (index, rule) in rules.enumerated() {
            guard rule.condition == .silent, case .one(let device) = rule.device else { continue }
            guard let state = state(rule: index, device: device, at: now) else { continue }
            arm(state)
        }
    }

    /// The earliest instant at which `timeReached` may have something to say; `nil` for never. Calling early is fine.
    public var nextDeadline: MonotonicInstant? { earliest }

    /// Whether the rule is in breach for the device.
    public func isBreached(rule: String, device: DeviceID) -> Bool { breachedState(rule, device) != nil }

    /// The value that began the breach; `nil` when there is none, or silence began it.
    public func breachingValue(rule: String, device: DeviceID) -> Double? { breachedState(rule, device)?.value }

    private func breachedState(_ rule: String, _ device: DeviceID) -> State? {
        guard let index = rules.firstIndex(where: { $0.name == rule }),
            let state = stateIndex[StateKey(rule: index, device: device)], states[state].phase == .breached
        else { return nil }
        return states[state]
    }

    // MARK: - Inputs

    /// A value came in. Not finite: nothing happens. Cost: no allocation unless something fires or is seen first.
    public mutating func observed(
        device: DeviceID, metric: String, value: Double, at now: MonotonicInstant
    ) -> [RuleOutcome] {
        guard value.isFinite else { return [] }
        return visit(device: device, metric: metric, value: value, at: now)
    }

    /// Something came in that is no number, such as a text: it only ends silence.
    public mutating func heard(device: DeviceID, metric: String, at now: MonotonicInstant) -> [RuleOutcome] {
        visit(device: device, metric: metric, value: nil, at: now)
    }

    /// The clock has moved: fires what was waiting for time alone.
    public mutating func timeReached(_ now: MonotonicInstant) -> [RuleOutcome] {
        guard let first = earliest, first <= now else { return [] }
        earliest = nil
        var outcomes: [RuleOutcome] = []
        for index in states.indices {
            guard let deadline = deadline(of: index) else { continue }
            guard deadline <= now else {
                noteDeadline(deadline)
                continue
            }
            outcomes.append(fire(index, at: now))
        }
        return outcomes
    }

    private mutating func visit(
        device: DeviceID, metric: String, value: Double?, at now: MonotonicInstant
    ) -> [RuleOutcome] {
        var outcomes: [RuleOutcome] = []
        if let candidates = rulesByMetric[metric] {
            let key = Key(device: device, metric: metric)
            if let indices = watched[key] {
                for index in indices { step(index, value, now, &outcomes) }
            } else {
                let indices = watch(candidates, device, now, &outcomes)
                if !indices.isEmpty { watched[key] = indices }
                for index in indices { step(index, value, now, &outcomes) }
            }
        }
        guard !anyMetricRules.isEmpty else { return outcomes }
        if let indices = watchedAnyMetric[device] {
            for index in indices { step(index, value, now, &outcomes) }
        } else {
            let indices = watch(anyMetricRules, device, now, &outcomes)
            if !indices.isEmpty { watchedAnyMetric[device] = indices }
            for index in indices { step(index, value, now, &outcomes) }
        }
        return outcomes
    }

    /// Makes the states of a device that is seen for the first time. When one of them finds no room, nothing is
    /// remembered, and the next observation tries again.
    private mutating func watch(
        _ candidates: [Int], _ device: DeviceID, _ now: MonotonicInstant, _ outcomes: inout [RuleOutcome]
    ) -> [Int] {
        var indices: [Int] = []
        for rule in candidates where rules[rule].device.selects(device) {
            if let index = state(rule: rule, device: device, at: now) {
                indices.append(index)
            } else {
                unwatchedCount += 1
                if saidFull.insert(rule).inserted {
                    outcomes.append(RuleOutcome(rule: rule, device: device, kind: .full, value: nil, at: now))
                }
            }
        }
        return indices
    }

    private mutating func state(rule: Int, device: DeviceID, at now: MonotonicInstant) -> Int? {
        let key = StateKey(rule: rule, device: device)
        if let index = stateIndex[key] { return index }
        return add(State(rule: rule, device: device, since: now, lastSeen: now))
    }

    mutating func add(_ state: State) -> Int? {
        let key = StateKey(rule: state.rule, device: state.device)
        guard states.count < statesMax, stateIndex[key] == nil else { return nil }
        states.append(state)
        stateIndex[key] = states.count - 1
        // Silence of a device that nobody named must be watched after a restart too.
        if rules[state.rule].condition == .silent { revision += 1 }
        return states.count - 1
    }

    // MARK: - One state

    private mutating func step(
        _ index: Int, _ value: Double?, _ now: MonotonicInstant, _ outcomes: inout [RuleOutcome]
    ) {
        guard now >= states[index].lastSeen else { return }
        let rule = states[index].rule
        if rules[rule].condition == .silent {
            states[index].lastSeen = now
            if states[index].phase == .breached {
                enter(.clear, index, now)
                outcomes.append(outcome(index, .recovered, value, now))
            }
            arm(index)
            return
        }
        guard let value else { return }
        states[index].lastSeen = now
        switch states[index].phase {
        case .clear:
            guard rules[rule].condition.isBreached(by: value) else { return }
            states[index].value = value
            enter(.pending, index, now)
            fireOrWait(index, now, &outcomes)
        case .pending:
            guard rules[rule].condition.isBreached(by: value) else { return enter(.clear, index, now) }
            states[index].value = value
            fireOrWait(index, now, &outcomes)
        case .breached:
            guard rules[rule].condition.isRecovered(by: value, hysteresis: rules[rule].hysteresis) else { return }
            states[index].value = value
            enter(.clear, index, now)
            outcomes.append(outcome(index, .recovered, value, now))
        }
    }

    private mutating func fireOrWait(_ index: Int, _ now: MonotonicInstant, _ outcomes: inout [RuleOutcome]) {
        guard let deadline = deadline(of: index), deadline > now else { return outcomes.append(fire(index, at: now)) }
        noteDeadline(deadline)
    }

    private mutating func fire(_ index: Int, at now: MonotonicInstant) -> RuleOutcome {
        enter(.breached, index, now)
        return outcome(
            index, .breached, rules[states[index].rule].condition == .silent ? nil : states[index].value, now)
    }

    private mutating func enter(_ phase: State.Phase, _ index: Int, _ now: MonotonicInstant) {
        states[index].phase = phase
        states[index].since = now
        revision += 1
    }

    private func outcome(
        _ index: Int, _ kind: RuleOutcome.Kind, _ value: Double?, _ now: MonotonicInstant
    ) -> RuleOutcome {
        RuleOutcome(rule: states[index].rule, device: states[index].device, kind: kind, value: value, at: now)
    }

    /// When time alone will change the state.
    private func deadline(of index: Int) -> MonotonicInstant? {
        let rule = rules[states[index].rule]
        switch states[index].phase {
        case .clear: return rule.condition == .silent ? states[index].lastSeen + rule.holdTime : nil
        case .pending: return states[index].since + rule.holdTime
        case .breached: return nil
        }
    }

    mutating func arm(_ index: Int) {
        if let deadline = deadline(of: index) { noteDeadline(deadline) }
    }

    private mutating func noteDeadline(_ deadline: MonotonicInstant) {
        if let earliest, earliest <= deadline { return }
        earliest = deadline
    }
}
