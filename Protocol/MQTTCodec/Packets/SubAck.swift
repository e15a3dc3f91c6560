import NIOCore

/// The answer to SUBSCRIBE: one code a topic filter, in its order. Source: MQTT 3.1.1 section 3.9.
///
///     0x90 length ┆ packet identifier ┆ one or more return codes
public struct SubAck: Equatable, Sendable {
    public enum Code: UInt8, Sendable, CaseIterable {
        case grantedAtMostOnce = 0
        case grantedAtLeastOnce = 1
        case grantedExactlyOnce = 2
        case failure = 0x80

        /// The code that grants `qos`.
        public static func granted(_ qos: QoS) -> Code {
            switch qos {
            case .atMostOnce: .grantedAtMostOnce
            case .atLeastOnce: .grantedAtLeastOnce
            case .exactlyOnce: .grantedExactlyOnce
            }
        }
    }

    public let packetID: PacketID
    /// At least one.
    public let codes: [Code]

    public init(packetID: PacketID, codes: [Code]) {
        precondition(!codes.isEmpty, "SUBACK needs a return code")
        self.packetID = packetID
        self.codes = codes
    }

    init(from body: inout BodyReader, limits: CodecLimits) throws(DecodeError) {
        packetID = try body.packetID()
        var codes: [Code] = []
        while !body.isAtEnd {
            guard codes.count < limits.topicFilterCountMax else {
                throw body.error(.topicFiltersTooMany(countMax: limits.topicFilterCountMax))
            }
            let raw = try body.byte()
            guard let code = Code(rawValue: raw) else {
                throw body.error(.subscribeReturnCodeReserved(raw), at: body.offset - 1)
            }
            codes.append(code)
        }
        guard !codes.isEmpty else { throw body.error(.returnCodeMissing) }
        self.codes = codes
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeFixedHeader(PacketType.subAck.firstByte, bodyBytes: 2 + codes.count)
        buffer.writeInteger(packetID.value)
        for code in codes { buffer.writeInteger(code.rawValue) }
    }
}
