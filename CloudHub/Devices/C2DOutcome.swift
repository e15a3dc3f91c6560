public import Primitives

/// Which ends of a message its sender wants feedback about; the raw value is the property `iothub-ack`.
public enum C2DAck: String, Sendable, CaseIterable {
    case none, positive, negative, full

    /// The property's name in a message.
    public static let propertyName = "iothub-ack"

    public func wants(_ kind: C2DOutcome.Kind) -> Bool {
        switch self {
        case .none: false
        case .positive: kind == .completed
        case .negative: kind != .completed
        case .full: true
        }
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
        /// The device did not want it.
        case rejected
        /// It was taken out of the queue, or its device was removed.
        case purged

        /// The word of feedback records. Source: IoT Hub, message feedback.
        public var statusCode: String {
            switch self {
            case .completed: "Success"
            case .expired: "Expired"
            case .deliveryCountExceeded: "DeliveryCountExceeded"
            case .rejected: "Rejected"
            case .purged: "Purged"
            }
        }
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

/// What the sender of a message is told about its end.
public struct C2DFeedback: Sendable, Hashable {
    /// Rises from record to record.
    public let sequence: Int64
    public let device: DeviceID
    /// Of the device when the message was sent.
    public let generationID: String
    public let messageID: String
    public let kind: C2DOutcome.Kind
    /// When the message ended.
    public let at: WallInstant

    public init(
        sequence: Int64, device: DeviceID, generationID: String, messageID: String, kind: C2DOutcome.Kind,
        at: WallInstant
    ) {
        self.sequence = sequence
        self.device = device
        self.generationID = generationID
        self.messageID = messageID
        self.kind = kind
        self.at = at
    }
}
