internal import Primitives
internal import Telemetry

/// The left-out readings of one signal's last minute, oldest first.
///
/// In pieces, so that a copy that is tried out shares all but the last one; and without what is the signal's own.
struct ContextRing: Sendable {
    /// How far back a fault's context goes, and how long after it everything passes.
    static let span = Duration.seconds(60)
    private static let pieceLength = 16

    struct Entry: Sendable {
        let reading: Reading
        let time: MonotonicInstant
        /// Order among all signals.
        let ordinal: UInt64
    }

    private struct Slot: Sendable {
        let value: ReadingValue
        let unit: String?
        let wall: WallInstant
        let time: MonotonicInstant
        let ordinal: UInt64
        let quality: ReadingQuality
        let clock: ClockQuality
    }

    private var pieces: [[Slot]] = []
    /// Where the oldest is in the first piece.
    private var head = 0
    private(set) var count = 0
    /// The time of the youngest entry that had to make room.
    private(set) var cutAt: MonotonicInstant?

    init() {}

    /// - Parameters:
    ///   - limit: entries at most; at least 1.
    ///   - mayGrow: whether there is room for one more in the whole gateway. One entry a signal always fits.
    /// - Returns: how `count` has changed.
    mutating func insert(_ entry: Entry, limit: Int, mayGrow: Bool) -> Int {
        let before = count
        while let oldest, entry.time - oldest.time > Self.span { dropOldest() }
        if let oldest, count >= limit || !mayGrow && count >= before {
            cutAt = oldest.time
            dropOldest()
        }
        let reading = entry.reading
        append(
            Slot(
                value: reading.value, unit: reading.unit, wall: reading.time, time: entry.time, ordinal: entry.ordinal,
                quality: reading.quality, clock: reading.clock))
        return count - before
    }

    private var oldest: Slot? { pieces.first?[head] }

    private mutating func append(_ slot: Slot) {
        count += 1
        if let last = pieces.indices.last, pieces[last].count < Self.pieceLength {
            pieces[last].append(slot)
        } else {
            pieces.append([slot])
        }
    }

    private mutating func dropOldest() {
        head += 1
        count -= 1
        if head == pieces[0].count {
            pieces.removeFirst()
            head = 0
        }
    }

    /// Empties the ring.
    ///
    /// - Returns: what is within the minute before `instant`, oldest first; and whether there had been more.
    mutating func take(before instant: MonotonicInstant, of key: SignalKey) -> (entries: [Entry], isCut: Bool) {
        let taken = entries(before: instant, of: key)
        let isCut = cutAt.map { instant - $0 <= Self.span } ?? false
        self = ContextRing()
        return (taken, isCut)
    }

    /// What is within the minute before `instant`, oldest first.
    func entries(before instant: MonotonicInstant, of key: SignalKey) -> [Entry] {
        pieces.joined().dropFirst(head).filter { instant - $0.time <= Self.span }.map { slot in
            let reading = Reading(
                device: key.device, metric: key.metric, value: slot.value, unit: slot.unit, time: slot.wall,
                quality: slot.quality, clock: slot.clock)
            return Entry(reading: reading, time: slot.time, ordinal: slot.ordinal)
        }
    }

    /// Older entries had to make room in an earlier run.
    mutating func wasCut(at instant: MonotonicInstant) { cutAt = max(cutAt ?? instant, instant) }
}
