internal import JSON
public import Primitives
public import Telemetry

/// Mends, on its way to the hub, what was stamped before the time was known: in this run and, as far as that can be told,
/// in earlier ones.
///
/// The outbox stays as it is written, which spares the flash: a record is looked at when it travels. One whose clock was
/// not synchronised, and whose time lies in a stretch that was corrected since, gets the time that it really had then.
///
/// A restart of the agent changes nothing while the machine runs on: the clock that does not jump tells how far the time
/// of the earlier run is from that of this one. Over a restart of the machine nobody knows how long it was off; what was
/// not corrected by then goes out as it was stamped, with its mark.
public struct Restamper: Sendable {
    /// Time as it was given between two corrections, and the sequences that can have it.
    struct Stretch: Sendable, Equatable {
        let from: WallInstant
        let to: WallInstant
        var delta: Duration
        let first: UInt64
        /// Behind the last one: the first of the next run.
        var end: UInt64
    }

    /// What a run leaves for the next one.
    struct Memory: Sendable, Equatable {
        /// Names the start of the machine; empty when it is not known.
        var boot = ""
        /// Wall time at the monotonic clock's zero, as it was given last.
        var zero: WallInstant
        /// From here on it was given so, and by which sequences.
        var since: WallInstant
        var first: UInt64
        /// Moved by guesses; nobody knows yet by how much in all.
        var waiting: [Stretch] = []
        var known: [Stretch] = []
    }

    /// What is stamped and what is noted are not the same moment.
    private static let slack = Duration.seconds(1)
    /// Stretches that are remembered; older ones go out as they were stamped.
    static let stretchesMax = 32

    private(set) var memory: Memory

    /// - Parameters:
    ///   - clock: the gateway's clock at the beginning, with the monotonic clock of the same moment.
    ///   - first: the first sequence of this run.
    ///   - boot: names this start of the machine; empty when it is not known.
    ///   - last: what the run before left.
    public init(
        _ clock: (monotonic: MonotonicInstant, reading: Timekeeper.Reading), first: UInt64, boot: String,
        after last: ClockMemory? = nil
    ) {
        let zero = clock.reading.time + (.zero - .nanoseconds(clock.monotonic.nanoseconds))
        memory = Memory(boot: boot, zero: zero, since: clock.reading.time, first: first)
        guard let last = last?.stamps else { return }
        memory.known = last.known
        if !boot.isEmpty, boot == last.boot {
            let delta = zero - last.zero
            memory.waiting = last.waiting
            for index in memory.waiting.indices { memory.waiting[index].delta += delta }
            let to = last.zero + .nanoseconds(clock.monotonic.nanoseconds)
            memory.waiting.append(Stretch(from: last.since, to: to, delta: delta, first: last.first, end: first))
        }
        for index in memory.known.indices { memory.known[index].end = min(memory.known[index].end, first) }
        for index in memory.waiting.indices { memory.waiting[index].end = min(memory.waiting[index].end, first) }
        if clock.reading.quality == .synchronised { settle() }
        memory.waiting = memory.waiting.suffix(Self.stretchesMax)
    }

    /// The time was corrected. What was stamped before may still be on its way into the outbox, so its sequence does not
    /// tell: its time and its quality do.
    public mutating func correction(_ correction: Timekeeper.Correction) {
        for index in memory.waiting.indices { memory.waiting[index].delta += correction.delta }
        if correction.qualityBefore != .synchronised {
            memory.waiting.append(
                Stretch(
                    from: memory.since, to: correction.before, delta: correction.delta, first: memory.first, end: .max))
        }
        memory.zero = memory.zero + correction.delta
        memory.since = correction.before + correction.delta
        if correction.quality == .synchronised { settle() }
        memory.waiting = memory.waiting.suffix(Self.stretchesMax)
    }

    /// The time is known, and with it how far everything before was off.
    private mutating func settle() {
        memory.known = (memory.known + memory.waiting).suffix(Self.stretchesMax)
        memory.waiting = []
    }

    /// - Parameters:
    ///   - fragments: encoded records, joined with commas.
    ///   - runs: their sequences.
    /// - Returns: the same records, some with another time.
    public func restamped(_ fragments: [UInt8], runs: [Run]) -> [UInt8] {
        let known = memory.known
        guard runs.contains(where: { run in known.contains { run.start < $0.end && run.start + run.count > $0.first } })
        else { return fragments }
        let bytes = [UInt8(ascii: "[")] + fragments + [UInt8(ascii: "]")]
        let limits = JSONLimits(bytesMax: 1 << 20, depthMax: 16)
        guard let records = (try? JSONValue(parsing: bytes, limits: limits))?.arrayValue else { return fragments }
        let mended = JSONValue.array(records.map(mended)).serialized()
        return Array(mended.dropFirst().dropLast())
    }

    private func mended(_ record: JSONValue) -> JSONValue {
        guard case .object(var members) = record, members["clock"] != nil,
            let sequence = members["seq"]?.stringValue.flatMap({ UInt64($0) }),
            let time = members["time"]?.stringValue.flatMap({ WallInstant($0) })
        else { return record }
        let deltas = Set(
            memory.known.filter {
                sequence >= $0.first && sequence < $0.end && time >= $0.from + (.zero - Self.slack)
                    && time <= $0.to + Self.slack
            }.map(\.delta))
        // Where a clock was moved over the same hour twice, nobody can tell which of the two it was.
        guard deltas.count == 1, let delta = deltas.first else { return record }
        members["time"] = .string((time + delta).description)
        _ = members.removeValue(forKey: "clock")
        return .object(members)
    }
}
