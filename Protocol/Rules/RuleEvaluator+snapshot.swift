public import Primitives

/// State as bytes, to be committed with whatever the state decided.
///
/// Layout (version 1): version; number of rules, then for each: name, fingerprint of its definition, number of states,
/// and for each state: device, phase, nanoseconds since the phase began and since the last observation, and the value.
/// Times are kept as distances from the reference, because a monotonic clock starts anew with every boot. Averages,
/// windows of change and what `stuck` has watched so far are not in it: they change with every value, and begin anew.
extension RuleEvaluator {
    private static let snapshotVersion: UInt8 = 1

    /// - Parameter reference: now, at the edge; `MonotonicInstant(nanoseconds: 0)` where the axis never restarts.
    public func snapshot(at reference: MonotonicInstant) -> [UInt8] {
        var kept: [Int: [State]] = [:]
        for state in states where state.phase != .clear || compiled[Int(state.rule)].isSilence {
            kept[Int(state.rule), default: []].append(state)
        }
        var writer = StateWriter(version: Self.snapshotVersion)
        writer.number(UInt64(kept.count))
        for (rule, states) in kept.sorted(by: { $0.key < $1.key }) {
            writer.text(rules[rule].name)
            writer.fixed(rules[rule].fingerprint)
            writer.number(UInt64(states.count))
            for state in states { write(state, to: &writer, reference.nanoseconds) }
        }
        return writer.bytes
    }

    /// Takes over what a snapshot holds about rules whose definition is the same; the others start fresh. Call it
    /// once, before any input, with a reference of the same kind.
    ///
    /// - Returns: `false` when the bytes are no snapshot of this version; nothing was changed.
    public mutating func restore(_ bytes: [UInt8], at reference: MonotonicInstant) -> Bool {
        precondition(states.isEmpty, "restore comes before the first input")
        guard var reader = StateReader(bytes, version: Self.snapshotVersion), let count = reader.number() else {
            return false
        }
        let known = Dictionary(uniqueKeysWithValues: rules.indices.map { (rules[$0].name, $0) })
        var restored: [(rule: Int, state: KeptState)] = []
        for _ in 0..<count {
            guard let name = reader.text(), let fingerprint = reader.fixed(), let stateCount = reader.number() else {
                return false
            }
            let rule = known[name].flatMap { rules[$0].fingerprint == fingerprint ? $0 : nil }
            for _ in 0..<stateCount {
                guard let state = KeptState(reading: &reader, reference: reference.nanoseconds) else { return false }
                if let rule, rules[rule].device.selects(state.device) { restored.append((rule, state)) }
            }
        }
        guard reader.isAtEnd else { return false }
        for (rule, kept) in restored {
            guard let place = place(of: kept.device) else { continue }
            var state = State(
                rule: Int32(rule), device: place, since: kept.since, lastSeen: kept.lastSeen,
                checkedAt: reference.nanoseconds)
            state.phase = kept.phase
            state.value = kept.value
            _ = add(state)
        }
        return true
    }

    private func write(_ state: State, to writer: inout StateWriter, _ reference: Int64) {
        writer.text(devices[Int(state.device)].text)
        writer.number(UInt64(state.phase.rawValue))
        writer.fixed(UInt64(bitPattern: Self.age(of: state.since, reference)))
        writer.fixed(UInt64(bitPattern: Self.age(of: state.lastSeen, reference)))
        writer.number(state.value == nil ? 0 : 1)
        if let value = state.value { writer.fixed(value.bitPattern) }
    }

    private static func age(of instant: Int64, _ reference: Int64) -> Int64 {
        let (age, overflow) = reference.subtractingReportingOverflow(instant)
        return overflow ? (reference < instant ? .min : .max) : age
    }
}

/// A state as a snapshot has it.
private struct KeptState {
    let device: DeviceID
    let phase: RuleEvaluator.State.Phase
    let since: Int64
    let lastSeen: Int64
    let value: Double?

    init?(reading reader: inout StateReader, reference: Int64) {
        guard let text = reader.text(), let device = DeviceID(text), let number = reader.number(), number <= 2,
            let phase = RuleEvaluator.State.Phase(rawValue: UInt8(number)), let since = reader.fixed(),
            let lastSeen = reader.fixed(), let hasValue = reader.number(), hasValue <= 1
        else { return nil }
        var value: Double?
        if hasValue == 1 {
            guard let bits = reader.fixed(), Double(bitPattern: bits).isFinite else { return nil }
            value = Double(bitPattern: bits)
        }
        self.device = device
        self.phase = phase
        self.since = Self.instant(Int64(bitPattern: since), before: reference)
        self.lastSeen = Self.instant(Int64(bitPattern: lastSeen), before: reference)
        self.value = value
    }

    private static func instant(_ age: Int64, before reference: Int64) -> Int64 {
        let (difference, overflow) = reference.subtractingReportingOverflow(age)
        return overflow ? (age < 0 ? .max : .min) : difference
    }
}
