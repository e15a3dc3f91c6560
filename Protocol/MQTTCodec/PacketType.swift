/// The fourteen control packets by their number on the wire. Source: MQTT 3.1.1 section 2.2.1.
public enum PacketType: UInt8, Sendable, CaseIterable, CustomStringConvertible {
    case connect = 1
    case connAck = 2
    case publish = 3
    case pubAck = 4
    case pubRec = 5
    case pubRel = 6
    case pubComp = 7
    case subscribe = 8
    case subAck = 9
    case unsubscribe = 10
    case unsubAck = 11
    case pingReq = 12
    case pingResp = 13
    case disconnect = 14

    /// The specification's spelling: `CONNECT`, `PUBACK` …
    public var description: String {
        switch self {
        case .connect: "CONNECT"
        case .connAck: "CONNACK"
        case .publish: "PUBLISH"
        case .pubAck: "PUBACK"
        case .pubRec: "PUBREC"
        case .pubRel: "PUBREL"
        case .pubComp: "PUBCOMP"
        case .subscribe: "SUBSCRIBE"
        case .subAck: "SUBACK"
        case .unsubscribe: "UNSUBSCRIBE"
        case .unsubAck: "UNSUBACK"
        case .pingReq: "PINGREQ"
        case .pingResp: "PINGRESP"
        case .disconnect: "DISCONNECT"
        }
    }

    /// The low four bits of the first byte, or `nil` for PUBLISH, which carries DUP, QoS and RETAIN there.
    /// Source: MQTT 3.1.1 section 2.2.2, table 2.2.
    var requiredFlags: UInt8? {
        switch self {
        case .publish: nil
        case .pubRel, .subscribe, .unsubscribe: 0b0010
        case .connect, .connAck, .pubAck, .pubRec, .pubComp, .subAck, .unsubAck, .pingReq, .pingResp, .disconnect: 0
        }
    }

    /// The one length that the body can have, so that a wrong one is refused from the header alone.
    var requiredBodyBytes: Int? {
        switch self {
        case .connAck, .pubAck, .pubRec, .pubRel, .pubComp, .unsubAck: 2
        case .pingReq, .pingResp, .disconnect: 0
        case .connect, .publish, .subscribe, .subAck, .unsubscribe: nil
        }
    }

    /// The first byte of a packet of this type without flags of its own.
    var firstByte: UInt8 { rawValue << 4 | (requiredFlags ?? 0) }
}
