public import Primitives

/// Everything that one step of the fault runtime changes, in one transaction.
public struct FaultChange: Sendable {
    /// In the order in which they arrived.
    public var reports: [FaultReport]
    /// Partition → offset of the next event to read.
    public var checkpoints: [Int: Int64]
    /// The rules' memory after these events; `nil` leaves what is stored.
    public var ruleState: [UInt8]?
    /// The hub's time, for the queue.
    public var now: WallInstant

    public init(reports: [FaultReport], checkpoints: [Int: Int64], ruleState: [UInt8]?, now: WallInstant) {
        self.reports = reports
        self.checkpoints = checkpoints
        self.ruleState = ruleState
        self.now = now
    }
}

/// What the fault runtime starts from.
public struct FaultRuntimeState: Sendable, Equatable {
    public var checkpoints: [Int: Int64]
    public var ruleState: [UInt8]?

    public init(checkpoints: [Int: Int64] = [:], ruleState: [UInt8]? = nil) {
        self.checkpoints = checkpoints
        self.ruleState = ruleState
    }
}

/// One change of a fault that the CRM does not know yet.
public struct QueuedAlert: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable { case opened, updated, cleared }

    /// The place in the queue; rows of one fault are done in this order.
    public let sequence: Int64
    public let kind: Kind
    /// How often it has failed.
    public let attempts: Int
    /// As it is now, which may be further than when the row was queued.
    public let fault: Fault
    public let queuedAt: WallInstant

    public init(sequence: Int64, kind: Kind, attempts: Int, fault: Fault, queuedAt: WallInstant) {
        self.sequence = sequence
        self.kind = kind
        self.attempts = attempts
        self.fault = fault
        self.queuedAt = queuedAt
    }
}

/// The queue to the CRM is full, and so no fault may be taken from the log.
public struct FaultQueueFull: Error, Sendable, Equatable, CustomStringConvertible {
    /// Rows that wait.
    public let waiting: Int

    public init(waiting: Int) { self.waiting = waiting }

    public var description: String {
        "\(waiting) alerts wait for the CRM already, and no more are taken; new faults stay in the event log until the CRM "
            + "takes alerts again: mend what the connector reports before the log's retention reaches them"
    }
}

/// How a queue row ended, or when it is due again.
public enum QueueSettlement: Sendable, Equatable {
    /// The CRM has it; the row goes.
    case delivered
    /// Later, with what went wrong.
    case again(at: WallInstant, error: String)
    /// The CRM will never take it: kept aside with the exact error until a person retries it. Beyond a limit of the store
    /// the oldest ones go.
    case deadLetter(error: String)
}

public struct QueueStatus: Sendable, Equatable {
    public let waiting: Int
    /// How many may wait.
    public let limit: Int
    public let deadLetters: Int
    public let oldestQueuedAt: WallInstant?

    public init(waiting: Int, limit: Int, deadLetters: Int, oldestQueuedAt: WallInstant?) {
        self.waiting = waiting
        self.limit = limit
        self.deadLetters = deadLetters
        self.oldestQueuedAt = oldestQueuedAt
    }
}

/// A queue row that the CRM refused.
public struct DeadLetter: Sendable, Equatable {
    public let sequence: Int64
    public let fault: UniqueID
    public let kind: QueuedAlert.Kind
    public let error: String

    public init(sequence: Int64, fault: UniqueID, kind: QueuedAlert.Kind, error: String) {
        self.sequence = sequence
        self.fault = fault
        self.kind = kind
        self.error = error
    }
}

/// A queue row as it stands, for whoever asks what became of a fault.
public struct QueueRow: Sendable, Equatable {
    public let kind: QueuedAlert.Kind
    public let attempts: Int
    public let dueAt: WallInstant
    /// What the CRM said at the last attempt.
    public let error: String?
    /// It waits for a person: the CRM will not take it as it is.
    public let isDead: Bool

    public init(kind: QueuedAlert.Kind, attempts: Int, dueAt: WallInstant, error: String?, isDead: Bool) {
        self.kind = kind
        self.attempts = attempts
        self.dueAt = dueAt
        self.error = error
        self.isDead = isDead
    }
}

/// Keeps the faults, their history and the queue to the CRM. Writes are durable when they return.
public protocol FaultStore: Sendable {
    func runtimeState() async throws -> FaultRuntimeState

    /// Runs the reports through `FaultLifeCycle` and stores what comes of them with checkpoints and rule state.
    ///
    /// - Returns: how many queue rows were added.
    /// - Throws: `FaultQueueFull` when there are reports and no room; nothing was changed, the checkpoints included.
    func commit(_ change: FaultChange) async throws -> Int

    /// - Returns: whether the fault was open and is now acknowledged.
    func acknowledge(_ fault: UniqueID, by person: String, now: WallInstant) async throws -> Bool

    // MARK: The queue

    /// The first due row of each fault that has any, oldest first. A fault whose first row waits is passed over.
    func dueAlerts(now: WallInstant, limit: Int) async throws -> [QueuedAlert]
    func settle(_ sequence: Int64, as settlement: QueueSettlement) async throws
    func queueStatus() async throws -> QueueStatus
    func deadLetters(limit: Int) async throws -> [DeadLetter]
    /// Puts a dead letter back into the queue; `false` when there is none of that sequence.
    func retryDeadLetter(_ sequence: Int64, now: WallInstant) async throws -> Bool

    // MARK: Pages and command line

    /// Newest first.
    func faults(openOnly: Bool, limit: Int) async throws -> [Fault]
    /// By its own id, or by that of a repeat which was folded into it.
    func fault(_ id: UniqueID) async throws -> Fault?
    /// Those of a device that began at exactly this time, also when they are over; at most `limit`.
    func faults(of device: DeviceID, openedAt: WallInstant, limit: Int) async throws -> [Fault]
    /// What the CRM was not told of a fault yet, oldest first, dead letters among it.
    func queueRows(of fault: UniqueID) async throws -> [QueueRow]
    /// Oldest first, the newest `limit`.
    func history(of fault: UniqueID, limit: Int) async throws -> [FaultEvent]
}
