/// A UUID as sixteen bytes, with the lower-case text form. Source: RFC 9562.
public struct UniqueID: Hashable, Sendable, Comparable, CustomStringConvertible {
    private let high: UInt64
    private let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Version 4: 122 random bits.
    public static func random(using random: inout some RandomNumberGenerator) -> UniqueID {
        UniqueID(high: random.next() & ~0xF000 | 0x4000, low: random.next() & ~(0b11 << 62) | 0b10 << 62)
    }

    /// Version 5: the same name in the same namespace is always the same id. SHA-1 is given by the caller, because
    /// Protocol holds no cryptography: it must return 20 bytes.
    public static func named(_ name: String, in namespace: UniqueID, sha1: ([UInt8]) -> [UInt8]) -> UniqueID {
        let digest = sha1(namespace.bytes + Array(name.utf8))
        precondition(digest.count == 20, "SHA-1 gives 20 bytes, got \(digest.count)")
        let high = digest[0..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let low = digest[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return UniqueID(high: high & ~0xF000 | 0x5000, low: low & ~(0b11 << 62) | 0b10 << 62)
    }

    /// Reads `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in either case.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.map(\.utf8.count) == [8, 4, 4, 4, 12], let bytes = Hex.decode(parts.joined()) else { return nil }
        high = bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
    }

    public var bytes: [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: high >> (56 - 8 * $0)) }
            + (0..<8).map { UInt8(truncatingIfNeeded: low >> (56 - 8 * $0)) }
    }

    public var description: String {
        let hex = Array(Hex.encode(bytes).utf8)
        let parts = [hex[0..<8], hex[8..<12], hex[12..<16], hex[16..<20], hex[20..<32]]
        return parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "-")
    }

    public static func < (left: Self, right: Self) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}
