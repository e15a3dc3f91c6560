/// Decides which stored records travel next, and remembers which batches are on their way.
///
/// Faults go first, in their order. Then readings: those that were stored since the link came up (live) and those
/// from before (backlog) take turns, and the backlog never takes the last slot, so that a live reading is not kept
/// waiting by a long outage. After a link loss everything unacknowledged is sent again, from the oldest on.
///
/// A fault that goes ahead of older readings is an island in what the hub knows, and the hub keeps no more than 16,384
/// of them (`IntervalSet.intervalCountMaxDefault`). From `islandsMax` on, faults wait until the readings before the
/// oldest islands are acknowledged, and readings do not pass the faults that wait: the two go interleaved. Islands
/// outlive the link, because the hub keeps them. They do not outlive the program: one that starts again begins to count
/// at zero, so the bound leaves room for several starts in the midst of such a backlog.
public struct DrainOrder: Sendable {
    public enum Lane: Sendable, Hashable, CaseIterable {
        case faults, live, backlog
    }

    /// What to read from the store: records of the lane after a sequence, and for the backlog before another.
    public struct Request: Sendable, Equatable {
        public let lane: Lane
        public let after: UInt64
        public let before: UInt64?

        public init(lane: Lane, after: UInt64, before: UInt64?) {
            self.lane = lane
            self.after = after
            self.before = before
        }
    }

    /// Names one batch on its way; never used twice.
    public struct Ticket: Sendable, Hashable {
        let number: UInt64
    }

    /// A batch on its way.
    private struct Flight: Sendable {
        let lane: Lane
        /// Where it was read from: everything of the lane up to here was sent before it.
        let after: UInt64
    }

    private struct Position: Sendable {
        var after: UInt64
        let before: UInt64?
        /// The last read found nothing; only new records can change that.
        var isExhausted = false
    }

    /// Default bound of islands, an eighth of what the hub keeps. One batch of faults may pass it.
    public static let islandsMaxDefault = 2_048

    public let inflightCountMax: Int
    public let islandsMax: Int
    private var positions: [Lane: Position] = [:]
    private var inflight: [Ticket: Flight] = [:]
    /// Where runs of faults begin that went ahead of readings which are not acknowledged, as far as known.
    private var islands: Set<UInt64> = []
    private var nextNumber: UInt64 = 1
    private var lastReadings = Lane.backlog

    /// - Parameters:
    ///   - inflightCountMax: batches without PUBACK, 2 … 64. Default 8.
    ///   - islandsMax: 1 and more; see above.
    public init(inflightCountMax: Int = 8, islandsMax: Int = Self.islandsMaxDefault) {
        precondition((2...64).contains(inflightCountMax), "the window holds 2 to 64 batches")
        precondition(islandsMax >= 1, "faults need room for one island")
        self.inflightCountMax = inflightCountMax
        self.islandsMax = islandsMax
    }

    public var inflightCount: Int { inflight.count }

    /// The link is up: everything stored before `nextSequence` is backlog, the rest is live.
    public mutating func linkCameUp(nextSequence: UInt64) {
        inflight = [:]
        lastReadings = .backlog
        positions = [
            .faults: Position(after: 0, before: nil),
            .live: Position(after: nextSequence - 1, before: nil),
            .backlog: Position(after: 0, before: nextSequence),
        ]
    }

    /// Nothing travels any more; what was on its way is sent again after the next `linkCameUp`.
    public mutating func linkLost() {
        inflight = [:]
        positions = [:]
    }

    public mutating func recordsStored() {
        positions[.faults]?.isExhausted = false
        positions[.live]?.isExhausted = false
    }

    /// The next read to make; `nil` when the window is full, the link is down or nothing may be sent now.
    public func nextRequest() -> Request? {
        guard inflight.count < inflightCountMax else { return nil }
        let faults = request(.faults)
        if let faults, islands.count < islandsMax { return faults }
        // Readings do not pass faults that wait. Faults of an earlier link that are sent again count as sent.
        let bound = faults.map { max($0.after, islands.max() ?? 0) + 1 }
        let backlogCount = inflight.values.count { $0.lane == .backlog }
        let backlog = backlogCount < inflightCountMax - 1 ? request(.backlog, before: bound) : nil
        let live = request(.live, before: bound)
        return lastReadings == .live ? backlog ?? live : live ?? backlog
    }

    /// The same, of faults alone.
    public func nextFaults() -> Request? {
        guard inflight.count < inflightCountMax, islands.count < islandsMax else { return nil }
        return request(.faults)
    }

    /// The read found a batch, and it was handed to the transport.
    ///
    /// - Parameters:
    ///   - runStarts: the first sequence of each run in it, rising.
    ///   - lastSequence: where it ends.
    public mutating func batchSent(_ request: Request, runStarts: [UInt64], lastSequence: UInt64) -> Ticket {
        precondition(lastSequence > request.after, "a batch ends after the position it was read from")
        positions[request.lane]?.after = lastSequence
        switch request.lane {
        case .faults: islands.formUnion(runStarts)
        case .live, .backlog: lastReadings = request.lane
        }
        let ticket = Ticket(number: nextNumber)
        nextNumber += 1
        inflight[ticket] = Flight(lane: request.lane, after: request.after)
        return ticket
    }

    public mutating func nothingFound(_ request: Request) {
        guard let position = positions[request.lane] else { return }
        if let before = request.before, before != position.before {
            // Only up to a fault that waits: there may be more behind it.
            positions[request.lane]?.after = max(position.after, before - 1)
        } else {
            positions[request.lane]?.isExhausted = true
        }
        forgetIslands()
    }

    /// `false` when the ticket is from before a link loss: its batch is sent again, and the hub knows it.
    public mutating func batchAcknowledged(_ ticket: Ticket) -> Bool {
        guard inflight.removeValue(forKey: ticket) != nil else { return false }
        forgetIslands()
        return true
    }

    private func request(_ lane: Lane, before bound: UInt64? = nil) -> Request? {
        guard let position = positions[lane], !position.isExhausted else { return nil }
        guard let bound, bound < position.before ?? .max else {
            return Request(lane: lane, after: position.after, before: position.before)
        }
        return position.after + 1 < bound ? Request(lane: lane, after: position.after, before: bound) : nil
    }

    /// An island is none any more when all readings before it are acknowledged.
    private mutating func forgetIslands() {
        guard !islands.isEmpty, let liveStart = positions[.backlog]?.before else { return }
        let backlog = acknowledgedThrough(.backlog)
        let live = acknowledgedThrough(.live)
        islands = islands.filter { $0 > ($0 < liveStart ? backlog : live) }
    }

    /// All that was stored of the lane up to here is acknowledged.
    private func acknowledgedThrough(_ lane: Lane) -> UInt64 {
        guard let position = positions[lane] else { return 0 }
        if let oldest = inflight.values.filter({ $0.lane == lane }).map(\.after).min() { return oldest }
        return position.isExhausted ? (position.before ?? .max) : position.after
    }
}
