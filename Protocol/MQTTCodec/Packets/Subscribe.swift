import NIOCore

/// A client asks for messages. Source: MQTT 3.1.1 section 3.8.
///
///     0x82 length ┆ packet identifier ┆ one or more of: topic filter ┆ 000000 QoS
public struct Subscribe: Equatable, Sendable {
    /// One topic filter and the best QoS that its messages may have.
    public struct Request: Equatable, Sendable {
        /// Not empty. Its wildcards are not checked yet.
        public let topicFilter: String
        public let qosMax: QoS

        public init(topicFilter: String, qosMax: QoS) {
            self.topicFilter = topicFilter
            self.qosMax = qosMax
        }
    }

    public let packetID: PacketID
    /// In the client's order; at least one.
    public let requests: [Request]

    public init(packetID: PacketID, requests: [Request]) {
        precondition(!requests.isEmpty, "SUBSCRIBE needs a topic filter")
        self.packetID = packetID
        self.requests = requests
    }

    init(from body: inout BodyReader, limits: CodecLimits) throws(DecodeError) {
        packetID = try body.packetID()
        var requests: [Request] = []
        while !body.isAtEnd {
            guard requests.count < limits.topicFilterCountMax else {
                throw body.error(.topicFiltersTooMany(countMax: limits.topicFilterCountMax))
            }
            let filter = try body.topicFilter(bytesMax: limits.topicBytesMax)
            let raw = try body.byte()
            guard let qos = QoS(rawValue: raw) else {
                throw body.error(.requestedQoSReserved(raw), at: body.offset - 1)
            }
            requests.append(Request(topicFilter: filter, qosMax: qos))
        }
        guard !requests.isEmpty else { throw body.error(.topicFilterMissing) }
        self.requests = requests
    }

    func write(into buffer: inout ByteBuffer) {
        let bodyBytes = requests.reduce(2) { $0 + 2 + $1.topicFilter.utf8.count + 1 }
        buffer.writeFixedHeader(PacketType.subscribe.firstByte, bodyBytes: bodyBytes)
        buffer.writeInteger(packetID.value)
        for request in requests {
            buffer.writeText(request.topicFilter)
            buffer.writeInteger(request.qosMax.rawValue)
        }
    }
}
