public import Primitives

/// Who the client is and how often it gives a sign of life.
public struct ClientLogin: Sendable {
    public let clientID: String
    /// `nil` where anybody may come.
    public let userName: String?
    /// `nil` with a client certificate.
    public let password: Secret?
    /// 1 … 65 535.
    public let keepAliveSeconds: UInt16

    /// `nil` when a text does not fit into MQTT's 65 535 bytes, the keep-alive is zero, or there is a password and no user
    /// name ([MQTT-3.1.2-22]).
    public init?(clientID: String, userName: String?, password: Secret?, keepAliveSeconds: UInt16) {
        let sizes = [clientID.utf8.count, userName?.utf8.count ?? 0, password?.bytes.count ?? 0]
        guard sizes.allSatisfy({ $0 <= 65_535 }), keepAliveSeconds > 0, userName != nil || password == nil else {
            return nil
        }
        self.clientID = clientID
        self.userName = userName
        self.password = password
        self.keepAliveSeconds = keepAliveSeconds
    }
}

/// A message from the server.
public struct ClientMessage: Sendable, Equatable {
    /// Owed to the server for a message of QoS 1; good for the connection that it came on.
    public struct Ticket: Sendable, Hashable {
        /// The packet identifier: it comes again with a repetition.
        public let id: UInt16
    }

    public let topic: String
    public let payload: [UInt8]
    /// `nil` at QoS 0, which nobody acknowledges.
    public let ticket: Ticket?
    /// It was waiting at the server when the subscription was made.
    public let isRetained: Bool
    /// DUP: the server has sent it before, perhaps on an earlier connection; every repetition is marked so
    /// ([MQTT-3.3.1-1]).
    public let isDuplicate: Bool
}

/// Names a message of ours until the server has acknowledged it; used again afterwards.
public struct PublishID: Sendable, Hashable {
    public let value: UInt16
}

/// What to subscribe to.
public struct ClientFilter: Sendable, Equatable {
    public let text: String
    /// 0 or 1.
    public let qualityOfService: UInt8

    public init(_ text: String, qualityOfService: UInt8 = 1) {
        precondition(qualityOfService <= 1, "the client takes part in QoS 0 and 1")
        self.text = text
        self.qualityOfService = qualityOfService
    }
}

/// What the server did.
public enum ClientEvent: Sendable, Equatable {
    /// CONNACK 0; whether the server still had the session of an earlier connection.
    case accepted(isSessionPresent: Bool)
    /// PUBACK for a publish of ours.
    case acknowledged(PublishID)
    /// SUBACK: whether each filter was granted, in the order of the SUBSCRIBE.
    case subscribed([Bool])
    /// Not acknowledged before `ClientSession.acknowledge` says so.
    case message(ClientMessage)
    /// A message over `ClientLimits.packetBytesMax`: its payload was passed over and is not in it. Acknowledged as others
    /// are.
    case overLargeMessage(ClientMessage, payloadBytes: Int)
}

/// Why the session is over. None of them can be mended on the same connection.
public enum ClientError: Error, Sendable, Equatable {
    /// CONNACK with this code, 1 … 255.
    case refused(code: UInt8)
    /// The server sent something that is not MQTT 3.1.1, or that nobody asked for.
    case malformed(String)
    /// No sign of life for as long as was agreed.
    case silent
    /// The server sent more QoS 1 messages than it may leave unacknowledged.
    case tooManyUnacknowledged(countMax: Int)
}

/// Bounds of one session.
public struct ClientLimits: Sendable, Equatable {
    /// Own messages without PUBACK. Default 200. Range 1 … 65 534.
    public var inflightCountMax: Int
    /// Messages of the server that are not acknowledged yet. Default 64.
    public var unacknowledgedCountMax: Int
    /// The longest packet that is taken, header included. Default: an IoT Hub message (256 KiB) and its topic.
    public var packetBytesMax: Int
    /// Whether a longer PUBLISH is passed over, for a server that would only send it again; else it ends the session.
    public var passesOverLargeMessages: Bool

    public init(
        inflightCountMax: Int = 200, unacknowledgedCountMax: Int = 64,
        packetBytesMax: Int = 256 * 1024 + 64 * 1024 + 16, passesOverLargeMessages: Bool = false
    ) {
        precondition((1...65_534).contains(inflightCountMax), "inflightCountMax is 1 … 65 534")
        precondition(unacknowledgedCountMax >= 1, "unacknowledgedCountMax is at least 1")
        self.inflightCountMax = inflightCountMax
        self.unacknowledgedCountMax = unacknowledgedCountMax
        self.packetBytesMax = packetBytesMax
        self.passesOverLargeMessages = passesOverLargeMessages
    }
}
