public import Primitives

/// The spine of the hub: events in partitions, each with rising offsets, kept until retention takes them.
///
/// Every function may be called on any thread.
public protocol EventLog: AnyObject, Sendable {
    /// 1 or more; fixed when the log is made.
    var partitionCount: Int { get }

    /// Stores the group in one transaction, with what else waits; groups of one caller keep their order.
    ///
    /// `completion` is called on the log's thread after the sync that made the group durable, or with `.closed` when
    /// the log is closed first. While the log cannot store (see `LogCondition`) it is not called at all: the group waits,
    /// is tried again by the log itself, and so withholds the acknowledgements that hang on it.
    func append(
        _ group: AppendGroup, completion: @escaping @Sendable (Result<AppendOutcome, EventLogError>) -> Void)

    /// Shows the events of a partition from `offset` on, oldest first, and returns those that are wanted.
    ///
    /// Starts at the oldest kept event when `offset` has been taken by retention: compare the run's first offset. Blocks
    /// for the read, `isWanted` included, and while as many reads are under way as the log has room for.
    func read(
        partition: Int, from offset: Int64, limits: EventChunk.ReadLimits, selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) -> EventRun

    /// The offset that the next event of the partition will have. Memory only.
    func nextOffset(partition: Int) -> Int64

    /// One per partition, in order. Memory only.
    var partitions: [PartitionStatus] { get }

    /// Calls `wake` on the log's thread after each append; it must not block. Ends when the token is released.
    func onAppend(_ wake: @escaping @Sendable () -> Void) -> WakeToken

    /// Calls `changed` when the log stops or resumes storing, on the log's thread, and once at once.
    func onCondition(_ changed: @escaping @Sendable (LogCondition) -> Void) -> WakeToken

    /// What is known of the outboxes that a gateway had, the one that changed last first; at most 64. Blocks.
    func sequences(gateway: DeviceID) throws(EventLogError) -> [OutboxSequences]

    /// The outboxes that changed at `time` or later, the earliest first. Blocks.
    func sequences(changedFrom time: WallInstant, countMax: Int) throws(EventLogError) -> [OutboxSequences]

    /// The newest quarantined records, newest first. Blocks.
    func quarantine(gateway: DeviceID?, countMax: Int) throws(EventLogError) -> [StoredQuarantine]
}

extension EventLog {
    /// The events of a partition from `offset` on, oldest first; empty at the end.
    public func read(
        partition: Int, from offset: Int64, eventsMax: Int, bytesMax: Int
    ) throws(EventLogError) -> [StoredEvent] {
        let limits = EventChunk.ReadLimits(eventsMax: eventsMax, bytesMax: bytesMax)
        return try read(partition: partition, from: offset, limits: limits) { _ in true }.events
    }
}

/// What became of a group.
public struct AppendOutcome: Hashable, Sendable {
    /// Events stored; repeats that were dropped are not among them.
    public let eventsStored: Int
    public let recordsRepeated: Int
    public let recordsQuarantined: Int
    /// Encoded receipts for what the log itself could not accept.
    public let receipts: [GatewayReceipt]

    /// For the gateway that sent the batch.
    public struct GatewayReceipt: Hashable, Sendable {
        public let gateway: DeviceID
        public let bytes: [UInt8]

        public init(gateway: DeviceID, bytes: [UInt8]) {
            self.gateway = gateway
            self.bytes = bytes
        }
    }

    public init(
        eventsStored: Int, recordsRepeated: Int, recordsQuarantined: Int, receipts: [GatewayReceipt] = []
    ) {
        self.eventsStored = eventsStored
        self.recordsRepeated = recordsRepeated
        self.recordsQuarantined = recordsQuarantined
        self.receipts = receipts
    }
}

/// Whether the log stores.
public enum LogCondition: Hashable, Sendable {
    case storing
    /// It cannot; it tries again by itself. Callers stop taking in new work.
    case stalled(EventLogError)
}

/// What a partition holds.
public struct PartitionStatus: Hashable, Sendable {
    public let partition: Int
    /// Of the oldest kept event; equal to `nextOffset` when there is none.
    public let firstOffset: Int64
    public let nextOffset: Int64
    /// Of the oldest kept event.
    public let firstEnqueuedAt: WallInstant?
    public let bytes: Int64

    public init(
        partition: Int, firstOffset: Int64, nextOffset: Int64, firstEnqueuedAt: WallInstant?, bytes: Int64
    ) {
        self.partition = partition
        self.firstOffset = firstOffset
        self.nextOffset = nextOffset
        self.firstEnqueuedAt = firstEnqueuedAt
        self.bytes = bytes
    }

    /// Events that a consumer whose next offset is `checkpoint` has still to read.
    public func lag(checkpoint: Int64) -> Int64 { max(0, nextOffset - max(checkpoint, firstOffset)) }
    /// Events that retention took before that consumer read them.
    public func lost(checkpoint: Int64) -> Int64 { max(0, firstOffset - checkpoint) }
}

/// A quarantined record as it is kept.
public struct StoredQuarantine: Hashable, Sendable {
    public let id: Int64
    public let at: WallInstant
    public let record: QuarantinedRecord

    public init(id: Int64, at: WallInstant, record: QuarantinedRecord) {
        self.id = id
        self.at = at
        self.record = record
    }
}

/// Keeps a callback registered for as long as it lives.
public final class WakeToken: Sendable {
    private let ended: @Sendable () -> Void

    public init(ended: @escaping @Sendable () -> Void) { self.ended = ended }

    deinit { ended() }
}
