public import NIOCore

extension Packet {
    /// Appends the packet's bytes. The packet has to be one that MQTT can express: texts up to 65 535 bytes, at least one
    /// topic filter; the initialisers of the payload types hold the rest.
    public func encode(into buffer: inout ByteBuffer) {
        switch self {
        case .connect(let connect): connect.write(into: &buffer)
        case .connAck(let connAck): connAck.write(into: &buffer)
        case .publish(let publish): publish.write(into: &buffer)
        case .pubAck(let id), .pubRec(let id), .pubRel(let id), .pubComp(let id), .unsubAck(let id):
            buffer.writeAcknowledgement(type, id)
        case .subscribe(let subscribe): subscribe.write(into: &buffer)
        case .subAck(let subAck): subAck.write(into: &buffer)
        case .unsubscribe(let unsubscribe): unsubscribe.write(into: &buffer)
        case .pingReq, .pingResp, .disconnect: buffer.writeFixedHeader(type.firstByte, bodyBytes: 0)
        }
    }
}
