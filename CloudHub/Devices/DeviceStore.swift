public import HubContract
public import Primitives
public import Sessions

/// What the rooms behind a session keep on disk. Errors are the store's own.
///
/// Completions come on the store's thread, in the order of the commits; they must return quickly.
public protocol DeviceStore: Sendable {
    /// `nil` when nothing was ever written to it.
    func twin(
        of who: HubIdentity, completion: @escaping @Sendable (Result<TwinDocument?, any Error>) -> Void)

    /// Reads a twin, asks `decide` for what shall stand there, writes that and makes it durable: one transaction.
    func changeTwin<T: Sendable>(
        of who: HubIdentity,
        decide: @escaping @Sendable (TwinDocument?) throws -> (TwinDocument, T),
        completion: @escaping @Sendable (Result<T, any Error>) -> Void)

    /// Called once, at start; blocks.
    func loadSubscriptions() throws -> [HubIdentity: Set<StoredSubscription>]
    /// An empty set deletes.
    func setSubscriptions(
        of who: HubIdentity, to subscriptions: Set<StoredSubscription>,
        completion: @escaping @Sendable (Result<Void, any Error>) -> Void)

    /// Called once, at start; blocks.
    func loadActivity() throws -> [HubIdentity: DeviceActivity]
    func setActivity(_ changed: [HubIdentity: DeviceActivity]) async throws

    /// How many messages wait for each device, and when the first of all expires. Called once, at start; blocks.
    func loadQueues() throws -> (counts: [DeviceID: Int], firstExpiry: WallInstant?)
    /// Appends a message.
    /// - Throws: through `completion`: `HubError` 403004 when `most` messages wait already.
    func enqueue(
        _ message: QueuedMessage, for device: DeviceID, most: Int,
        completion: @escaping @Sendable (Result<Void, any Error>) -> Void)
    /// What waits for the device, oldest first, each delivery counted. Those that are past their expiry or were
    /// delivered `deliveriesMax` times before are taken out of the queue and come back as outcomes.
    ///
    /// - Parameter underWay: asked when it is this request's turn: messages that are being delivered now, which are
    ///   neither counted nor given up nor returned; `nil` when nobody wants any messages any more.
    func takeForDelivery(
        _ device: DeviceID, now: WallInstant, deliveriesMax: Int, underWay: @escaping @Sendable () -> Set<UniqueID>?,
        completion: @escaping @Sendable (Result<(messages: [QueuedMessage], ended: [C2DOutcome]), any Error>) -> Void)
    /// Takes a delivered message out; `nil` when it is not there any more.
    func complete(
        _ token: UniqueID, of device: DeviceID,
        completion: @escaping @Sendable (Result<C2DOutcome?, any Error>) -> Void)
    /// Takes out what has expired in all queues, and says when the next one will.
    func expire(now: WallInstant) async throws -> (ended: [C2DOutcome], next: WallInstant?)
    /// Takes out everything that waits for the device.
    func purge(_ device: DeviceID) async throws -> [C2DOutcome]

    /// Outcomes that nobody handled yet, oldest first; of messages that asked for it.
    func storedOutcomes() async throws -> [C2DOutcome]
    /// Queue and kept outcomes, looked at in one snapshot.
    func fate(ofMessage messageID: String, for device: DeviceID) async throws -> C2DFate
    func outcomesHandled(_ tokens: [UniqueID]) async throws
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
    /// How often it was handed to the device; 1 for a new one that goes out at once.
    public var deliveries: Int

    public init(
        token: UniqueID, messageID: String, bagText: String, payload: [UInt8], expiresAt: WallInstant,
        wantsOutcome: Bool, deliveries: Int = 0
    ) {
        self.token = token
        self.messageID = messageID
        self.bagText = bagText
        self.payload = payload
        self.expiresAt = expiresAt
        self.wantsOutcome = wantsOutcome
        self.deliveries = deliveries
    }
}

/// What has become of a message that wanted its outcome kept.
public enum C2DFate: Sendable, Hashable {
    /// It is in its device's queue.
    case waits
    /// It ended, and nobody has handled that yet.
    case ended(C2DOutcome)
    /// It was never queued, or its outcome was handled.
    case unknown
}

/// How a cloud-to-device message ended.
public struct C2DOutcome: Sendable, Hashable {
    /// The raw value is what stores keep; never rename one.
    public enum Kind: String, Sendable {
        /// The device acknowledged it.
        case completed
        /// Its time ran out before the device acknowledged it.
        case expired
        /// It was delivered too often without an acknowledgement.
        case deliveryCountExceeded
        /// It was taken out of the queue, or its device was removed.
        case purged
    }

    public let device: DeviceID
    public let messageID: String
    public let token: UniqueID
    public let kind: Kind
    /// How often it was handed to the device before. 0: the device certainly never had it.
    public let deliveries: Int
    /// Whether it stays stored until `outcomesHandled`.
    public let isStored: Bool

    public init(
        device: DeviceID, messageID: String, token: UniqueID, kind: Kind, deliveries: Int, isStored: Bool
    ) {
        self.device = device
        self.messageID = messageID
        self.token = token
        self.kind = kind
        self.deliveries = deliveries
        self.isStored = isStored
    }
}

/// When an identity was last here.
public struct DeviceActivity: Sendable, Equatable {
    /// When it last connected or disconnected; `.never` before the first time.
    public var connectionChangedAt = WallInstant.never
    /// When it last connected, disconnected or sent something; `.never` before the first time.
    public var lastActivityAt = WallInstant.never

    public init() {}
}
