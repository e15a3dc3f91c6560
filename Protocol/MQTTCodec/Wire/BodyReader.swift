/// Reads the fields of one packet's body in order and knows, for an error, where it stands.
///
/// It looks at the received bytes in place and lives only as long as they may be looked at; every read is checked against
/// the end of the packet. Fields come out as values of their own or as ranges to be sliced.
struct BodyReader {
    private let packet: UnsafeRawBufferPointer
    private let type: PacketType
    /// The next unread byte, counted from the first byte of the packet.
    private(set) var offset: Int

    /// - Parameter packet: the whole packet, fixed header included.
    init(_ packet: UnsafeRawBufferPointer, header: FixedHeader) {
        precondition(packet.count == header.packetBytes, "the reader needs one whole packet")
        self.packet = packet
        type = header.type
        offset = header.headerBytes
    }

    var isAtEnd: Bool { offset == packet.count }

    func error(_ problem: DecodeError.Problem, at offset: Int? = nil) -> DecodeError {
        DecodeError(problem, at: offset ?? self.offset, in: type)
    }

    /// Bytes of a range that this reader gave out.
    func bytes(in range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: packet[range]) }

    mutating func byte() throws(DecodeError) -> UInt8 {
        guard offset < packet.count else { throw error(.bodyTooShort) }
        defer { offset += 1 }
        return packet[offset]
    }

    mutating func uint16() throws(DecodeError) -> UInt16 {
        guard packet.count - offset >= 2 else { throw error(.bodyTooShort) }
        defer { offset += 2 }
        return UInt16(packet[offset]) << 8 | UInt16(packet[offset + 1])
    }

    mutating func packetID() throws(DecodeError) -> PacketID {
        let start = offset
        guard let id = PacketID(try uint16()) else { throw error(.packetIdentifierZero, at: start) }
        return id
    }

    /// Two bytes of length, then that many bytes. Source: MQTT 3.1.1 section 1.5.3.
    mutating func lengthPrefixed() throws(DecodeError) -> Range<Int> {
        let start = offset
        let count = Int(try uint16())
        guard packet.count - offset >= count else { throw error(.bodyTooShort, at: start) }
        defer { offset += count }
        return offset..<(offset + count)
    }

    /// A length-prefixed field that is valid UTF-8 without U+0000. Source: MQTT 3.1.1 section 1.5.3.
    mutating func text() throws(DecodeError) -> String {
        let field = try lengthPrefixed()
        if let problem = UTF8Text.fault(in: bytes(in: field)) { throw error(problem, at: field.lowerBound) }
        return String(decoding: bytes(in: field), as: UTF8.self)
    }

    /// A concrete topic: text of at least one byte and no wildcard. Source: MQTT 3.1.1 sections 3.3.2.1 and 4.7.
    mutating func topicName(bytesMax: Int) throws(DecodeError) -> Range<Int> {
        let field = try lengthPrefixed()
        guard !field.isEmpty else { throw error(.topicNameEmpty, at: field.lowerBound - 2) }
        guard field.count <= bytesMax else {
            throw error(.topicTooLong(bytes: field.count, bytesMax: bytesMax), at: field.lowerBound - 2)
        }
        if let problem = UTF8Text.topicNameFault(in: bytes(in: field)) { throw error(problem, at: field.lowerBound) }
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
    mutating func rest() -> Range<Int> {
        defer { offset = packet.count }
        return offset..<packet.count
    }

    func finish() throws(DecodeError) {
        guard isAtEnd else { throw error(.bodyTooLong(surplusBytes: packet.count - offset)) }
    }
}
