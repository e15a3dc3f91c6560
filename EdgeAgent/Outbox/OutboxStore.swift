public import Primitives
public import Telemetry

/// The gateway's durable memory: what was read and is not yet acknowledged, and the state that belongs to it.
///
/// A record's identity is (gateway, epoch, sequence). The epoch is 64 random bits made with the store; sequences start
/// at 1 and never repeat within an epoch. One process at a time; calls may come from any thread and wait for each
/// other. Every change is on the disk (synced) when its call returns.
public protocol OutboxStore: AnyObject, Sendable {
    /// Made when the store was; part of every record's identity.
    var epoch: Epoch { get }

    /// Depth, next sequence and last persisted wall time. Cost: O(1).
    func status() throws(OutboxError) -> OutboxStatus

    /// State kept under `key` by an earlier commit, also of an earlier run.
    func kept(_ key: String) throws(OutboxError) -> [UInt8]?

    /// Keeps records, state and wall time, all or nothing.
    ///
    /// Over the quota, the oldest readings go first, then the newest readings of this very commit, and only then the
    /// oldest faults; what was dropped is declared to the hub with a later batch.
    /// - Returns: the runs that were dropped to make room; usually empty.
    /// - Throws: `.full`, `.busy`, `.diskFailed` (retryable); `.wrongRecords` when the sequences do not continue.
    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run]

    /// Reads one batch without changing anything.
    ///
    /// - Returns: oldest first; `nil` when nothing of that kind is stored in the range.
    func take(_ request: TakeRequest) throws(OutboxError) -> OutboxBatch?

    /// Removes what the hub has acknowledged, and the declarations that went with it. Unknown batches are ignored:
    /// they were acknowledged or dropped before. Uses the disk reserve when the disk is full.
    func acknowledge(_ batches: [OutboxBatch]) throws(OutboxError)

    /// Keeps what the hub said about records that it could not accept; only the last `receiptCountMax` stay.
    func keepReceipt(_ receipt: [UInt8], at time: WallInstant) throws(OutboxError)

    /// Newest first.
    func receipts(countMax: Int) throws(OutboxError) -> [StoredReceipt]

    /// Keeps a cloud-to-device command before it is acknowledged to the hub.
    ///
    /// - Returns: `false` when this message was kept before (a repetition); nothing was changed.
    func keepCommand(_ command: QueuedCommand) throws(OutboxError) -> Bool

    /// The oldest command that was not begun; marks it as begun in the same transaction, so that a crash cannot
    /// execute it twice.
    func beginCommand() throws(OutboxError) -> QueuedCommand?

    /// Notes how a command that was begun has ended.
    func endCommand(_ messageID: String, outcome: String) throws(OutboxError)

    /// How the last commands ended, newest first. One that an earlier run had begun and not ended is among them, as
    /// interrupted: whether it reached the device is not known, and it is not begun again.
    func endedCommands(countMax: Int) throws(OutboxError) -> [EndedCommand]
}

/// What one commit keeps.
public struct OutboxCommit: Sendable {
    /// Consecutive sequences, the first one being `OutboxStatus.nextSequence`. May be empty.
    public let records: [SequencedRecord]
    /// Pipeline state, driver marks: replaced by key.
    public let kept: [KeptState]
    /// The wall clock now: certificates are never checked at an earlier time while the clock is unset.
    public let wallTime: WallInstant
    /// How far `wallTime` can be trusted.
    public let clock: ClockQuality

    public init(
        records: [SequencedRecord], kept: [KeptState] = [], wallTime: WallInstant, clock: ClockQuality
    ) {
        self.records = records
        self.kept = kept
        self.wallTime = wallTime
        self.clock = clock
    }

    /// The last known wall time once this commit is kept. A clock that was never set knows no time: a board without a
    /// battery starts in 1970, and that must not take the place of what was known before the power went.
    public func lastWallTime(after known: WallInstant?) -> WallInstant? {
        switch clock {
        case .synchronised, .guessed: wallTime
        case .unset: known
        }
    }
}

/// Bytes that mean something to whoever kept them.
public struct KeptState: Sendable, Equatable {
    public let key: String
    /// At most 1 MiB.
    public let bytes: [UInt8]

    public init(key: String, bytes: [UInt8]) {
        self.key = key
        self.bytes = bytes
    }
}

public struct OutboxStatus: Sendable, Equatable {
    /// The sequence that the next record must have.
    public let nextSequence: UInt64
    /// Records that wait for their acknowledgement.
    public let recordCount: UInt64
    /// What counts against the quota: fragment bytes and a fixed sum a row.
    public let storedBytes: Int
    /// The wall time of the last commit whose clock was set; `nil` before the first.
    public let lastWallTime: WallInstant?
    /// Records that were dropped and not yet declared to the hub.
    public let undeclaredCount: UInt64

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

/// Faults travel before readings and are dropped after them.
public enum OutboxLane: Int, Sendable, Hashable, CaseIterable {
    case readings = 0
    case faults = 1
}

/// Which records to read.
public struct TakeRequest: Sendable, Equatable {
    public let lane: OutboxLane
    /// Only records with a sequence greater than this.
    public let after: UInt64
    /// Only rows that begin before this sequence; `nil` for no bound.
    public let before: UInt64?
    /// Joined fragments up to this size; a first row is taken whatever its size. At most `OutboxLimits.rowBytesMax`
    /// below the batch limit, so that one row always fits.
    public let bytesMax: Int

    public init(lane: OutboxLane, after: UInt64, before: UInt64? = nil, bytesMax: Int) {
        self.lane = lane
        self.after = after
        self.before = before
        self.bytesMax = bytesMax
    }
}

/// What goes out in one PUBLISH.
public struct OutboxBatch: Sendable, Equatable {
    /// First sequences of the stored rows in it, rising.
    public let rows: [UInt64]
    /// The records in it, rising; neighbours are joined.
    public let runs: [Run]
    /// Encoded records joined with commas, in the order of `runs`.
    public let fragments: [UInt8]
    /// Records that were dropped unsent, declared with this batch.
    public let dropped: [Run]

    public init(rows: [UInt64], runs: [Run], fragments: [UInt8], dropped: [Run]) {
        self.rows = rows
        self.runs = runs
        self.fragments = fragments
        self.dropped = dropped
    }

    public var recordCount: UInt64 { runs.reduce(0) { $0 + $1.count } }

    /// The last sequence in it.
    public var lastSequence: UInt64 { runs.last.map { $0.start + $0.count - 1 } ?? 0 }
}

/// A receipt as it came, with the time at which it did.
public struct StoredReceipt: Sendable, Equatable {
    public let time: WallInstant
    public let bytes: [UInt8]

    public init(time: WallInstant, bytes: [UInt8]) {
        self.time = time
        self.bytes = bytes
    }
}

/// A cloud-to-device message that asks for a command.
public struct QueuedCommand: Sendable, Equatable {
    /// The hub's message id; a message without one gets a name made of its content.
    public let messageID: String
    public let device: DeviceID
    public let name: String
    public let payload: [UInt8]
    /// Not to be executed after this; `nil` for no limit.
    public let expiresAt: WallInstant?

    public init(messageID: String, device: DeviceID, name: String, payload: [UInt8], expiresAt: WallInstant?) {
        self.messageID = messageID
        self.device = device
        self.name = name
        self.payload = payload
        self.expiresAt = expiresAt
    }
}

/// What became of a command.
public struct EndedCommand: Sendable, Equatable {
    public let device: DeviceID
    public let name: String
    /// `executed`, `expired`, or what went wrong.
    public let outcome: String

    public init(device: DeviceID, name: String, outcome: String) {
        self.device = device
        self.name = name
        self.outcome = outcome
    }
}

/// The limits of the outbox, each with its reason.
public struct OutboxLimits: Sendable, Equatable {
    /// Fragment bytes in one row: small enough that a batch can hold several, large enough that a row costs little.
    public static let rowBytesMax = 64 * 1024
    /// Counted against the quota for each row besides its fragments: key, header, slack in the page.
    public static let rowOverheadBytes = 64
    /// Bytes of one kept state.
    public static let keptBytesMax = 1024 * 1024
    /// Dropped runs in one batch: keeps the declaration well under 2 KiB.
    public static let declaredRunCountMax = 32
    public static let receiptCountMax = 50
    /// Commands that wait or are remembered for telling repetitions; the hub keeps 50 a device.
    public static let commandCountMax = 1000

    /// Bytes that unsent records may take. Default 512 MiB. Range 64 KiB and up.
    public var quotaBytes: Int

    public init(quotaBytes: Int = 512 * 1024 * 1024) {
        precondition(quotaBytes >= 64 * 1024, "an outbox under 64 KiB could not hold one row")
        self.quotaBytes = quotaBytes
    }
}
