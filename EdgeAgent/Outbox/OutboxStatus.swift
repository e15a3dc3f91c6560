public import Primitives
public import Telemetry

public struct OutboxStatus: Sendable, Equatable {
    /// The sequence that the next record must have.
    public var nextSequence: UInt64
    /// Records that wait for their acknowledgement.
    public var recordCount: UInt64
    /// What they take in the store.
    public var storedBytes: Int
    /// The wall time of the last commit whose clock was set; `nil` before the first.
    public var lastWallTime: WallInstant?
    /// Records that were dropped or have expired and are not yet declared to the hub.
    public var undeclaredCount: UInt64
    /// `recordCount` and `storedBytes` by lane and priority; what there is none of is left out. Rising.
    public var tallies: [OutboxTally] = []
    /// Acknowledged records that are kept for a replay.
    public var replayable = OutboxAmount()
    /// Since the outbox was made.
    public var account = WriteAccount()

    public init(
        nextSequence: UInt64, recordCount: UInt64, storedBytes: Int, lastWallTime: WallInstant?,
        undeclaredCount: UInt64
    ) {
        self.nextSequence = nextSequence
        self.recordCount = recordCount
        self.storedBytes = storedBytes
        self.lastWallTime = lastWallTime
        self.undeclaredCount = undeclaredCount
    }
}

public struct OutboxAmount: Sendable, Equatable {
    public var records: UInt64 = 0
    public var bytes = 0

    public init(records: UInt64 = 0, bytes: Int = 0) {
        self.records = records
        self.bytes = bytes
    }
}

/// What waits of one lane and priority.
public struct OutboxTally: Sendable, Equatable {
    public let lane: OutboxLane
    /// Of readings; faults and replays have none.
    public let priority: Retention.Priority
    public var amount: OutboxAmount

    public init(lane: OutboxLane, priority: Retention.Priority, amount: OutboxAmount) {
        self.lane = lane
        self.priority = priority
        self.amount = amount
    }
}

/// What the outbox has cost the flash, over all runs.
public struct WriteAccount: Sendable, Equatable {
    /// Uncompressed JSON bytes of all records that were appended.
    public var payloadBytes: UInt64 = 0
    /// What the whole process sent to its disks, as the kernel counts it (`write_bytes` of proc(5)). The file system's
    /// own writing and the card's come on top.
    public var writtenBytes: UInt64 = 0
    /// Time in which both were counted.
    public var running = Duration.zero
    public var droppedCount: UInt64 = 0
    public var expiredCount: UInt64 = 0

    public init() {}

    /// Bytes written for each byte of payload; `nil` before there was any.
    public var amplification: Double? { payloadBytes > 0 ? Double(writtenBytes) / Double(payloadBytes) : nil }

    /// How long flash that stands so many written bytes lasts at the pace so far; `nil` while under an hour was seen.
    public func life(endurance: ByteCount) -> Duration? {
        guard running >= .seconds(3600), writtenBytes > 0 else { return nil }
        let seconds = Double(running.components.seconds) * Double(endurance.bytes) / Double(writtenBytes)
        return .seconds(Int64(min(seconds, 3_153_600_000_000)))
    }
}
