public import Primitives

/// State as bytes, to be committed with whatever the state decided.
///
/// Layout (version 1): version, number of states, then for each: rule name, fingerprint of its definition, device, phase,
/// nanoseconds since the phase began and since the last observation, and the value. Times are kept as distances from
/// the reference, because a monotonic clock starts anew with every boot.
extension RuleEvaluator {
    private static let snapshotVersion: UInt8 = 1

    /// - Parameter reference: now, at the edge; `MonotonicInstant(nanoseconds: 0)` where the axis never restarts.
    public func snapshot(at reference: MonotonicInstant) -> [UInt8] {
        let kept = states.filter { $0.phase != .clear || rules[$0.rule].condition == .silent }
        let fingerprints = rules.map(\.fingerprint)
        var writer = StateWriter(version: Self.snapshotVersion)
        writer.number(UInt64(kept.count))
        for state in kept {
            writer.text(rules[state.rule].name)
            writer.fixed(fingerprints[state.rule])
            writer.text(state.device.text)
            writer.number(UInt64(state.phase.rawValue))
            writer.fixed(UInt64(bitPattern: (reference - state.since).nanosecondsClamped))
            writer.fixed(UInt64(bitPattern: (reference - state.lastSeen).nanosecondsClamped))
            writer.number(state.value == nil ? 0 : 1)
            if let value = state.value { writer.fixed(value.bitPattern) }
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
            guard let entry = Entry(&reader) else { return false }
            guard let rule = known[entry.rule], rules[rule].fingerprint == entry.fingerprint,
                rules[rule].device.selects(entry.device)
            else { continue }
            restored.append(
                State(
                    rule: rule, device: entry.device, phase: entry.phase, since: reference - entry.sinceAge,
                    lastSeen: reference - entry.lastSeenAge, value: entry.value))
        }
        guard reader.isAtEnd else { return false }
        for state in restored {
            if let index = add(state) { arm(index) }
        }
        return true
    }

    private struct Entry {
        let rule: String
        let fingerprint: UInt64
        let device: DeviceID
        let phase: State.Phase
        let sinceAge: Duration
        let lastSeenAge: Duration
        let value: Double?

        init?(_ reader: inout StateReader) {
            guard let rule = reader.text(), let fingerprint = reader.fixed(), let device = reader.text(),
                let device = DeviceID(device), let phase = reader.number(), phase <= 2,
                let phase = State.Phase(rawValue: UInt8(phase)), let since = reader.fixed(),
                let lastSeen = reader.fixed(), let hasValue = reader.number(), hasValue <= 1
            else { return nil }
            var value: Double?
            if hasValue == 1 {
                guard let bits = reader.fixed(), Double(bitPattern: bits).isFinite else { return nil }
                value = Double(bitPattern: bits)
            }
            self.rule = rule
            self.fingerprint = fingerprint
            self.device = device
            self.phase = phase
            sinceAge = .nanoseconds(Int64(bitPattern: since))
            lastSeenAge = .nanoseconds(Int64(bitPattern: lastSeen))
            self.value = value
        }
    }
}

extension MonotonicInstant {
    fileprivate static func - (instant: Self, age: Duration) -> Self {
        let (difference, overflow) = instant.nanoseconds.subtractingReportingOverflow(age.nanosecondsClamped)
        return Self(nanoseconds: overflow ? (age < .zero ? .max : .min) : difference)
    }
}
