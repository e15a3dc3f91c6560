/// An amount of bytes, written with its unit: `512B`, `64KiB`, `10GB`.
public struct ByteCount: Hashable, Comparable, Sendable, CustomStringConvertible {
    private static let units: [(name: String, bytes: Int)] = [
        ("TiB", 1 << 40), ("TB", 1_000_000_000_000), ("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20),
        ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1_000), ("KB", 1_000), ("B", 1),
    ]

    /// Never negative.
    public let bytes: Int

    public init(bytes: Int) { self.bytes = max(0, bytes) }

    public static func kibibytes(_ count: Int) -> ByteCount { ByteCount(bytes: count << 10) }
    public static func mebibytes(_ count: Int) -> ByteCount { ByteCount(bytes: count << 20) }
    public static func gibibytes(_ count: Int) -> ByteCount { ByteCount(bytes: count << 30) }

    /// A whole number and its unit: `B`, `kB MB GB TB` (thousands), `KiB MiB GiB TiB` (1024s). `nil` for anything else,
    /// a bare number among it.
    public init?(_ text: some StringProtocol) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let name = text.dropFirst(digits.count)
        guard let count = Int(digits), let unit = Self.units.first(where: { $0.name == name })?.bytes else {
            return nil
        }
        let (bytes, tooMany) = count.multipliedReportingOverflow(by: unit)
        guard !tooMany else { return nil }
        self.bytes = bytes
    }

    /// The shortest exact text: `64KiB`, `10GB`, `1500B`.
    public var description: String {
        for unit in Self.units where bytes >= unit.bytes && bytes % unit.bytes == 0 {
            return "\(bytes / unit.bytes)\(unit.name)"
        }
        return "\(bytes)B"
    }

    public static func < (left: Self, right: Self) -> Bool { left.bytes < right.bytes }
}
