public import MQTTCodec

/// Why the hub closes a connection. MQTT 3.1.1 has no packet for it: the client only sees the end of the stream, so the
/// text is for the operator.
public enum CloseReason: Equatable, Sendable {
    /// The client said DISCONNECT. Not a fault.
    case clientDisconnected
    case connectTimedOut
    case keepAliveTimedOut
    case malformed(DecodeError)
    case protocolViolation(ProtocolViolation)
    case qosUnsupported(QoS)
    case refused(ConnectReturnCode)
    /// The hub itself wants it: takeover, removed device, expired token, shutdown. The shell knows which and logs it.
    case closedByHub
}

/// What a client did that MQTT forbids although each packet was well-formed.
public enum ProtocolViolation: Equatable, Sendable {
    case packetBeforeConnect(PacketType)
    case packetBeforeConnAck(PacketType)
    case secondConnect
    /// Only a server sends this packet.
    case packetForClients(PacketType)
    /// A wildcard at the wrong place.
    case topicFilterInvalid
    case pubRelBeforePubRec(PacketID)
    /// An acknowledgement of the wrong kind for its message.
    case acknowledgementMismatched(PacketType, PacketID)
    case tooManyUnanswered(countMax: Int)
    case tooManySubscriptionsWaiting(countMax: Int)
}

extension CloseReason: CustomStringConvertible {
    public var description: String {
        switch self {
        case .clientDisconnected: "the client disconnected"
        case .connectTimedOut:
            "no CONNECT was completed in time; check that the client speaks MQTT over TLS on this port"
        case .keepAliveTimedOut: "nothing was heard for one and a half keep-alive times; check the client's network"
        case .malformed(let error): "\(error); mend the client"
        case .protocolViolation(let violation): "\(violation); mend the client"
        case .qosUnsupported(let qos): "QoS \(qos.rawValue) is not supported; let the client publish with QoS 1"
        case .refused(let code): "CONNECT was refused with return code \(code.rawValue) (\(code))"
        case .closedByHub: "the hub closed the connection"
        }
    }
}

extension ProtocolViolation: CustomStringConvertible {
    public var description: String {
        switch self {
        case .packetBeforeConnect(let type): "\(type) came before CONNECT"
        case .packetBeforeConnAck(let type): "\(type) came before CONNECT was answered"
        case .secondConnect: "CONNECT came a second time"
        case .packetForClients(let type): "\(type) is sent by servers only"
        case .topicFilterInvalid: "a topic filter has a wildcard at the wrong place"
        case .pubRelBeforePubRec(let id): "PUBREL \(id) came before its PUBREC"
        case .acknowledgementMismatched(let type, let id): "\(type) \(id) does not fit the QoS of its message"
        case .tooManyUnanswered(let countMax): "more than \(countMax) messages wait for their acknowledgement"
        case .tooManySubscriptionsWaiting(let countMax): "more than \(countMax) SUBSCRIBE packets wait for their answer"
        }
    }
}
