public import Primitives

/// Where cloud-to-device messages wait, and what is told about their ends. Errors are the store's own.
///
/// Completions come on the store's thread, in the order of the commits; they must return quickly.
public protocol QueueStore: Sendable {
    /// What waits, counted. Called once, at start; blocks.
    func loadQueues() throws -> QueueSummary
    /// Appends a message.
    /// - Throws: through `completion`: `HubError` 403004 when `most` messages wait already.
    func enqueue(
        _ message: QueuedMessage, for device: DeviceID, most: Int,
        completion: @escaping @Sendable (Result<Void, any Error>) -> Void)
    /// What waits for the device and is not locked, oldest first, each delivery counted. Those that are past their expiry
    /// or were delivered too often are taken out of the queue and come back as outcomes.
    ///
    /// - Parameter underWay: asked when it is this request's turn: messages that are being delivered now, which are
    ///   neither counted nor given up nor returned; `nil` when nobody wants any messages any more.
    func takeForDelivery(
        _ device: DeviceID, at moment: QueueMoment, underWay: @escaping @Sendable () -> Set<UniqueID>?,
        completion: @escaping @Sendable (Result<(messages: [QueuedMessage], ended: [C2DOutcome]), any Error>) -> Void)
    /// Takes a delivered message out; `nil` when it is not there any more.
    func complete(
        _ token: UniqueID, of device: DeviceID, now: WallInstant,
        completion: @escaping @Sendable (Result<C2DOutcome?, any Error>) -> Void)

    /// As `takeForDelivery`, but only the first, which is locked under `lock` for `moment.lockTime`.
    func receive(
        _ device: DeviceID, lock: UniqueID, at moment: QueueMoment, underWay: @escaping @Sendable () -> Set<UniqueID>
    ) async throws -> (message: WaitingMessage?, ended: [C2DOutcome])
    /// Ends or gives back the message that is locked under `lock`; `nil` when no lock of that name holds any more.
    func settle(
        _ lock: UniqueID, of device: DeviceID, as settlement: C2DSettlement, at moment: QueueMoment
    ) async throws -> SettledMessage?

    /// Takes out what has expired or was locked for too long and too often in all queues, opens locks that are over, and
    /// says when there will be something to do again.
    func sweep(at moment: QueueMoment) async throws -> QueueSweep
    /// Takes out everything that waits for the device.
    func purge(_ device: DeviceID, now: WallInstant) async throws -> [C2DOutcome]
    /// What waits for the device, oldest first.
    func waiting(for device: DeviceID) async throws -> [WaitingMessage]

    /// Outcomes that nobody handled yet, oldest first; of messages that asked for it.
    func storedOutcomes() async throws -> [C2DOutcome]
    /// Queue and kept outcomes, looked at in one snapshot.
    func fate(ofMessage messageID: String, for device: DeviceID) async throws -> C2DFate
    func outcomesHandled(_ tokens: [UniqueID]) async throws

    /// The oldest feedback that nobody holds, locked under `lock` until `end`.
    func takeFeedback(most: Int, lock: UniqueID, now: WallInstant, until end: WallInstant) async throws -> [C2DFeedback]
    /// Removes what is locked under `lock`, or gives it back.
    /// - Returns: `false` when no lock of that name holds any more.
    func settleFeedback(_ lock: UniqueID, isDone: Bool, now: WallInstant) async throws -> Bool
    /// The newest feedback, newest first; of one device or of all. Takes nothing.
    func feedback(of device: DeviceID?, most: Int) async throws -> [C2DFeedback]
    /// Forgets feedback from before that time.
    func forgetFeedback(before time: WallInstant) async throws
}

/// When something happens to queues, and the limits that hold then.
public struct QueueMoment: Sendable {
    public let now: WallInstant
    /// Deliveries after which a message is given up.
    public let deliveriesMax: Int
    /// How long a message that was received over HTTPS stays locked.
    public let lockTime: Duration

    public init(now: WallInstant, deliveriesMax: Int, lockTime: Duration) {
        self.now = now
        self.deliveriesMax = deliveriesMax
        self.lockTime = lockTime
    }
}

/// What waits in all queues.
public struct QueueSummary: Sendable {
    public var counts: [DeviceID: Int]
    /// When the first message expires or the first lock ends.
    public var nextDue: WallInstant?

    public init(counts: [DeviceID: Int], nextDue: WallInstant?) {
        self.counts = counts
        self.nextDue = nextDue
    }
}

/// What a sweep of all queues found.
public struct QueueSweep: Sendable {
    public var ended: [C2DOutcome]
    /// Devices with messages whose lock is over: they may go out again.
    public var unlocked: [DeviceID]
    public var nextDue: WallInstant?

    public init(ended: [C2DOutcome], unlocked: [DeviceID], nextDue: WallInstant?) {
        self.ended = ended
        self.unlocked = unlocked
        self.nextDue = nextDue
    }
}

/// What a device does with a message that it received under a lock.
public enum C2DSettlement: Sendable, Hashable {
    case completed
    case rejected
    /// It goes back into the queue, in its old place.
    case abandoned
}

/// What became of a settled message.
public enum SettledMessage: Sendable, Hashable {
    case ended(C2DOutcome)
    case waitsAgain
}

/// A cloud-to-device message as it waits.
public struct QueuedMessage: Sendable, Equatable {
    /// Names it towards the device's acknowledgement.
    public let token: UniqueID
    public let messageID: String
    /// The property bag as it goes into the topic.
    public let bagText: String
    public let payload: [UInt8]
    public let expiresAt: WallInstant
    /// Whether its outcome is kept until somebody handled it.
    public let wantsOutcome: Bool
    public let enqueuedAt: WallInstant
    /// Which ends the sender wants feedback about.
    public let ack: C2DAck
    /// Of the device, for the feedback.
    public let generationID: String
    /// How often it was handed to the device; 1 for a new one that goes out at once.
    public var deliveries: Int

    public init(
        token: UniqueID, messageID: String, bagText: String, payload: [UInt8], expiresAt: WallInstant,
        wantsOutcome: Bool, enqueuedAt: WallInstant, ack: C2DAck = .none, generationID: String = "",
        deliveries: Int = 0
    ) {
        self.token = token
        self.messageID = messageID
        self.bagText = bagText
        self.payload = payload
        self.expiresAt = expiresAt
        self.wantsOutcome = wantsOutcome
        self.enqueuedAt = enqueuedAt
        self.ack = ack
        self.generationID = generationID
        self.deliveries = deliveries
    }
}

/// A message in its queue.
public struct WaitingMessage: Sendable, Equatable {
    public let message: QueuedMessage
    /// Rises from message to message over all devices of the hub.
    public let sequence: Int64
    /// When the lock of the device that received it over HTTPS ends; `nil` when there is none.
    public let lockedUntil: WallInstant?

    public init(message: QueuedMessage, sequence: Int64, lockedUntil: WallInstant?) {
        self.message = message
        self.sequence = sequence
        self.lockedUntil = lockedUntil
    }
}
