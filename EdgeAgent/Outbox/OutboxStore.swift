public import Primitives
public import Telemetry

/// The gateway's durable memory: what was read and is not yet acknowledged, and the state that belongs to it.
///
/// A record's identity is (gateway, epoch, sequence). The epoch is 64 random bits made with the store; sequences start
/// at 1 and never repeat within an epoch. One process at a time; calls may come from any thread and wait for each
/// other. Every change is on the disk (synced) when its call returns, but for acknowledgements: see `acknowledge`.
public protocol OutboxStore: AnyObject, Sendable {
    /// Made when the store was; part of every record's identity.
    var epoch: Epoch { get }

    /// Depth, next sequence, last persisted wall time, and what was written. Cost: O(1).
    func status() throws(OutboxError) -> OutboxStatus

    /// State kept under `key` by an earlier commit, also of an earlier run.
    func kept(_ key: String) throws(OutboxError) -> [UInt8]?

    /// Keeps records, state and wall time, all or nothing.
    ///
    /// The quota holds before and after it. When it is reached, acknowledged records that are kept for a replay go
    /// first, then readings of low priority, of normal and of high, in each the oldest first and this very commit's
    /// last, and only then the oldest faults. What was dropped is declared to the hub with a later batch, and counted
    /// for `losses`.
    /// - Returns: the runs that were dropped to make room; usually empty.
    /// - Throws: `.full`, `.busy`, `.diskFailed`, `.readOnly` (retryable); `.wrongRecords` when the sequences do not
    ///   continue.
    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run]

    /// Reads one batch without changing anything. What has expired is left out.
    ///
    /// - Returns: oldest first; `nil` when nothing of that kind is stored in the range.
    func take(_ request: TakeRequest) throws(OutboxError) -> OutboxBatch?

    /// Removes what the hub has acknowledged, and the declarations that went with it. Unknown batches are ignored:
    /// they were acknowledged or dropped before. Uses the disk reserve when the disk is full.
    ///
    /// It reaches the disk with the next commit, or by `tidy`. A crash before makes the records travel again, and the
    /// hub drops the repetition: an acknowledgement need not cost the flash a page of its own.
    func acknowledge(_ batches: [OutboxBatch]) throws(OutboxError)

    /// Writes what `acknowledge` left, lets go of what has expired or was kept long enough for a replay, and gives
    /// space back. To be called every second or so; cheap when there is nothing to do.
    ///
    /// - Returns: the runs that expired; they are declared to the hub and counted for `losses`.
    func tidy() throws(OutboxError) -> [Run]

    /// How many records of which sensor were dropped or have expired, and no commit has reported yet.
    func losses() throws(OutboxError) -> [SensorLoss]

    /// Puts acknowledged records back on their way, as far as they are kept, and declares as dropped what is neither
    /// kept nor waits. At most `OutboxLimits.replayRowsMax` rows at a time; the outcome says where it ended, and nothing
    /// beyond that is declared.
    func replay(_ run: Run) throws(OutboxError) -> ReplayOutcome

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
    ///
    /// - Parameter isTimeKnown: otherwise nobody can say whether one that expires has expired: it stays, and so do those
    ///   that came after it for the same device.
    func beginCommand(isTimeKnown: Bool) throws(OutboxError) -> QueuedCommand?

    /// Notes how a command that was begun has ended.
    func endCommand(_ messageID: String, outcome: String) throws(OutboxError)

    /// How the last commands ended, newest first. One that an earlier run had begun and not ended is among them, as
    /// interrupted: whether it reached the device is not known, and it is not begun again.
    func endedCommands(countMax: Int) throws(OutboxError) -> [EndedCommand]
}

extension OutboxStore {
    public func beginCommand() throws(OutboxError) -> QueuedCommand? { try beginCommand(isTimeKnown: true) }
}
