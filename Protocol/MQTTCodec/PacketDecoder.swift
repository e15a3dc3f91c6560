public import NIOCore

/// Cuts packets out of a stream of bytes.
///
/// It keeps no bytes: what is not yet a whole packet stays in the caller's buffer. After an error it is spent and throws
/// that error again, because the start of the next packet cannot be found.
public struct PacketDecoder: Sendable {
    public let limits: CodecLimits
    private var failure: DecodeError?

    public init(limits: CodecLimits = CodecLimits()) { self.limits = limits }

    /// Takes the next whole packet off the front of `buffer`.
    ///
    /// Size and header are checked before the body has arrived, so that a packet which will be refused is never kept.
    /// Topic and payload of a PUBLISH are slices of `buffer`'s storage.
    /// - Returns: `nil` when more bytes are needed; `buffer` is then unchanged.
    /// - Throws: `DecodeError`; `buffer` then has to be thrown away with the connection.
    public mutating func next(from buffer: inout ByteBuffer) throws(DecodeError) -> Packet? {
        if let failure { throw failure }
        do throws(DecodeError) {
            guard let header = try FixedHeader(peeking: buffer, limits: limits),
                buffer.readableBytes >= header.packetBytes
            else { return nil }
            buffer.moveReaderIndex(forwardBy: header.headerBytes)
            guard let body = buffer.readSlice(length: header.bodyBytes) else {
                preconditionFailure("the body was checked to be readable")
            }
            var reader = BodyReader(body, header: header)
            let packet = try Self.packet(header, from: &reader, limits: limits)
            try reader.finish()
            return packet
        } catch {
            failure = error
            throw error
        }
    }

    private static func packet(
        _ header: FixedHeader, from body: inout BodyReader, limits: CodecLimits
    ) throws(DecodeError) -> Packet {
        switch header.type {
        case .publish: .publish(try Publish(from: &body, flags: header.flags, limits: limits))
        case .pubAck: .pubAck(try body.packetID())
        case .pubRec: .pubRec(try body.packetID())
        case .pubRel: .pubRel(try body.packetID())
        case .pubComp: .pubComp(try body.packetID())
        case .pingReq: .pingReq
        case .pingResp: .pingResp
        case .subscribe: .subscribe(try Subscribe(from: &body, limits: limits))
        case .subAck: .subAck(try SubAck(from: &body, limits: limits))
        case .unsubscribe: .unsubscribe(try Unsubscribe(from: &body, limits: limits))
        case .unsubAck: .unsubAck(try body.packetID())
        case .connect: .connect(try Connect(from: &body, limits: limits))
        case .connAck: .connAck(try ConnAck(from: &body))
        case .disconnect: .disconnect
        }
    }
}
