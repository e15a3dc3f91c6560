/// Writes small state: a version byte, then base-128 numbers, eight-byte words and texts with their length.
package struct StateWriter {
    package private(set) var bytes: [UInt8]

    package init(version: UInt8) { bytes = [version] }

    package mutating func number(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// Big-endian.
    package mutating func fixed(_ word: UInt64) {
        for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
    }

    package mutating func text(_ text: String) { blob(Array(text.utf8)) }

    package mutating func blob(_ blob: [UInt8]) {
        number(UInt64(blob.count))
        bytes += blob
    }
}

/// Reads what `StateWriter` wrote; every answer is `nil` once the bytes are not that.
package struct StateReader {
    private var rest: ArraySlice<UInt8>

    package init?(_ bytes: [UInt8], version: UInt8) {
        guard bytes.first == version else { return nil }
        rest = bytes.dropFirst()
    }

    package var isAtEnd: Bool { rest.isEmpty }

    package mutating func number() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            guard let byte = rest.popFirst(), shift < 63 || byte <= 1 else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }

    package mutating func fixed() -> UInt64? {
        guard rest.count >= 8 else { return nil }
        let word = rest.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        rest = rest.dropFirst(8)
        return word
    }

    package mutating func text() -> String? { blob().flatMap { String(validating: $0, as: UTF8.self) } }

    package mutating func blob() -> [UInt8]? {
        guard let count = number(), count <= UInt64(rest.count) else { return nil }
        let blob = Array(rest.prefix(Int(count)))
        rest = rest.dropFirst(Int(count))
        return blob
    }
}
