public import JSON
public import Primitives

/// The way from the connector to a device. The composition root implements it on the device hub.
public protocol CommandDispatcher: Sendable {
    /// Whether a direct method could reach the device now. Memory only.
    func isOnline(_ device: DeviceID) -> Bool

    /// Calls a direct method and waits for its answer, at most for the limit.
    func invoke(
        _ device: DeviceID, method: String, payload: JSONValue, timeLimit: Duration
    ) async -> MethodOutcome

    /// Puts the command into the device's queue as a message that is gone after `expiresAt`, delivered or not. Returns
    /// when it is durable; how it ended comes with `queueEnds`.
    func enqueue(_ message: QueuedCommand, for device: DeviceID) async -> QueueAnswer

    /// What has become of a command that was to be queued, perhaps by an earlier run of the hub.
    func fate(of command: UniqueID, on device: DeviceID) async throws -> QueueFate

    /// Every end of a queued command that was not `taken` yet, oldest first. Durable: a restart loses none.
    func queueEnds() async throws -> [QueueEnd]

    /// Forgets an end, once what follows from it is durable.
    func taken(_ end: QueueEnd) async throws

    /// Calls `wake` after each new end. Replaces the one before.
    func onQueueEnd(_ wake: @escaping @Sendable () -> Void)
}

/// How a direct method ended.
public enum MethodOutcome: Sendable, Equatable {
    /// The method ran; the device's own status and payload.
    case answered(status: Int, payload: JSONValue)
    /// It was called, and no answer came: nobody knows whether it ran.
    case unanswered
    /// Nobody was there to call: it did not run.
    case notOnline
    /// In words: the device does not exist, answered nonsense …
    case failed(String)
}

/// A command on its way into a device's queue.
public struct QueuedCommand: Sendable, Equatable {
    /// The command row's id, under which `fate` and `queueEnds` speak of it.
    public let id: UniqueID
    public let command: DeviceCommand
    public let expiresAt: WallInstant

    public init(id: UniqueID, command: DeviceCommand, expiresAt: WallInstant) {
        self.id = id
        self.command = command
        self.expiresAt = expiresAt
    }
}

/// Whether a command is in its device's queue.
public enum QueueAnswer: Sendable, Equatable {
    case queued
    /// In words: the device does not exist, its queue is full … It is not in the queue and need not be tried again.
    case refused(String)
    /// In words: the store failed. `fate` says whether it is in the queue.
    case unsure(String)
}

/// What has become of a command that was to be queued.
public enum QueueFate: Sendable, Equatable {
    /// It is in the queue.
    case waits
    /// `queueEnds` has its end.
    case ended
    /// It never was in the queue.
    case neverQueued
}

/// How a queued command ended.
public struct QueueEnd: Sendable, Equatable {
    public enum How: Sendable, Equatable, CaseIterable {
        /// The device acknowledged it.
        case delivered
        /// Its time passed first.
        case expired
        /// It was handed over as often as the hub tries, and never acknowledged.
        case givenUp
        /// The device took it and said that it does not want it.
        case rejected
        /// Somebody emptied the queue, or removed the device.
        case removed
    }

    public let command: UniqueID
    public let how: How
    /// How often it was handed to the device. 0: the device certainly never had it.
    public let deliveries: Int
    /// The dispatcher's own name for this end.
    public let receipt: UniqueID

    public init(command: UniqueID, how: How, deliveries: Int, receipt: UniqueID) {
        self.command = command
        self.how = how
        self.deliveries = deliveries
        self.receipt = receipt
    }
}

/// Keeps what is known of each command. The store implements it; every write is durable when it returns.
public protocol ConnectorStore: Sendable {
    func record(of command: UniqueID) async throws -> CommandRecord?
    /// Replaces the record of its command.
    func save(_ record: CommandRecord) async throws
    /// Removes reported records that were changed before `reported`, and any that were changed before `any`.
    func forget(reportedBefore reported: WallInstant, anyBefore any: WallInstant) async throws
}
