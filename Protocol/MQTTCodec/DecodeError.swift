/// Bytes that are not an MQTT 3.1.1 packet, or one that is larger than allowed. There is no way to find the next packet
/// after it: the connection has to be closed (MQTT 3.1.1 section 4.8).
public struct DecodeError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong with the bytes. Numbers in it come from the peer.
    public enum Problem: Equatable, Sendable {
        // Fixed header, section 2.2.
        case packetTypeReserved(UInt8)
        case flagsReserved(UInt8)
        case remainingLengthTooLong
        case remainingLengthWrong(Int, required: Int)
        case packetTooLarge(bytes: Int, bytesMax: Int)
        // Any body.
        case bodyTooShort
        case bodyTooLong(surplusBytes: Int)
        case packetIdentifierZero
        case textNotUTF8
        case textContainsNull
        case qosReserved
        // Topics, section 4.7.
        case topicNameEmpty
        case topicNameContainsWildcard
        case topicFilterEmpty
        case topicTooLong(bytes: Int, bytesMax: Int)
        // CONNECT, section 3.1.
        case protocolNameUnknown
        case protocolLevelUnsupported(UInt8)
        case connectFlagReserved
        case willFlagsWithoutWill
        case passwordWithoutUserName
        // CONNACK, section 3.2.
        case connAckFlagsReserved(UInt8)
        case connectReturnCodeReserved(UInt8)
        case sessionPresentWithRefusal
        // PUBLISH, section 3.3.
        case duplicateWithoutAcknowledgement
        // SUBSCRIBE, SUBACK and UNSUBSCRIBE, sections 3.8 to 3.10.
        case requestedQoSReserved(UInt8)
        case subscribeReturnCodeReserved(UInt8)
        case topicFilterMissing
        case topicFiltersTooMany(countMax: Int)
        case returnCodeMissing
    }

    public let problem: Problem
    /// Where the offending byte stands, counted from the first byte of its packet.
    public let offset: Int
    /// `nil` when the first byte itself is wrong.
    public let packetType: PacketType?

    public init(_ problem: Problem, at offset: Int, in packetType: PacketType?) {
        self.problem = problem
        self.offset = offset
        self.packetType = packetType
    }

    /// Whether the same bytes could be accepted later.
    public var isRetryable: Bool {
        switch problem {
        case .packetTypeReserved, .flagsReserved, .remainingLengthTooLong, .remainingLengthWrong, .packetTooLarge,
            .bodyTooShort, .bodyTooLong, .packetIdentifierZero, .textNotUTF8, .textContainsNull, .qosReserved,
            .topicNameEmpty, .topicNameContainsWildcard, .topicFilterEmpty, .topicTooLong, .protocolNameUnknown,
            .protocolLevelUnsupported, .connectFlagReserved, .willFlagsWithoutWill, .passwordWithoutUserName,
            .connAckFlagsReserved, .connectReturnCodeReserved, .sessionPresentWithRefusal,
            .duplicateWithoutAcknowledgement, .requestedQoSReserved, .subscribeReturnCodeReserved,
            .topicFilterMissing, .topicFiltersTooMany, .returnCodeMissing:
            false
        }
    }

    /// One sentence for an operator: which packet, which byte, what is wrong. Holds no text of the peer's.
    public var description: String {
        "\(packetType?.description ?? "packet") is malformed at byte \(offset): \(problem)"
    }
}

extension DecodeError.Problem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .packetTypeReserved(let type): "packet type \(type) is reserved"
        case .flagsReserved(let flags): "flags \(flags) are not allowed for this packet type"
        case .remainingLengthTooLong: "the remaining length has more than four bytes"
        case .remainingLengthWrong(let bytes, let required): "the body has \(bytes) bytes but must have \(required)"
        case .packetTooLarge(let bytes, let bytesMax):
            "the packet has \(bytes) bytes but at most \(bytesMax) are allowed"
        case .bodyTooShort: "the body ends before this field does"
        case .bodyTooLong(let surplus): "\(surplus) bytes follow the last field"
        case .packetIdentifierZero: "packet identifier zero is reserved"
        case .textNotUTF8: "the text is not valid UTF-8"
        case .textContainsNull: "the text contains the null character U+0000"
        case .qosReserved: "QoS 3 is reserved"
        case .topicNameEmpty: "the topic name is empty"
        case .topicNameContainsWildcard: "the topic name contains a wildcard (+ or #)"
        case .topicFilterEmpty: "the topic filter is empty"
        case .topicTooLong(let bytes, let bytesMax): "the topic has \(bytes) bytes but at most \(bytesMax) are allowed"
        case .protocolNameUnknown: "the protocol name is not MQTT"
        case .protocolLevelUnsupported(let level): "protocol level \(level) is not supported, only 4 (MQTT 3.1.1) is"
        case .connectFlagReserved: "the reserved connect flag is set"
        case .willFlagsWithoutWill: "will QoS or will retain is set without a will"
        case .passwordWithoutUserName: "there is a password but no user name"
        case .connAckFlagsReserved(let flags): "acknowledge flags \(flags) are reserved"
        case .connectReturnCodeReserved(let code): "connect return code \(code) is reserved"
        case .sessionPresentWithRefusal: "session present is set although the connection is refused"
        case .duplicateWithoutAcknowledgement: "DUP is set on a message of QoS 0"
        case .requestedQoSReserved(let value): "requested QoS byte \(value) is reserved"
        case .subscribeReturnCodeReserved(let code): "return code \(code) is reserved"
        case .topicFilterMissing: "there is no topic filter"
        case .topicFiltersTooMany(let countMax): "there are more than \(countMax) topic filters"
        case .returnCodeMissing: "there is no return code"
        }
    }
}
