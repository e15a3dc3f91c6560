public import NIOCore

/// Frames as the serving side writes them: whole and not masked. Source: RFC 6455 section 5.2.
public enum WebSocketFrame {
    /// What a frame is.
    public enum Opcode: UInt8, Sendable, CaseIterable {
        case continuation = 0x0
        case text = 0x1
        case binary = 0x2
        case close = 0x8
        case ping = 0x9
        case pong = 0xA

        var isControl: Bool { rawValue & 0x8 != 0 }
    }

    /// Longest payload of a control frame. Unit: bytes.
    public static let controlBytesMax = 125
    /// Longest header that this side writes. Unit: bytes.
    public static let headerBytesMax = 10

    /// Writes what goes before `length` bytes of payload.
    public static func writeHeader(_ opcode: Opcode, length: Int, into output: inout ByteBuffer) {
        output.writeInteger(0x80 | opcode.rawValue)
        switch length {
        case ..<126: output.writeInteger(UInt8(length))
        case ..<65_536: output.writeMultipleIntegers(UInt8(126), UInt16(length))
        default: output.writeMultipleIntegers(UInt8(127), UInt64(length))
        }
    }

    /// A close frame.
    public static func writeClose(_ code: UInt16?, into output: inout ByteBuffer) {
        writeHeader(.close, length: code == nil ? 0 : 2, into: &output)
        if let code { output.writeInteger(code) }
    }

    /// The lowest byte of `key` is for the first byte; `target` has room for all of `source`.
    static func mask(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer, key: UInt32) {
        let wide = UInt64(key) | UInt64(key) << 32
        var index = 0
        while index + 8 <= source.count {
            let bytes = UInt64(littleEndian: source.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            target.storeBytes(of: (bytes ^ wide).littleEndian, toByteOffset: index, as: UInt64.self)
            index += 8
        }
        while index < source.count {
            target[index] = source[index] ^ UInt8(truncatingIfNeeded: wide >> (8 * (index & 7)))
            index += 1
        }
    }
}
