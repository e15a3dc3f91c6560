internal import Primitives
internal import Telemetry

/// The left-out readings of one signal's last minute, oldest first.
struct ContextRing: Sendable {
    /// How far back a fault's context goes, and how long after it everything passes.
    static let span = Duration.seconds(60)

    struct Entry: Sendable {
        let reading: Reading
        let time: MonotonicInstant
        /// Order among all signals.
        let ordinal: UInt64
    }

    private var entries: [Entry] = []
    /// Where the oldest is.
    private var head = 0
    private(set) var count = 0
    /// The time of the youngest entry that had to make room.
    private var cutAt: MonotonicInstant?

    init() {}

    /// - Parameters:
    ///   - limit: entries at most; at least 1.
    ///   - mayGrow: whether there is room for one more in the whole gateway.
    /// - Returns: how the number of entries that memory is held for has changed.
    mutating func insert(_ entry: Entry, limit: Int, mayGrow: Bool) -> Int {
        while count > 0, entry.time - entries[head].time > Self.span { dropOldest() }
        if count == entries.count, count < Swift.max(limit, 1), mayGrow || entries.isEmpty {
            return grow(entry)
        }
        if count == entries.count {
            cutAt = entries[head].time
            dropOldest()
        }
        entries[(head + count) % entries.count] = entry
        count += 1
        return 0
    }

    private mutating func grow(_ entry: Entry) -> Int {
        // Full rings are turned so that the oldest is first; then there is room behind the newest.
        if head > 0 {
            entries = Array(entries[head...] + entries[..<head])
            head = 0
        }
        entries.append(entry)
        count += 1
        return 1
    }

    private mutating func dropOldest() {
        head = (head + 1) % entries.count
        count -= 1
    }

    /// Takes out what is within the minute before `instant`.
    ///
    /// - Returns: the entries, oldest first; and whether there had been more.
    mutating func take(before instant: MonotonicInstant) -> (entries: [Entry], isCut: Bool) {
        var taken: [Entry] = []
        for offset in 0..<count {
            let entry = entries[(head + offset) % entries.count]
            if instant - entry.time <= Self.span { taken.append(entry) }
        }
        let isCut = cutAt.map { instant - $0 <= Self.span } ?? false
        head = 0
        count = 0
        cutAt = nil
        return (taken, isCut)
    }
}
