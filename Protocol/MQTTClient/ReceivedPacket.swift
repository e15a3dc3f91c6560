/// What a server may send to a client of ours. Source: MQTT 3.1.1 section 3.
enum ReceivedPacket: Equatable {
    case connAck(isSessionPresent: Bool, code: UInt8)
    case publish(ClientMessage)
    /// The beginning of a PUBLISH that is over the limit; so many bytes of payload follow, which nobody reads.
    case publishHead(ClientMessage, payloadBytes: Int)
    case pubAck(UInt16)
    case subAck(id: UInt16, codes: [UInt8])
    case pingResp

    /// Reads the packet that begins the bytes.
    ///
    /// - Returns: the packet and its length; `nil` while it has not arrived completely.
    /// - Throws: `.malformed`, also for a packet over `bytesMax` before its body has arrived.
    static func read(
        _ bytes: UnsafeRawBufferPointer, _ limits: ClientLimits
    ) throws(ClientError) -> (packet: ReceivedPacket, byteCount: Int)? {
        guard let header = try Header(bytes) else { return nil }
        let bytesMax = limits.packetBytesMax
        guard header.packetBytes <= bytesMax else {
            if limits.passesOverLargeMessages, header.firstByte >> 4 == 3 { return try head(header, bytes) }
            throw .malformed("a packet of \(header.packetBytes) bytes, more than the \(bytesMax) that are taken")
        }
        guard bytes.count >= header.packetBytes else { return nil }
        var body = Body(UnsafeRawBufferPointer(rebasing: bytes[header.headerBytes..<header.packetBytes]))
        let packet = try read(header, &body)
        guard body.isAtEnd else { throw .malformed("a packet with bytes behind its last field") }
        return (packet, header.packetBytes)
    }

    private static func read(_ header: Header, _ body: inout Body) throws(ClientError) -> ReceivedPacket {
        switch (header.firstByte >> 4, header.firstByte & 0x0F) {
        case (2, 0):
            let flags = try body.byte()
            let code = try body.byte()
            guard flags <= 1, flags == 0 || code == 0 else { throw .malformed("a CONNACK with reserved flags") }
            return .connAck(isSessionPresent: flags == 1, code: code)
        case (3, let flags): return .publish(try message(flags: flags, &body))
        case (4, 0): return .pubAck(try body.packetID())
        case (9, 0):
            let id = try body.packetID()
            let codes = body.rest()
            guard !codes.isEmpty, codes.allSatisfy({ $0 <= 2 || $0 == 0x80 }) else {
                throw .malformed("a SUBACK with reserved return codes")
            }
            return .subAck(id: id, codes: codes)
        case (13, 0): return .pingResp
        case (let type, let flags): throw .malformed("a packet of type \(type) with flags \(flags)")
        }
    }

    /// Topic and packet identifier, as soon as they have arrived.
    private static func head(
        _ header: Header, _ bytes: UnsafeRawBufferPointer
    ) throws(ClientError) -> (packet: ReceivedPacket, byteCount: Int)? {
        let start = header.headerBytes
        guard bytes.count >= start + 2 else { return nil }
        let idBytes = header.firstByte & 0b110 == 0 ? 0 : 2
        let headBytes = start + 2 + (Int(bytes[start]) << 8 | Int(bytes[start + 1])) + idBytes
        guard headBytes <= header.packetBytes else { throw .malformed("a packet that ends before its last field") }
        guard bytes.count >= headBytes else { return nil }
        var body = Body(UnsafeRawBufferPointer(rebasing: bytes[start..<headBytes]))
        let message = try message(flags: header.firstByte & 0x0F, &body)
        return (.publishHead(message, payloadBytes: header.packetBytes - headBytes), headBytes)
    }

    private static func message(flags: UInt8, _ body: inout Body) throws(ClientError) -> ClientMessage {
        let qos = flags >> 1 & 0b11
        guard qos <= 1 else { throw .malformed("a PUBLISH of QoS \(qos), which was not subscribed to") }
        guard qos == 1 || flags & 0b1000 == 0 else { throw .malformed("a PUBLISH of QoS 0 marked as a repetition") }
        let topic = try body.topic()
        let ticket = qos == 1 ? ClientMessage.Ticket(id: try body.packetID()) : nil
        return ClientMessage(
            topic: topic, payload: body.rest(), ticket: ticket, isRetained: flags & 1 == 1,
            isDuplicate: flags & 0b1000 != 0)
    }
}

/// The first two to five bytes. Source: MQTT 3.1.1 section 2.2.
private struct Header {
    let firstByte: UInt8
    let headerBytes: Int
    let bodyBytes: Int
    var packetBytes: Int { headerBytes + bodyBytes }

    init?(_ bytes: UnsafeRawBufferPointer) throws(ClientError) {
        guard let first = bytes.first else { return nil }
        var length = 0
        var index = 1
        while true {
            guard index <= 4 else { throw .malformed("a remaining length of more than four bytes") }
            guard index < bytes.count else { return nil }
            length |= Int(bytes[index] & 0x7F) << (7 * (index - 1))
            index += 1
            if bytes[index - 1] & 0x80 == 0 { break }
        }
        firstByte = first
        headerBytes = index
        bodyBytes = length
    }
}

/// The fields of one packet, each read checked against its end.
private struct Body {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { offset == bytes.count }

    mutating func byte() throws(ClientError) -> UInt8 {
        guard offset < bytes.count else { throw .malformed("a packet that ends before its last field") }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func integer() throws(ClientError) -> UInt16 {
        let high = try byte()
        return UInt16(high) << 8 | UInt16(try byte())
    }

    mutating func packetID() throws(ClientError) -> UInt16 {
        let id = try integer()
        guard id != 0 else { throw .malformed("packet identifier zero") }
        return id
    }

    /// Sections 1.5.3 and 4.7: well-formed UTF-8, at least one byte, no U+0000 and no wildcard.
    mutating func topic() throws(ClientError) -> String {
        let count = Int(try integer())
        guard bytes.count - offset >= count else { throw .malformed("a packet that ends before its last field") }
        defer { offset += count }
        let field = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
        let reserved: [UInt8] = [0, UInt8(ascii: "+"), UInt8(ascii: "#")]
        guard !field.isEmpty, !field.contains(where: reserved.contains),
            let text = String(validating: field, as: UTF8.self)
        else { throw .malformed("a PUBLISH whose topic is none") }
        return text
    }

    mutating func rest() -> [UInt8] {
        defer { offset = bytes.count }
        return Array(bytes[offset...])
    }
}
