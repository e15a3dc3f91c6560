public import Primitives

/// Decides which stored records travel next, and remembers which batches are on their way.
///
/// Faults go first, then live readings (stored since the link came up), then back-fill: the backlog from before, and
/// replays. Each lane goes in the order of its sequences. When there is more to send than the link takes, live readings
/// and back-fill get a share of the bytes even so: a lane that has fallen behind its share by a batch goes next. The
/// back-fill never takes the last slot, and no more of it is on its way than the link takes within a fraction of a
/// second, so that a live reading is not kept waiting by a long outage. After a link loss everything unacknowledged is
/// sent again, from the oldest on; when the link ended before it took a single batch, in smaller ones, because a batch that
/// takes longer than the hub waits for a sign of life would end every link.
///
/// A record that goes ahead of older ones is an island in what the hub knows, and the hub keeps no more than 16,384 of
/// them (`IntervalSet.intervalCountMaxDefault`). From `islandsMax` on, faults wait until the readings before the oldest
/// islands are acknowledged, and readings do not pass the faults that wait: the two go interleaved. Islands outlive the
/// link, because the hub keeps them. They do not outlive the program: one that starts again begins to count at zero, so
/// the bound leaves room for several starts in the midst of such a backlog.
public struct DrainOrder: Sendable {
    public enum Lane: Sendable, Hashable, CaseIterable {
        case faults, live, backlog
        /// Acknowledged before, and asked for again.
        case replays
    }

    /// What to read from the store: records of the lane after a sequence, and for the backlog before another.
    public struct Request: Sendable, Equatable {
        public let lane: Lane
        public let after: UInt64
        public let before: UInt64?
        /// How large the batch may be.
        public let bytesMax: Int

        public init(lane: Lane, after: UInt64, before: UInt64?, bytesMax: Int = DrainOrder.batchBytesMaxDefault) {
            self.lane = lane
            self.after = after
            self.before = before
            self.bytesMax = bytesMax
        }
    }

    /// What was sent for a request.
    public struct Sent: Sendable, Equatable {
        /// The first sequence of each run in it, rising.
        public let runStarts: [UInt64]
        /// Where it ends.
        public let lastSequence: UInt64
        public let bytes: Int

        public init(runStarts: [UInt64], lastSequence: UInt64, bytes: Int) {
            self.runStarts = runStarts
            self.lastSequence = lastSequence
            self.bytes = bytes
        }
    }

    /// Percent of the bytes that a lane gets at least when it has something to send. Faults have the rest.
    public struct Shares: Sendable, Equatable {
        public let livePercent: Int
        public let backfillPercent: Int

        /// - Parameters: 1 … 80 each, together at most 90.
        public init(livePercent: Int = 30, backfillPercent: Int = 20) {
            precondition(
                livePercent >= 1 && backfillPercent >= 1 && livePercent + backfillPercent <= 90,
                "each lane needs a share, and faults a tenth")
            self.livePercent = livePercent
            self.backfillPercent = backfillPercent
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
        let bytes: Int
        let sent: MonotonicInstant
    }

    private struct Position: Sendable {
        var after: UInt64
        let before: UInt64?
        /// The last read found nothing; only new records can change that.
        var isExhausted = false
    }

    /// What shares are counted for: backlog and replays are one.
    private enum Claim: Int, CaseIterable {
        case faults, live, backfill
    }

    /// Default bound of islands, an eighth of what the hub keeps. One batch of faults may pass it.
    public static let islandsMaxDefault = 2_048
    public static let batchBytesMaxDefault = 128 * 1024
    /// Batches get no smaller than this: about a row of the store, which is not cut.
    public static let batchBytesMin = 16 * 1024
    /// A batch that came back within this lets the next ones grow again.
    public static let quickAnswer = Duration.seconds(5)
    /// Shares are counted over about so many batches: what was sent before counts half.
    private static let memoryBatches = 256

    public let inflightCountMax: Int
    public let islandsMax: Int
    public let batchBytesMax: Int
    private let shares: Shares
    /// What a batch may have on this link, at most `batchBytesMax`.
    private var bytesMax: Int
    private var hasTakenSomething = false
    private var positions: [Lane: Position] = [:]
    private var inflight: [Ticket: Flight] = [:]
    private var pace: BackfillPace
    /// Bytes that each claim was given of late.
    private var given = [Int](repeating: 0, count: Claim.allCases.count)
    /// Where runs of faults begin that went ahead of readings which are not acknowledged, as far as known.
    private var islands: Set<UInt64> = []
    /// Where runs of live readings begin that went ahead of faults which are not acknowledged.
    private var readingIslands: Set<UInt64> = []
    private var nextNumber: UInt64 = 1

    /// - Parameters:
    ///   - inflightCountMax: batches without PUBACK, 2 … 64. Default 8.
    ///   - islandsMax: 1 and more; see above.
    ///   - batchBytesMax: of every request, but for back-fill on a slow link.
    public init(
        inflightCountMax: Int = 8, islandsMax: Int = Self.islandsMaxDefault,
        batchBytesMax: Int = Self.batchBytesMaxDefault, shares: Shares = Shares()
    ) {
        precondition((2...64).contains(inflightCountMax), "the window holds 2 to 64 batches")
        precondition(islandsMax >= 1, "faults need room for one island")
        self.inflightCountMax = inflightCountMax
        self.islandsMax = islandsMax
        self.batchBytesMax = batchBytesMax
        self.shares = shares
        bytesMax = batchBytesMax
        pace = BackfillPace(bytesMax: inflightCountMax * batchBytesMax)
    }

    public var inflightCount: Int { inflight.count }

    /// The link is up: everything stored before `nextSequence` is backlog, the rest is live.
    public mutating func linkCameUp(nextSequence: UInt64) {
        inflight = [:]
        hasTakenSomething = false
        given = given.map { _ in 0 }
        pace = BackfillPace(bytesMax: inflightCountMax * batchBytesMax)
        positions = [
            .faults: Position(after: 0, before: nil),
            .live: Position(after: nextSequence - 1, before: nil),
            .backlog: Position(after: 0, before: nextSequence),
            .replays: Position(after: 0, before: nil),
        ]
    }

    /// Nothing travels any more; what was on its way is sent again after the next `linkCameUp`.
    public mutating func linkLost() {
        if !inflight.isEmpty, !hasTakenSomething {
            bytesMax = max(bytesMax / 4, min(Self.batchBytesMin, batchBytesMax))
        }
        inflight = [:]
        positions = [:]
    }

    public mutating func recordsStored() {
        wake(.faults)
        wake(.live)
    }

    /// Acknowledged records were put back on their way, anywhere before the live ones.
    public mutating func recordsRestored() {
        guard positions[.replays] != nil else { return }
        positions[.replays] = Position(after: 0, before: nil)
    }

    private mutating func wake(_ lane: Lane) {
        guard positions[lane]?.isExhausted == true else { return }
        positions[lane]?.isExhausted = false
        // Who had nothing to send has no share to make up for.
        let claim = Self.claim(of: lane)
        given[claim.rawValue] = max(given[claim.rawValue], entitled(claim))
    }

    /// The next read to make; `nil` when the window is full, the link is down or nothing may be sent now.
    public func nextRequest() -> Request? {
        guard inflight.count < inflightCountMax else { return nil }
        let waiting = request(.faults)
        let faults = islands.count < islandsMax ? waiting : nil
        // Readings do not pass faults that wait, but for live ones that have a share. Faults of an earlier link that are
        // sent again count as sent.
        let bound = waiting.map { max($0.after, islands.max() ?? 0) + 1 }
        let mayPass = faults != nil && readingIslands.count < islandsMax
        let live = request(.live, before: mayPass ? nil : bound)
        let backfill = backfill(before: bound)
        if let live, isBehind(.live) { return live }
        if let backfill, isBehind(.backfill) { return backfill }
        return faults ?? live ?? backfill
    }

    /// The same, of faults alone.
    public func nextFaults() -> Request? {
        guard inflight.count < inflightCountMax, islands.count < islandsMax else { return nil }
        return request(.faults)
    }

    private func backfill(before bound: UInt64?) -> Request? {
        let mine = inflight.values.filter { Self.claim(of: $0.lane) == .backfill }
        let bytes = mine.reduce(0) { $0 + $1.bytes }
        guard mine.count < inflightCountMax - 1, mine.isEmpty || bytes < pace.windowBytes else { return nil }
        let room = min(bytesMax, max(pace.windowBytes - bytes, BackfillPace.bytesMin))
        return request(.backlog, before: bound, bytesMax: room) ?? request(.replays, bytesMax: room)
    }

    // MARK: Shares

    private static func claim(of lane: Lane) -> Claim {
        switch lane {
        case .faults: .faults
        case .live: .live
        case .backlog, .replays: .backfill
        }
    }

    private func entitled(_ claim: Claim) -> Int {
        let total = given.reduce(0, +)
        switch claim {
        case .faults: return total * (100 - shares.livePercent - shares.backfillPercent) / 100
        case .live: return total * shares.livePercent / 100
        case .backfill: return total * shares.backfillPercent / 100
        }
    }

    private func isBehind(_ claim: Claim) -> Bool {
        given[claim.rawValue] + batchBytesMax <= entitled(claim)
    }

    private mutating func give(_ bytes: Int, to lane: Lane) {
        given[Self.claim(of: lane).rawValue] += bytes
        if given.reduce(0, +) > Self.memoryBatches * batchBytesMax { given = given.map { $0 / 2 } }
    }

    // MARK: What happens to a batch

    /// The read found a batch, and it was handed to the transport.
    public mutating func batchSent(_ request: Request, _ sent: Sent, now: MonotonicInstant) -> Ticket {
        precondition(sent.lastSequence > request.after, "a batch ends after the position it was read from")
        positions[request.lane]?.after = sent.lastSequence
        switch request.lane {
        case .faults: islands.formUnion(sent.runStarts)
        case .live: if positions[.faults]?.isExhausted == false { readingIslands.formUnion(sent.runStarts) }
        case .backlog, .replays: break
        }
        give(sent.bytes, to: request.lane)
        let ticket = Ticket(number: nextNumber)
        nextNumber += 1
        inflight[ticket] = Flight(lane: request.lane, after: request.after, bytes: sent.bytes, sent: now)
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
    public mutating func batchAcknowledged(_ ticket: Ticket, now: MonotonicInstant) -> Bool {
        guard let flight = inflight.removeValue(forKey: ticket) else { return false }
        hasTakenSomething = true
        if now - flight.sent < Self.quickAnswer { bytesMax = min(bytesMax * 2, batchBytesMax) }
        if Self.claim(of: flight.lane) == .backfill {
            pace.acknowledged(bytes: flight.bytes, sent: flight.sent, now: now)
        }
        forgetIslands()
        return true
    }

    private func request(_ lane: Lane, before bound: UInt64? = nil, bytesMax: Int? = nil) -> Request? {
        guard let position = positions[lane], !position.isExhausted else { return nil }
        let bytesMax = bytesMax ?? self.bytesMax
        guard let bound, bound < position.before ?? .max else {
            return Request(lane: lane, after: position.after, before: position.before, bytesMax: bytesMax)
        }
        guard position.after + 1 < bound else { return nil }
        return Request(lane: lane, after: position.after, before: bound, bytesMax: bytesMax)
    }

    /// An island is none any more when all readings before it are acknowledged.
    private mutating func forgetIslands() {
        if !readingIslands.isEmpty {
            let faults = acknowledgedThrough(.faults)
            readingIslands = readingIslands.filter { $0 > faults }
        }
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
