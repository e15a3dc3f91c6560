import NIOCore

/// What MQTT asks of text: well-formed UTF-8 (so no surrogates) without U+0000. Source: MQTT 3.1.1 section 1.5.3.
enum UTF8Text {
    static func fault(in text: borrowing ByteBuffer) -> DecodeError.Problem? {
        text.withUnsafeReadableBytes { bytes in
            var seen: UInt8 = 0
            var hasNull = false
            // No early exit, so that the compiler can look at many bytes at once.
            for byte in bytes {
                seen |= byte
                hasNull = hasNull || byte == 0
            }
            return fault(in: bytes, isASCII: seen < 0x80, hasNull: hasNull)
        }
    }

    static func topicNameFault(in text: borrowing ByteBuffer) -> DecodeError.Problem? {
        text.withUnsafeReadableBytes { bytes in
            var seen: UInt8 = 0
            var nulls: UInt8 = 0
            var wildcards: UInt8 = 0
            for byte in bytes {
                seen |= byte
                nulls |= byte == 0 ? 1 : 0
                wildcards |= byte == UInt8(ascii: "+") || byte == UInt8(ascii: "#") ? 1 : 0
            }
            if let problem = fault(in: bytes, isASCII: seen < 0x80, hasNull: nulls != 0) { return problem }
            return wildcards != 0 ? .topicNameContainsWildcard : nil
        }
    }

    private static func fault(
        in bytes: UnsafeRawBufferPointer, isASCII: Bool, hasNull: Bool
    ) -> DecodeError.Problem? {
        if !isASCII, !isWellFormed(bytes) { return .textNotUTF8 }
        return hasNull ? .textContainsNull : nil
    }

    /// Source: Unicode 15, table 3-7 (well-formed UTF-8 byte sequences).
    static func isWellFormed(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index < bytes.count {
            let lead = bytes[index]
            index += 1
            let second: ClosedRange<UInt8>
            let continuations: Int
            switch lead {
            case 0x00...0x7F: continue
            case 0xC2...0xDF: (second, continuations) = (0x80...0xBF, 1)
            case 0xE0: (second, continuations) = (0xA0...0xBF, 2)
            case 0xED: (second, continuations) = (0x80...0x9F, 2)
            case 0xE1...0xEF: (second, continuations) = (0x80...0xBF, 2)
            case 0xF0: (second, continuations) = (0x90...0xBF, 3)
            case 0xF1...0xF3: (second, continuations) = (0x80...0xBF, 3)
            case 0xF4: (second, continuations) = (0x80...0x8F, 3)
            default: return false
            }
            guard bytes.count - index >= continuations, second.contains(bytes[index]) else { return false }
            for later in bytes[(index + 1)..<(index + continuations)] where later & 0xC0 != 0x80 { return false }
            index += continuations
        }
        return true
    }
}
