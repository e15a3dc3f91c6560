/// Decides which stored records travel next, and remembers which batches are on their way.
///
/// Faults go first, in their order. Then readings: those that were stored since the link came up (live) and those
/// from before (backlog) take turns, and the backlog never takes the last slot, so that a live reading is not kept
/// waiting by a long outage. After a link loss everything unacknowledged is sent again, from the oldest on.
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

    private struct Position: Sendable {
        var after: UInt64
        let before: UInt64?
        /// The last read found nothing; only new records can change that.
        var isExhausted = false
    }

    public let inflightCountMax: Int
    private var positions: [Lane: Position] = [:]
    private var inflight: [Ticket: Lane] = [:]
    private var nextNumber: UInt64 = 1
    private var lastReadings = Lane.backlog

    /// - Parameter inflightCountMax: batches without PUBACK, 2 … 64. Default 8.
    public init(inflightCountMax: Int = 8) {
        precondition((2...64).contains(inflightCountMax), "the window holds 2 to 64 batches")
        self.inflightCountMax = inflightCountMax
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

    /// The next read to make; `nil` when the window is full, the link is down or nothing is left.
    public func nextRequest() -> Request? {
        guard inflight.count < inflightCountMax else { return nil }
        if let request = request(.faults) { return request }
        let backlogCount = inflight.values.count { $0 == .backlog }
        let backlog = backlogCount < inflightCountMax - 1 ? request(.backlog) : nil
        let live = request(.live)
        return lastReadings == .live ? backlog ?? live : live ?? backlog
    }

    /// The read found a batch that ends at `lastSequence`, and it was handed to the transport.
    public mutating func batchSent(_ request: Request, lastSequence: UInt64) -> Ticket {
        precondition(lastSequence > request.after, "a batch ends after the position it was read from")
        positions[request.lane]?.after = lastSequence
        if request.lane != .faults { lastReadings = request.lane }
        let ticket = Ticket(number: nextNumber)
        nextNumber += 1
        inflight[ticket] = request.lane
        return ticket
    }

    public mutating func nothingFound(_ request: Request) {
        positions[request.lane]?.isExhausted = true
    }

    /// `false` when the ticket is from before a link loss: its batch is sent again, and the hub knows it.
    public mutating func batchAcknowledged(_ ticket: Ticket) -> Bool {
        inflight.removeValue(forKey: ticket) != nil
    }

    private func request(_ lane: Lane) -> Request? {
        guard let position = positions[lane], !position.isExhausted else { return nil }
        return Request(lane: lane, after: position.after, before: position.before)
    }
}
