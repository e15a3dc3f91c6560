public import NIOCore

/// A message, in either direction. Source: MQTT 3.1.1 section 3.3.
///
///     0011 DUP QoS QoS RETAIN ┆ length ┆ topic name ┆ [packet identifier, QoS 1 and 2] ┆ payload
public struct Publish: Equatable, Sendable {
    /// Checked text: at least one byte of UTF-8 without U+0000, `+` and `#`. A slice of the received bytes; whoever keeps
    /// it beyond the packet's handling copies it, or it keeps the whole read buffer alive.
    public let topic: ByteBuffer
    /// As `topic`: a slice of the received bytes. May be empty.
    public let payload: ByteBuffer
    /// `nil` exactly when `qos` is `.atMostOnce`.
    public let packetID: PacketID?
    public let qos: QoS
    /// Sent before, perhaps not received. Never set with `.atMostOnce`.
    public let isDuplicate: Bool
    public let isRetained: Bool

    /// The topic as a string; it is made anew on each call.
    public var topicName: String { String(buffer: topic) }

    /// A message to send. QoS 0 without a packet identifier, QoS 1 or 2 with one: `delivery` holds both.
    ///
    /// `nil` when the topic cannot be sent: empty, over 65 535 bytes, or with `+`, `#` or U+0000 in it.
    public init?(
        topicName: String, payload: ByteBuffer, delivery: Delivery = .atMostOnce, isDuplicate: Bool = false,
        isRetained: Bool = false
    ) {
        let topic = ByteBuffer(string: topicName)
        guard (1...65_535).contains(topic.readableBytes),
            topic.withUnsafeReadableBytes({ UTF8Text.topicNameFault(in: $0) }) == nil
        else { return nil }
        self.topic = topic
        self.payload = payload
        (qos, packetID) = delivery.wire
        self.isDuplicate = isDuplicate && qos != .atMostOnce
        self.isRetained = isRetained
    }

    /// QoS and packet identifier, which go together.
    public enum Delivery: Equatable, Sendable {
        case atMostOnce
        case atLeastOnce(PacketID)
        case exactlyOnce(PacketID)

        fileprivate var wire: (QoS, PacketID?) {
            switch self {
            case .atMostOnce: (.atMostOnce, nil)
            case .atLeastOnce(let id): (.atLeastOnce, id)
            case .exactlyOnce(let id): (.exactlyOnce, id)
            }
        }
    }
}

extension Publish {
    private enum Flag {
        static let retain: UInt8 = 1
        static let qosShift: UInt8 = 1
        static let duplicate: UInt8 = 1 << 3
    }

    /// Where the parts of a received PUBLISH are, counted from its first byte.
    struct Layout {
        let topic: Range<Int>
        let payload: Range<Int>
        let packetID: PacketID?
        let qos: QoS
        let isDuplicate: Bool
        let isRetained: Bool

        init(from body: inout BodyReader, flags: UInt8, limits: CodecLimits) throws(DecodeError) {
            guard let qos = QoS(rawValue: flags >> Flag.qosShift & 0b11) else { throw body.error(.qosReserved, at: 0) }
            isDuplicate = flags & Flag.duplicate != 0
            guard qos != .atMostOnce || !isDuplicate else { throw body.error(.duplicateWithoutAcknowledgement, at: 0) }
            self.qos = qos
            isRetained = flags & Flag.retain != 0
            topic = try body.topicName(bytesMax: limits.topicBytesMax)
            packetID = qos == .atMostOnce ? nil : try body.packetID()
            payload = body.rest()
        }
    }

    /// Slices of `buffer`, whose readable bytes begin with the packet.
    init(_ layout: Layout, in buffer: borrowing ByteBuffer) {
        let start = buffer.readerIndex
        guard let topic = buffer.getSlice(at: start + layout.topic.lowerBound, length: layout.topic.count),
            let payload = buffer.getSlice(at: start + layout.payload.lowerBound, length: layout.payload.count)
        else { preconditionFailure("a located PUBLISH lies in its buffer") }
        self.topic = topic
        self.payload = payload
        packetID = layout.packetID
        qos = layout.qos
        isDuplicate = layout.isDuplicate
        isRetained = layout.isRetained
    }

    func write(into buffer: inout ByteBuffer) {
        let bodyBytes = 2 + topic.readableBytes + (packetID == nil ? 0 : 2) + payload.readableBytes
        var firstByte = PacketType.publish.firstByte | qos.rawValue << Flag.qosShift
        if isDuplicate { firstByte |= Flag.duplicate }
        if isRetained { firstByte |= Flag.retain }
        buffer.writeFixedHeader(firstByte, bodyBytes: bodyBytes)
        buffer.writeInteger(UInt16(topic.readableBytes))
        buffer.writeImmutableBuffer(topic)
        if let packetID { buffer.writeInteger(packetID.value) }
        buffer.writeImmutableBuffer(payload)
    }
}
