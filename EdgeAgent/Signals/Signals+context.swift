internal import Primitives
internal import Telemetry

/// The minute before a fault over a clean stop: what was left out is kept with the last commit, and forgotten with the
/// first one of the next run.
///
/// A crash or a power cut costs it: writing it all the time would cost the flash what leaving readings out has saved. It
/// matters only when a fault is raised within a minute after the start; a fault itself takes its context into its own
/// commit.
extension Signals {
    static let ringKey = "signal-ring"
    /// Of the row; a signal's youngest readings come first when there are more.
    static let ringBytesMax = 524_288
    private static let version: UInt8 = 1

    func ringRow(_ now: SignalTime) -> SignalRow? {
        var share = 6000
        while share > 0 {
            let bytes = ringBytes(now, share: share)
            if bytes.count <= Self.ringBytesMax {
                return bytes.isEmpty ? nil : SignalRow(key: Self.ringKey, bytes: bytes)
            }
            share /= 2
        }
        return nil
    }

    /// Empty when no ring holds anything.
    private func ringBytes(_ now: SignalTime, share: Int) -> [UInt8] {
        let rings = cells.map { (cell: $0, entries: $0.value.ring.entries(before: now.monotonic, of: $0.value.key)) }
            .filter { !$0.entries.isEmpty }
        guard !rings.isEmpty else { return [] }
        var writer = SignalWriter(version: Self.version, now: now)
        writer.number(UInt64(rings.count))
        for (cell, entries) in rings {
            let kept = entries.suffix(share)
            let cutAt =
                kept.count < entries.count ? entries[entries.count - kept.count - 1].time : cell.value.ring.cutAt
            writer.text(cell.value.key.device.text)
            writer.text(cell.value.key.metric)
            writer.flag(cutAt != nil)
            if let cutAt { writer.instant(cutAt) }
            writer.number(UInt64(kept.count))
            for entry in kept {
                writer.reading(entry.reading)
                writer.instant(entry.time)
                writer.number(entry.ordinal)
            }
        }
        return writer.bytes
    }

    /// Takes over what it can; what cannot be read is left.
    mutating func restoreRings(_ bytes: [UInt8], _ now: SignalTime) {
        isRingStored = !bytes.isEmpty
        guard var reader = SignalReader(bytes, version: Self.version, now: now), let count = reader.number() else {
            return
        }
        for _ in 0..<min(count, UInt64(Self.keysMax)) {
            guard let device = reader.text().flatMap({ DeviceID($0) }), let metric = reader.text(),
                let isCut = reader.flag()
            else { return }
            let key = SignalKey(device: device, metric: metric)
            let place = (index[key] ?? nil) ?? chosenSettings(key).flatMap { add(key, settings: $0) }
            if isCut {
                guard let cutAt = reader.instant() else { return }
                if let place { cells[place].value.ring.wasCut(at: min(cutAt, now.monotonic)) }
            }
            guard let entryCount = reader.number(), restoreRing(of: key, place, entryCount, &reader, now) else {
                return
            }
        }
    }

    /// - Returns: `false` when the bytes end too early.
    private mutating func restoreRing(
        of key: SignalKey, _ place: Int?, _ count: UInt64, _ reader: inout SignalReader, _ now: SignalTime
    ) -> Bool {
        for _ in 0..<min(count, UInt64(Self.contextEntriesMax)) {
            guard let reading = reader.reading(key), let time = reader.instant(), let ordinal = reader.number() else {
                return false
            }
            nextOrdinal = max(nextOrdinal, ordinal < .max ? ordinal + 1 : ordinal)
            guard let place, let chosen = cells[place].value.settings else { continue }
            contextEntryCount += cells[place].value.ring.insert(
                ContextRing.Entry(reading: reading, time: min(time, now.monotonic), ordinal: ordinal),
                limit: settings[chosen].contextMax, mayGrow: contextEntryCount < Self.contextEntriesMax)
        }
        return true
    }
}
