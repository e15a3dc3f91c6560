internal import Primitives
internal import Rules
public import Telemetry

/// What a restart finds again: a row a signal, written when windows or lines give something out that the row still holds,
/// and otherwise once in `stateInterval`. Readings that were left out after the last writing are what a power cut costs.
extension Signals {
    /// Key of the row that lists the others.
    public static let indexKey = "signals"
    /// Key of the row with the figures, for `SignalFigures.read`.
    public static let figuresKey = "signal-figures"
    private static let contextKey = "signal-context"
    private static let figuresInterval = Duration.seconds(300)
    private static let version: UInt8 = 1

    /// Keys of all rows to read before `begin`.
    ///
    /// - Parameter index: of the row `indexKey`; `nil` when there is none.
    public static func rowKeys(index: [UInt8]?) -> [String] {
        (index.flatMap(keys) ?? []).map(rowKey) + [indexKey, contextKey, ringKey]
    }

    private static func rowKey(_ key: SignalKey) -> String { "signal/\(key.device)/\(key.metric)" }

    private static func keys(_ bytes: [UInt8]) -> [SignalKey]? {
        guard var reader = StateReader(bytes, version: version), let count = reader.number() else { return nil }
        var keys: [SignalKey] = []
        for _ in 0..<count {
            guard let device = reader.text().flatMap({ DeviceID($0) }), let metric = reader.text() else { return nil }
            keys.append(SignalKey(device: device, metric: metric))
        }
        return reader.isAtEnd ? keys : nil
    }

    /// Takes over what an earlier run kept. Call once, before any reading.
    ///
    /// - Parameter rows: bytes by key, of `rowKeys`.
    public mutating func begin(rows: [String: [UInt8]], at now: SignalTime, _ output: inout SignalOutput) {
        restoreContext(rows[Self.contextKey] ?? [], now)
        restoreRings(rows[Self.ringKey] ?? [], now)
        guard let bytes = rows[Self.indexKey], !bytes.isEmpty else { return }
        guard let keys = Self.keys(bytes) else {
            output.notices.append(.stateUnreadable("the signals"))
            return
        }
        listed = Set(keys)
        for key in keys {
            let row = rows[Self.rowKey(key)] ?? []
            let place = (index[key] ?? nil) ?? chosenSettings(key).flatMap { add(key, settings: $0) }
            guard let place, let chosen = cells[place].value.settings else {
                if let held = Channel.held(row, key, at: now) { output.kept.append(held) }
                orphans.append(key)
                continue
            }
            guard !cells[place].value.restore(row, settings[chosen], at: now) else {
                armRestored(place, chosen, now)
                continue
            }
            // Other settings now: what was held is a true reading all the same.
            if let held = Channel.held(row, key, at: now) { output.kept.append(held) }
            output.notices.append(.stateUnreadable("\(key.metric) of \(key.device)"))
            cells[place].value.isStored = true
            note(place, isGivenOut: true, now)
        }
    }

    private mutating func armRestored(_ place: Int, _ chosen: Int, _ now: SignalTime) {
        for window in cells[place].value.windows where window.isOpen { noteDeadline(window.end) }
        if let deadline = cells[place].value.reducer.deadline(settings[chosen]) { noteDeadline(deadline) }
    }

    private mutating func restoreContext(_ bytes: [UInt8], _ now: SignalTime) {
        guard var reader = SignalReader(bytes, version: Self.version, now: now), let count = reader.number() else {
            return
        }
        for _ in 0..<min(count, UInt64(Self.keysMax)) {
            guard let device = reader.text().flatMap({ DeviceID($0) }), let until = reader.instant() else { return }
            // Never longer than a minute from now, whatever the clocks say.
            passUntil[device] = min(until, now.monotonic + ContextRing.span)
        }
    }

    /// What is to be kept in the transaction that keeps the output so far.
    ///
    /// - Parameter isFinal: the agent stops, and nothing follows.
    public mutating func rowsToKeep(at now: SignalTime, isFinal: Bool = false) -> [SignalRow] {
        guard !isEmpty || !listed.isEmpty || isRingStored else { return [] }
        var rows: [SignalRow] = []
        if isFinal, let row = ringRow(now) {
            rows.append(row)
        } else if isRingStored {
            rows.append(SignalRow(key: Self.ringKey, bytes: []))
        }
        isRingStored = false
        let isDue = isFinal || nextSave.map { $0 <= now.monotonic } ?? false
        for place in isDue ? dirty + urgent : urgent { save(place, now, isFinal, &rows) }
        urgent = []
        if isDue {
            dirty = []
            nextSave = nil
        }
        if rows.contains(where: { $0.key != Self.ringKey }) || !orphans.isEmpty { listRows(&rows) }
        if isContextDirty { rows.append(contextRow(now)) }
        isContextDirty = false
        if isFinal || isDue && nextFigures.map({ $0 <= now.monotonic }) ?? true, !cells.isEmpty {
            nextFigures = now.monotonic + Self.figuresInterval
            rows.append(SignalRow(key: Self.figuresKey, bytes: SignalFigures.bytes(of: figures, at: now.wall)))
        }
        return rows
    }

    private mutating func save(_ place: Int, _ now: SignalTime, _ isFinal: Bool, _ rows: inout [SignalRow]) {
        guard cells[place].value.isDirty || cells[place].value.mustSave, let chosen = cells[place].value.settings
        else { return }
        let wasStored = cells[place].value.isStored
        let bytes = cells[place].value.bytes(settings[chosen], at: now, isFinal: isFinal)
        cells[place].value.isDirty = false
        cells[place].value.mustSave = false
        cells[place].value.isStored = !bytes.isEmpty
        if wasStored || !bytes.isEmpty {
            rows.append(SignalRow(key: Self.rowKey(cells[place].value.key), bytes: bytes))
        }
    }

    /// The index row, when it has to name more or fewer.
    private mutating func listRows(_ rows: inout [SignalRow]) {
        var all = listed.subtracting(orphans)
        for cell in cells where cell.value.isStored { all.insert(cell.value.key) }
        rows += orphans.map { SignalRow(key: Self.rowKey($0), bytes: []) }
        orphans = []
        guard all != listed else { return }
        listed = all
        var writer = StateWriter(version: Self.version)
        writer.number(UInt64(all.count))
        for key in all.sorted() {
            writer.text(key.device.text)
            writer.text(key.metric)
        }
        rows.append(SignalRow(key: Self.indexKey, bytes: writer.bytes))
    }

    private func contextRow(_ now: SignalTime) -> SignalRow {
        var writer = SignalWriter(version: Self.version, now: now)
        writer.number(UInt64(passUntil.count))
        for (device, until) in passUntil.sorted(by: { $0.key < $1.key }) {
            writer.text(device.text)
            writer.instant(until)
        }
        return SignalRow(key: Self.contextKey, bytes: writer.bytes)
    }
}

extension Signals {
    /// Whether any signal has another retention than the standard one.
    public var hasRetentions: Bool { settings.contains { $0.retention != .standard } }

    /// That of the signal; a window's result has that of the signal it is of, and a fault the standard one.
    public func retention(of record: Record) -> Retention {
        guard case .reading(let reading) = record else { return .standard }
        var metric = Substring(reading.metric)
        while true {
            if let place = index[SignalKey(device: reading.device, metric: String(metric))] ?? nil,
                let chosen = cells[place].value.settings
            {
                return settings[chosen].retention
            }
            guard let dot = metric.lastIndex(of: ".") else { return .standard }
            metric = metric[..<dot]
        }
    }
}
