/// A concrete topic: what a message is published under. Source: MQTT 3.1.1 section 4.7.
public struct TopicName: Hashable, Sendable, CustomStringConvertible {
    public static let bytesMax = 65_535

    public let text: String

    /// `nil` unless it has 1 … 65 535 bytes, no `+`, no `#` and no U+0000. Empty levels and a leading `/` are allowed.
    public init?(_ text: String) {
        let bytes = text.utf8
        guard (1...Self.bytesMax).contains(bytes.count),
            bytes.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "#") && $0 != 0 })
        else { return nil }
        self.text = text
    }

    public var description: String { text }
}
