public import Primitives

/// State as bytes, to be committed with whatever the state decided.
///
/// Layout (version 1): version; number of rules, then for each: name, fingerprint of its definition, number of states,
/// and for each state: device, phase, nanoseconds since the phase began and since the last observation, and the value.
/// Times are kept as distances from the reference, because a monotonic clock starts anew with every boot.
extension RuleEvaluator {
    private static let snapshotVersion: UInt8 = 1

    /// - Parameter reference: now, at the edge; `MonotonicInstant(nanoseconds: 0)` where the axis never restarts.
    public func snapshot(at reference: MonotonicInstant) -> [UInt8] {
        var kept: [Int: [State]] = [:]
        for state in states where state.phase != .clear || rules[state.rule].condition == .silent {
            kept[state.rule, default: []].append(state)
        }
        var writer = StateWriter(version: Self.snapshotVersion)
        writer.number(UInt64(kept.count))
        for (rule, states) in kept.sorted(by: { $0.key < $1.key }) {
            writer.text(rules[rule].name)
            writer.fixed(rules[rule].fingerprint)
            writer.number(UInt64(states.count))
            for state in states { state.write(to: &writer, reference: reference) }
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
        var restored: [State] = []
        for _ in 0..<count {
            guard let name = reader.text(), let fingerprint = reader.fixed(), let stateCount = reader.number() else {
                return false
            }
            let rule = known[name].flatMap { rules[$0].fingerprint == fingerprint ? $0 : nil }
            for _ in 0..<stateCount {
                guard let state = State(reading: &reader, rule: rule ?? 0, reference: reference) else { return false }
                if let rule, rules[rule].device.selects(state.device) { restored.append(state) }
            }
        }
        guard reader.isAtEnd else { return false }
        for state in restored {
            if let index = add(state) { arm(index) }
        }
        return true
    }
}

extension RuleEvaluator.State {
    fileprivate func write(to writer: inout StateWriter, reference: MonotonicInstant) {
        writer.text(device.text)
        writer.number(UInt64(phase.rawValue))
        writer.fixed(UInt64(bitPattern: (reference - since).nanosecondsClamped))
        writer.fixed(UInt64(bitPattern: (reference - lastSeen).nanosecondsClamped))
        writer.number(value == nil ? 0 : 1)
        if let value { writer.fixed(value.bitPattern) }
    }

    fileprivate init?(reading reader: inout StateReader, rule: Int, reference: MonotonicInstant) {
        guard let text = reader.text(), let device = DeviceID(text), let phase = reader.number(), phase <= 2,
            let phase = Phase(rawValue: UInt8(phase)), let since = reader.fixed(), let lastSeen = reader.fixed(),
            let hasValue = reader.number(), hasValue <= 1
        else { return nil }
        var value: Double?
        if hasValue == 1 {
            guard let bits = reader.fixed(), Double(bitPattern: bits).isFinite else { return nil }
            value = Double(bitPattern: bits)
        }
        self.init(
            rule: rule, device: device, phase: phase,
            since: reference.earlier(by: Int64(bitPattern: since)),
            lastSeen: reference.earlier(by: Int64(bitPattern: lastSeen)), value: value)
    }
}

extension MonotonicInstant {
    fileprivate func earlier(by age: Int64) -> MonotonicInstant {
        let (difference, overflow) = nanoseconds.subtractingReportingOverflow(age)
        return MonotonicInstant(nanoseconds: overflow ? (age < 0 ? .max : .min) : difference)
    }
}
