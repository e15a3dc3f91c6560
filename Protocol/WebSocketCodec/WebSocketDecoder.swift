public import NIOCore

/// Takes the frames that a client sends apart, for the side that serves.
///
/// Bytes of messages come out as they arrive, unmasked and joined: nothing is kept of a frame but its header and, of a
/// control frame, its payload. Where one message ends and the next begins is not told, because MQTT does not care.
///
///     0               1               2 …            2, 4 or 10
///     FIN RSV  opcode MASK length (7) length (16|64) mask key (4), payload
///
/// Source: RFC 6455 section 5.
public struct WebSocketDecoder: Sendable {
    /// What a client said between its messages.
    public enum Event: Sendable, Equatable {
        /// Wants the same bytes back in a pong.
        case ping(ByteBuffer)
        case pong
        /// Wants to end; the code is `nil` when it gave none. Nothing that comes after it is looked at.
        case close(UInt16?)
    }

    private enum State {
        /// Collecting `header`. Exits: `payload`, `ended`.
        case header
        /// So many bytes of the frame are still to come. Exits: `header`, `ended`.
        case payload(remaining: Int)
        /// The peer said close, or broke the rules. No exit.
        case ended
    }

    /// Longest payload of one frame. Unit: bytes.
    public let frameBytesMax: Int
    private var state = State.header
    private var header: InlineArray<14, UInt8> = .init(repeating: 0)
    private var headerCount = 0
    private var headerNeeded = 2
    /// The key of the frame, turned so that its lowest byte is for the next byte of the payload.
    private var key: UInt32 = 0
    private var opcode = WebSocketFrame.Opcode.binary
    private var control = ByteBuffer()
    private var isInMessage = false

    public init(frameBytesMax: Int) { self.frameBytesMax = frameBytesMax }

    /// Takes as much of `input` as there is, up to and including the next control frame.
    ///
    /// - Parameter output: the bytes of messages are put at its end.
    /// - Returns: `nil` when `input` is used up.
    /// - Throws: what the peer did wrong; the decoder takes nothing after it.
    public mutating func next(
        from input: inout ByteBuffer, into output: inout ByteBuffer
    ) throws(WebSocketError) -> Event? {
        while true {
            switch state {
            case .ended:
                input.moveReaderIndex(to: input.writerIndex)
                return nil
            case .header:
                guard fillHeader(from: &input) else { return nil }
                guard try headerIsWhole() else { continue }
                state = .payload(remaining: try startFrame())
            case .payload(let remaining):
                let count = min(remaining, input.readableBytes)
                if opcode.isControl {
                    key = Self.unmask(count, of: &input, into: &control, key)
                } else {
                    key = Self.unmask(count, of: &input, into: &output, key)
                }
                guard count == remaining else {
                    state = .payload(remaining: remaining - count)
                    return nil
                }
                state = .header
                (headerCount, headerNeeded) = (0, 2)
                if let event = try endFrame() { return event }
            }
        }
    }

    // MARK: - The header

    private mutating func fillHeader(from input: inout ByteBuffer) -> Bool {
        while headerCount < headerNeeded {
            guard let byte: UInt8 = input.readInteger() else { return false }
            header[headerCount] = byte
            headerCount += 1
        }
        return true
    }

    /// Looks at the first two bytes as soon as they are there, so that nothing is waited for in vain.
    private mutating func headerIsWhole() throws(WebSocketError) -> Bool {
        guard headerNeeded == 2 else { return true }
        try checkStart()
        let length = header[1] & 0x7F
        headerNeeded = 6 + (length == 126 ? 2 : length == 127 ? 8 : 0)
        return false
    }

    private mutating func checkStart() throws(WebSocketError) {
        guard header[0] & 0x70 == 0 else { throw fail(.reservedBits) }
        guard let opcode = WebSocketFrame.Opcode(rawValue: header[0] & 0x0F) else { throw fail(.unknownOpcode) }
        guard header[1] & 0x80 != 0 else { throw fail(.unmasked) }
        let isFinal = header[0] & 0x80 != 0
        switch opcode {
        case .text: throw fail(.text)
        case .binary:
            guard !isInMessage else { throw fail(.messageInMessage) }
            isInMessage = !isFinal
        case .continuation:
            guard isInMessage else { throw fail(.continuesNothing) }
            isInMessage = !isFinal
        case .close, .ping, .pong:
            guard isFinal else { throw fail(.fragmentedControl) }
            guard header[1] & 0x7F <= WebSocketFrame.controlBytesMax else { throw fail(.longControl) }
        }
        self.opcode = opcode
    }

    /// - Returns: the length of the payload.
    private mutating func startFrame() throws(WebSocketError) -> Int {
        let short = header[1] & 0x7F
        var length = UInt64(short)
        if short >= 126 {
            length = 0
            for index in 2..<(headerNeeded - 4) { length = length << 8 | UInt64(header[index]) }
            guard length >= (short == 126 ? 126 : 65_536), length >> 63 == 0 else { throw fail(.lengthEncoding) }
        }
        guard length <= UInt64(frameBytesMax) else { throw fail(.tooLong) }
        key = 0
        for index in 0..<4 { key |= UInt32(header[headerNeeded - 4 + index]) << (8 * index) }
        if opcode.isControl { control.clear() }
        return Int(length)
    }

    // MARK: - The payload

    /// - Returns: the key, turned for what comes next.
    private static func unmask(
        _ count: Int, of input: inout ByteBuffer, into output: inout ByteBuffer, _ key: UInt32
    ) -> UInt32 {
        guard count > 0 else { return key }
        input.readWithUnsafeReadableBytes { source in
            output.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                WebSocketFrame.mask(UnsafeRawBufferPointer(rebasing: source[..<count]), into: target, key: key)
                return count
            }
            return count
        }
        let turned = UInt32(8 * (count & 3))
        return turned == 0 ? key : key >> turned | key << (32 - turned)
    }

    private mutating func endFrame() throws(WebSocketError) -> Event? {
        switch opcode {
        case .ping: return .ping(control)
        case .pong: return .pong
        case .close:
            let code = try closeCode()
            state = .ended
            return .close(code)
        case .text, .binary, .continuation: return nil
        }
    }

    private mutating func closeCode() throws(WebSocketError) -> UInt16? {
        guard control.readableBytes > 0 else { return nil }
        guard let code: UInt16 = control.readInteger() else { throw fail(.closeCode) }
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: break
        default: throw fail(.closeCode)
        }
        guard String(validating: control.readableBytesView, as: UTF8.self) != nil else { throw fail(.closeReason) }
        return code
    }

    private mutating func fail(_ problem: WebSocketError.Problem) -> WebSocketError {
        state = .ended
        return WebSocketError(problem)
    }
}
