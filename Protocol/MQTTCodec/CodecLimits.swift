/// What the decoder refuses before it keeps a byte of it.
public struct CodecLimits: Equatable, Sendable {
    /// The longest packet that the fixed header can announce, header included. Source: MQTT 3.1.1 section 2.2.3.
    public static let protocolPacketBytesMax = RemainingLength.valueMax + 1 + RemainingLength.bytesMax

    /// Longest packet, fixed header included. Unit: bytes. The default holds an IoT Hub message (256 KiB) and its topic.
    public var packetBytesMax: Int
    /// Longest CONNECT, fixed header included: the only packet that a stranger may send. Unit: bytes. The default holds
    /// the largest will payload (64 KiB) and 8 KiB of names, token and will topic.
    public var connectBytesMax: Int
    /// Longest topic name or topic filter. Unit: bytes, 1 … 65 535.
    public var topicBytesMax: Int
    /// Most topic filters in one SUBSCRIBE or UNSUBSCRIBE.
    public var topicFilterCountMax: Int

    public init(
        packetBytesMax: Int = 256 * 1024 + 64 * 1024 + 16,
        connectBytesMax: Int = 72 * 1024,
        topicBytesMax: Int = 65_535,
        topicFilterCountMax: Int = 64
    ) {
        precondition((2...Self.protocolPacketBytesMax).contains(packetBytesMax), "packetBytesMax is 2 … 268 435 460")
        precondition(connectBytesMax >= 14, "the smallest CONNECT has 14 bytes")
        precondition((1...65_535).contains(topicBytesMax), "topicBytesMax is 1 … 65 535")
        precondition(topicFilterCountMax >= 1, "topicFilterCountMax is at least 1")
        self.packetBytesMax = packetBytesMax
        self.connectBytesMax = min(connectBytesMax, packetBytesMax)
        self.topicBytesMax = topicBytesMax
        self.topicFilterCountMax = topicFilterCountMax
    }

    /// Limits for tests and peers that are trusted: whatever the protocol itself allows.
    public static let protocolMaximum = CodecLimits(
        packetBytesMax: protocolPacketBytesMax, connectBytesMax: protocolPacketBytesMax, topicFilterCountMax: .max)

    func packetBytesMax(for type: PacketType) -> Int {
        type == .connect ? connectBytesMax : packetBytesMax
    }
}
