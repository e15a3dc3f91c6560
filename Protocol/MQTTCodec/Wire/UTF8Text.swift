/// What MQTT asks of text: well-formed UTF-8 (so no surrogates) without U+0000. Source: MQTT 3.1.1 section 1.5.3.
enum UTF8Text {
    static func fault(in bytes: UnsafeRawBufferPointer) -> DecodeError.Problem? {
        if isPlain(bytes) { return nil }
        if !isWellFormed(bytes) { return .textNotUTF8 }
        return bytes.contains(0) ? .textContainsNull : nil
    }

    static func topicNameFault(in bytes: UnsafeRawBufferPointer) -> DecodeError.Problem? {
        if isPlain(bytes) { return nil }
        if let problem = fault(in: bytes) { return problem }
        return bytes.contains { isWildcard($0) } ? .topicNameContainsWildcard : nil
    }

    private static func isWildcard(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "+") || byte == UInt8(ascii: "#") }

    /// Whether there is nothing to look at more closely: ASCII only, no U+0000, no wildcard. Sixteen bytes a step, because
    /// every PUBLISH passes here.
    private static func isPlain(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let zero = SIMD16<UInt8>(repeating: 0)
        let plus = SIMD16<UInt8>(repeating: UInt8(ascii: "+"))
        let hash = SIMD16<UInt8>(repeating: UInt8(ascii: "#"))
        let highest = SIMD16<UInt8>(repeating: 0x7F)
        var index = 0
        while bytes.count - index >= 16 {
            let block = bytes.loadUnaligned(fromByteOffset: index, as: SIMD16<UInt8>.self)
            if any((block .== zero) .| (block .== plus) .| (block .== hash) .| (block .> highest)) { return false }
            index += 16
        }
        while index < bytes.count {
            let byte = bytes[index]
            if byte == 0 || byte > 0x7F || isWildcard(byte) { return false }
            index += 1
        }
        return true
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
