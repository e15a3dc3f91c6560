/// The name of a device in the registry; case-sensitive.
///
/// 1 to 128 characters of ASCII letters, digits and `- : . + % _ # * ? ! ( ) , = @ ; $ '`.
/// Source: Azure IoT Hub, identity registry, device identity properties.
public struct DeviceID: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// 128 characters: the registry's own limit.
    public static let lengthMax = 128

    public let text: String

    /// `nil` when the text is empty, too long, or has a character outside the allowed set.
    public init?(_ text: some StringProtocol) {
        let bytes = text.utf8
        guard (1...Self.lengthMax).contains(bytes.count), bytes.allSatisfy(Self.isAllowed) else { return nil }
        self.text = String(text)
    }

    public var description: String { text }

    public static func < (left: DeviceID, right: DeviceID) -> Bool { left.text < right.text }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        case ..<64: punctuation & 1 << byte != 0
        default: byte == UInt8(ascii: "@") || byte == UInt8(ascii: "_")
        }
    }

    /// One bit for each allowed sign below 64: ids are read with every message.
    private static let punctuation: UInt64 = "-:.+%#*?!(),=;$'".utf8.reduce(0) { $0 | 1 << UInt64($1) }
}
