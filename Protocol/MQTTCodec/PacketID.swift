/// The 16-bit name of a packet that waits for an answer; never zero. Source: MQTT 3.1.1 section 2.3.1.
public struct PacketID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// 1 … 65 535.
    public let value: UInt16

    /// `nil` for zero, which the protocol reserves.
    public init?(_ value: UInt16) {
        guard value != 0 else { return nil }
        self.value = value
    }

    public var description: String { String(value) }

    public static func < (left: Self, right: Self) -> Bool { left.value < right.value }

    /// The identifier after this one; 65 535 is followed by 1.
    public var successor: PacketID { PacketID(nonZero: value == .max ? 1 : value + 1) }

    /// The first identifier: 1.
    public static let first = PacketID(nonZero: 1)

    init(nonZero value: UInt16) {
        assert(value != 0, "packet identifier zero is reserved")
        self.value = value
    }
}
