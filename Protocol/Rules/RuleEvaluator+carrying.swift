public import Primitives

/// Other rules while the evaluator runs.
extension RuleEvaluator {
    /// Goes on with other rules. A rule whose definition is the same keeps everything: phases, what lasts already,
    /// windows, averages, and the values that its expression has heard. All others start fresh.
    ///
    /// - Parameters:
    ///   - rules: names must differ.
    ///   - clock: tells the axis as time of day for the zones of the new rules; `nil` while nobody knows.
    public mutating func replaceRules(
        _ rules: [Rule], at now: MonotonicInstant, clock: ([Schedule.Zone]) -> RuleClock?
    ) {
        var next = RuleEvaluator(rules: rules, statesMax: statesMax)
        next.clockIs(clock(next.zones), at: now)
        next.hear(inputs, by: inputIndex)
        let places = Dictionary(uniqueKeysWithValues: rules.indices.map { (rules[$0].name, $0) })
        let kept = self.rules.map { rule in
            places[rule.name].flatMap { rules[$0].fingerprint == rule.fingerprint ? $0 : nil }
        }
        for state in states {
            guard let rule = kept[Int(state.rule)] else { continue }
            next.carry(state, as: rule, from: self)
        }
        next.begin(at: now)
        self = next
    }

    private mutating func hear(_ values: [Input], by index: [Key: Int]) {
        for (key, place) in index where expressions.reads(key) { inputs[inputPlace(of: key)] = values[place] }
    }

    private mutating func carry(_ old: State, as rule: Int, from other: RuleEvaluator) {
        guard let place = place(of: other.devices[Int(old.device)]) else { return }
        var state = State(
            rule: Int32(rule), device: place, since: old.since, lastSeen: old.lastSeen, checkedAt: old.checkedAt)
        state.phase = old.phase
        state.isActive = old.isActive
        state.value = old.value
        state.last = old.last
        guard let index = add(state) else { return }
        let (memory, known) = (Int(states[index].memory), Int(old.memory))
        switch compiled[rule].judge.memory {
        case .none, .program: break
        case .window: windows[memory] = other.windows[known]
        case .average: averages[memory] = other.averages[known]
        case .anchor: anchors[memory] = other.anchors[known]
        }
    }
}
