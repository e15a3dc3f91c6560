import NIOCore

/// A client wants no more messages of these topic filters. Source: MQTT 3.1.1 section 3.10.
///
///     0xA2 length ┆ packet identifier ┆ one or more topic filters
public struct Unsubscribe: Equatable, Sendable {
    public let packetID: PacketID
    /// At least one.
    public let topicFilters: [String]

    public init(packetID: PacketID, topicFilters: [String]) {
        precondition(!topicFilters.isEmpty, "UNSUBSCRIBE needs a topic filter")
        self.packetID = packetID
        self.topicFilters = topicFilters
    }

    init(from body: inout BodyReader, limits: CodecLimits) throws(DecodeError) {
        packetID = try body.packetID()
        var filters: [String] = []
        while !body.isAtEnd {
            guard filters.count < limits.topicFilterCountMax else {
                throw body.error(.topicFiltersTooMany(countMax: limits.topicFilterCountMax))
            }
            filters.append(try body.topicFilter(bytesMax: limits.topicBytesMax))
        }
        guard !filters.isEmpty else { throw body.error(.topicFilterMissing) }
        topicFilters = filters
    }

    func write(into buffer: inout ByteBuffer) {
        let bodyBytes = topicFilters.reduce(2) { $0 + 2 + $1.utf8.count }
        buffer.writeFixedHeader(PacketType.unsubscribe.firstByte, bodyBytes: bodyBytes)
        buffer.writeInteger(packetID.value)
        for filter in topicFilters { buffer.writeText(filter) }
    }
}
