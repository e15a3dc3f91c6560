/// The checksum of `x-ms-content-crc64`: CRC-64/NVME, sent as eight bytes, little end first.
struct CRC64: Sendable {
    /// Reflected polynomial 0xAD93D23594C93659.
    private static let table: [UInt64] = (0..<256).map { index in
        (0..<8).reduce(UInt64(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0x9A6C_9329_AC4B_C9B5 : value >> 1 }
    }

    private var state = ~UInt64(0)

    mutating func update(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { state = Self.table[Int(UInt8(truncatingIfNeeded: state) ^ byte)] ^ state >> 8 }
    }

    var value: UInt64 { ~state }

    var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
}
