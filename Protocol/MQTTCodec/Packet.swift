/// One control packet of MQTT 3.1.1, in either direction.
public enum Packet: Equatable, Sendable {
    /// Kept out of line: it is large, rare, and would make every other packet as large.
    indirect case connect(Connect)
    case connAck(ConnAck)
    case publish(Publish)
    case pubAck(PacketID)
    case pubRec(PacketID)
    case pubRel(PacketID)
    case pubComp(PacketID)
    case subscribe(Subscribe)
    case subAck(SubAck)
    case unsubscribe(Unsubscribe)
    case unsubAck(PacketID)
    case pingReq
    case pingResp
    case disconnect

    /// Which of the fourteen it is.
    public var type: PacketType {
        switch self {
        case .connect: .connect
        case .connAck: .connAck
        case .publish: .publish
        case .pubAck: .pubAck
        case .pubRec: .pubRec
        case .pubRel: .pubRel
        case .pubComp: .pubComp
        case .subscribe: .subscribe
        case .subAck: .subAck
        case .unsubscribe: .unsubscribe
        case .unsubAck: .unsubAck
        case .pingReq: .pingReq
        case .pingResp: .pingResp
        case .disconnect: .disconnect
        }
    }
}
