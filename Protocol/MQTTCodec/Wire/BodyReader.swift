import NIOCore

/// Reads the fields of one packet's body in order and knows, for an error, where it stands.
struct BodyReader {
    private var bytes: ByteBuffer
    private let type: PacketType
    private let packetBytes: Int

    init(_ body: consuming ByteBuffer, header: FixedHeader) {
        bytes = body
        type = header.type
        packetBytes = header.packetBytes
    }

    /// The next unread byte, counted from the first byte of the packet.
    var offset: Int { packetBytes - bytes.readableBytes }
    var isAtEnd: Bool { bytes.readableBytes == 0 }

    func error(_ problem: DecodeError.Problem, at offset: Int? = nil) -> DecodeError {
        DecodeError(problem, at: offset ?? self.offset, in: type)
    }

    mutating func byte() throws(DecodeError) -> UInt8 {
        guard let value = bytes.readInteger(as: UInt8.self) else { throw error(.bodyTooShort) }
        return value
    }

    mutating func uint16() throws(DecodeError) -> UInt16 {
        guard let value = bytes.readInteger(as: UInt16.self) else { throw error(.bodyTooShort) }
        return value
    }

    mutating func packetID() throws(DecodeError) -> PacketID {
        let start = offset
        guard let id = PacketID(try uint16()) else { throw error(.packetIdentifierZero, at: start) }
        return id
    }

    /// Two bytes of length, then that many bytes. Source: MQTT 3.1.1 section 1.5.3.
    mutating func lengthPrefixed() throws(DecodeError) -> ByteBuffer {
        let start = offset
        guard let field = bytes.readSlice(length: Int(try uint16())) else { throw error(.bodyTooShort, at: start) }
        return field
    }

    /// A length-prefixed field that is valid UTF-8 without U+0000. Source: MQTT 3.1.1 section 1.5.3.
    mutating func text() throws(DecodeError) -> String {
        let start = offset + 2
        let field = try lengthPrefixed()
        if let problem = UTF8Text.fault(in: field) { throw error(problem, at: start) }
        return String(buffer: field)
    }

    /// A concrete topic: text of at least one byte and no wildcard. Source: MQTT 3.1.1 sections 3.3.2.1 and 4.7.
    mutating func topicName(bytesMax: Int) throws(DecodeError) -> ByteBuffer {
        let start = offset + 2
        let field = try lengthPrefixed()
        guard field.readableBytes > 0 else { throw error(.topicNameEmpty, at: start - 2) }
        guard field.readableBytes <= bytesMax else {
            throw error(.topicTooLong(bytes: field.readableBytes, bytesMax: bytesMax), at: start - 2)
        }
        if let problem = UTF8Text.topicNameFault(in: field) { throw error(problem, at: start) }
        return field
    }

    /// Text of at least one byte. Where its wildcards stand is the session's business (MQTT 3.1.1 section 4.7.1).
    mutating func topicFilter(bytesMax: Int) throws(DecodeError) -> String {
        let start = offset
        let filter = try text()
        guard !filter.isEmpty else { throw error(.topicFilterEmpty, at: start) }
        guard filter.utf8.count <= bytesMax else {
            throw error(.topicTooLong(bytes: filter.utf8.count, bytesMax: bytesMax), at: start)
        }
        return filter
    }

    /// All that is left.
    mutating func rest() -> ByteBuffer {
        guard let rest = bytes.readSlice(length: bytes.readableBytes) else {
            preconditionFailure("all readable bytes can be read")
        }
        return rest
    }

    func finish() throws(DecodeError) {
        guard bytes.readableBytes == 0 else { throw error(.bodyTooLong(surplusBytes: bytes.readableBytes)) }
    }
}
