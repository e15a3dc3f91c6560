public import Primitives

/// The frames of one open WebSocket, client's end: a stream of bytes in binary messages, which may be cut anywhere.
/// Source: RFC 6455 section 5.
public struct WebSocketFrames: Sendable {
    private enum Opcode {
        static let continuation: UInt8 = 0
        static let binary: UInt8 = 2
        static let close: UInt8 = 8
        static let ping: UInt8 = 9
        static let pong: UInt8 = 10
    }

    /// Data that is left of the frame whose header was read last.
    private var dataLeft: UInt64 = 0
    /// A message began whose last frame has not.
    private var isInsideMessage = false

    public init() {}

    /// Moves all of `bytes` into `output` as one frame. Nothing is written for nothing.
    ///
    /// - Parameter mask: random; a new one each time.
    public func wrap(_ bytes: inout ByteQueue, mask: UInt32, into output: inout ByteQueue) {
        guard !bytes.isEmpty else { return }
        bytes.withBytes { Self.appendFrame(Opcode.binary, $0, mask: mask, to: &output) }
        bytes.removeFirst(bytes.count)
    }

    /// Says goodbye with code 1000.
    public func close(mask: UInt32, into output: inout ByteQueue) {
        let code: [UInt8] = [0x03, 0xE8]
        code.withUnsafeBytes { Self.appendFrame(Opcode.close, $0, mask: mask, to: &output) }
    }

    /// Takes the data out of what arrived. Pings are answered into `output`.
    ///
    /// - Returns: the next piece of data; `nil` when more has to arrive.
    /// - Throws: `.closed`, or `.malformed`.
    public mutating func next(
        from input: inout ByteQueue, mask: UInt32, answersInto output: inout ByteQueue
    ) throws(TunnelError) -> [UInt8]? {
        while true {
            if dataLeft > 0 {
                guard !input.isEmpty else { return nil }
                let count = Int(min(dataLeft, UInt64(input.count)))
                dataLeft -= UInt64(count)
                defer { input.removeFirst(count) }
                return input.withBytes { Array($0[..<count]) }
            }
            let header = try input.withBytes { (bytes) throws(TunnelError) in try FrameHeader(bytes) }
            guard let header else { return nil }
            guard header.isControl else {
                try began(header)
                input.removeFirst(header.byteCount)
                continue
            }
            guard UInt64(input.count) >= UInt64(header.byteCount) + header.dataBytes else { return nil }
            let data = input.withBytes { Array($0[header.byteCount..<(header.byteCount + Int(header.dataBytes))]) }
            input.removeFirst(header.byteCount + data.count)
            switch header.opcode {
            case Opcode.close: throw .closed(code: data.count >= 2 ? Int(data[0]) << 8 | Int(data[1]) : 1005)
            case Opcode.ping: data.withUnsafeBytes { Self.appendFrame(Opcode.pong, $0, mask: mask, to: &output) }
            case Opcode.pong: break
            default: throw .malformed("a WebSocket frame of type \(header.opcode)")
            }
        }
    }

    private mutating func began(_ header: FrameHeader) throws(TunnelError) {
        let expected = isInsideMessage ? Opcode.continuation : Opcode.binary
        guard header.opcode == expected else { throw .malformed("a WebSocket frame of type \(header.opcode)") }
        isInsideMessage = !header.isLast
        dataLeft = header.dataBytes
    }

    private static func appendFrame(
        _ opcode: UInt8, _ data: UnsafeRawBufferPointer, mask: UInt32, to output: inout ByteQueue
    ) {
        var header: [UInt8] = [0x80 | opcode]
        switch data.count {
        case ...125: header.append(0x80 | UInt8(data.count))
        case ...65_535: header += [0x80 | 126, UInt8(data.count >> 8), UInt8(data.count & 0xFF)]
        default:
            header.append(0x80 | 127)
            for shift in stride(from: 56, through: 0, by: -8) { header.append(UInt8(data.count >> shift & 0xFF)) }
        }
        let key = (0..<4).map { UInt8(mask >> (24 - 8 * $0) & 0xFF) }
        output.append(contentsOf: header + key)
        let masked = [UInt8](unsafeUninitializedCapacity: data.count) { buffer, count in
            for index in 0..<data.count { buffer[index] = data[index] ^ key[index & 3] }
            count = data.count
        }
        output.append(contentsOf: masked)
    }
}

/// What stands before a frame's data, as a server sends it: never masked.
private struct FrameHeader {
    let opcode: UInt8
    let isLast: Bool
    let dataBytes: UInt64
    let byteCount: Int

    var isControl: Bool { opcode & 8 != 0 }

    init?(_ bytes: UnsafeRawBufferPointer) throws(TunnelError) {
        guard bytes.count >= 2 else { return nil }
        guard bytes[0] & 0x70 == 0 else { throw .malformed("a WebSocket frame with an extension that was not agreed") }
        guard bytes[1] & 0x80 == 0 else { throw .malformed("a masked WebSocket frame from a server") }
        opcode = bytes[0] & 0x0F
        isLast = bytes[0] & 0x80 != 0
        let short = bytes[1] & 0x7F
        let lengthBytes = short == 126 ? 2 : short == 127 ? 8 : 0
        byteCount = 2 + lengthBytes
        guard bytes.count >= byteCount else { return nil }
        dataBytes = lengthBytes == 0 ? UInt64(short) : bytes[2..<byteCount].reduce(0) { $0 << 8 | UInt64($1) }
        guard dataBytes <= UInt64(Int32.max) else { throw .malformed("a WebSocket frame of \(dataBytes) bytes") }
        guard !isControl || isLast && short <= 125 else {
            throw .malformed("a long or divided WebSocket control frame")
        }
    }
}
