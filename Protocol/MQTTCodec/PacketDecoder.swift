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
            let limits = limits
            let read = try buffer.withUnsafeReadableBytes { (bytes) throws(DecodeError) -> Read? in
                try Self.read(bytes, limits: limits)
            }
            guard let read else { return nil }
            defer { buffer.moveReaderIndex(forwardBy: read.packetBytes) }
            switch read.content {
            case .packet(let packet): return packet
            case .publish(let layout): return .publish(Publish(layout, in: buffer))
            }
        } catch {
            failure = error
            throw error
        }
    }

    /// What was found at the front of the buffer. A PUBLISH is only located: its slices are made outside.
    private struct Read {
        enum Content {
            case packet(Packet)
            case publish(Publish.Layout)
        }

        let content: Content
        let packetBytes: Int
    }

    private static func read(_ bytes: UnsafeRawBufferPointer, limits: CodecLimits) throws(DecodeError) -> Read? {
        guard let header = try FixedHeader(bytes, limits: limits), bytes.count >= header.packetBytes else { return nil }
        var body = BodyReader(UnsafeRawBufferPointer(rebasing: bytes[..<header.packetBytes]), header: header)
        let content: Read.Content =
            header.type == .publish
            ? .publish(try Publish.Layout(from: &body, flags: header.flags, limits: limits))
            : .packet(try packet(header, from: &body, limits: limits))
        try body.finish()
        return Read(content: content, packetBytes: header.packetBytes)
    }

    private static func packet(
        _ header: FixedHeader, from body: inout BodyReader, limits: CodecLimits
    ) throws(DecodeError) -> Packet {
        switch header.type {
        case .connect: .connect(try Connect(from: &body, limits: limits))
        case .connAck: .connAck(try ConnAck(from: &body))
        case .publish: preconditionFailure("a PUBLISH is located, not read")
        case .pubAck: .pubAck(try body.packetID())
        case .pubRec: .pubRec(try body.packetID())
        case .pubRel: .pubRel(try body.packetID())
        case .pubComp: .pubComp(try body.packetID())
        case .subscribe: .subscribe(try Subscribe(from: &body, limits: limits))
        case .subAck: .subAck(try SubAck(from: &body, limits: limits))
        case .unsubscribe: .unsubscribe(try Unsubscribe(from: &body, limits: limits))
        case .unsubAck: .unsubAck(try body.packetID())
        case .pingReq: .pingReq
        case .pingResp: .pingResp
        case .disconnect: .disconnect
        }
    }
}
