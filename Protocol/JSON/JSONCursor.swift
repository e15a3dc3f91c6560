internal import Primitives

/// Walks a JSON text byte by byte by the grammar of RFC 8259. It holds a borrowed buffer: make one only through
/// `reading`, and let it not outlive the closure. Rooms with a fixed schema and many records (Telemetry) read with it
/// without building values.
package struct JSONCursor {
    package let bytes: UnsafeBufferPointer<UInt8>
    package private(set) var index = 0

    /// Lends the bytes as one buffer, copying only what is not contiguous.
    package static func reading<Answer>(
        _ bytes: some Collection<UInt8>, _ body: (inout JSONCursor) -> Answer
    ) -> Answer {
        let lend = { (buffer: UnsafeBufferPointer<UInt8>) in
            var cursor = JSONCursor(bytes: buffer)
            return body(&cursor)
        }
        if let answer = bytes.withContiguousStorageIfAvailable(lend) { return answer }
        return Array(bytes).withUnsafeBufferPointer(lend)
    }

    package func failure(_ problem: JSONError.Problem, at offset: Int? = nil) -> JSONError {
        JSONError(problem, offset: offset ?? index)
    }

    package var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

    /// The byte after the white space here.
    package mutating func peekToken() throws(JSONError) -> UInt8 {
        skipSpace()
        guard let byte = peek else { throw failure(.unexpectedEnd) }
        return byte
    }

    package mutating func skipSpace() {
        while index < bytes.count {
            switch bytes[index] {
            case 0x20, 0x09, 0x0A, 0x0D: index += 1
            default: return
            }
        }
    }

    /// Steps over the byte if it comes next after white space.
    package mutating func take(_ byte: UInt8) throws(JSONError) -> Bool {
        guard try peekToken() == byte else { return false }
        index += 1
        return true
    }

    package mutating func expect(_ byte: UInt8) throws(JSONError) {
        let found = try peekToken()
        guard found == byte else { throw failure(.unexpectedByte(found)) }
        index += 1
    }

    package mutating func expectEnd() throws(JSONError) {
        skipSpace()
        guard index == bytes.count else { throw failure(.trailingBytes) }
    }

    package mutating func word(_ word: StaticString) throws(JSONError) {
        let start = index
        for position in 0..<word.utf8CodeUnitCount {
            guard index < bytes.count else { throw failure(.unexpectedEnd) }
            guard bytes[index] == word.utf8Start[position] else { throw failure(.badLiteral, at: start) }
            index += 1
        }
    }

    // MARK: - Numbers

    /// Steps over a number and returns where its text is.
    package mutating func number() throws(JSONError) -> Range<Int> {
        let start = index
        if peek == UInt8(ascii: "-") { index += 1 }
        let whole = skipDigits()
        guard whole > 0 else { throw index < bytes.count ? failure(.badNumber, at: start) : failure(.unexpectedEnd) }
        if whole > 1 && bytes[index - whole] == UInt8(ascii: "0") { throw failure(.badNumber, at: start) }
        if peek == UInt8(ascii: ".") {
            index += 1
            guard skipDigits() > 0 else { throw failure(.badNumber, at: start) }
        }
        if let letter = peek, letter | 0x20 == UInt8(ascii: "e") {
            index += 1
            if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { index += 1 }
            guard skipDigits() > 0 else { throw failure(.badNumber, at: start) }
        }
        return start..<index
    }

    /// Whether the whole buffer is one number and nothing else.
    mutating func isOneNumber() -> Bool {
        do { _ = try number() } catch { return false }
        return index == bytes.count
    }

    private mutating func skipDigits() -> Int {
        let start = index
        while index < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index]) { index += 1 }
        return index - start
    }

    package func text(_ range: Range<Int>) -> String {
        String(decoding: UnsafeBufferPointer(rebasing: bytes[range]), as: UTF8.self)
    }

    /// The nearest double to the number at the range. Short numbers take a short way that is exact: up to 15 digits
    /// and a power of ten up to 22 are exact doubles, so one division rounds once.
    func double(_ range: Range<Int>) -> Double {
        var digits: Int64 = 0
        var count = 0
        var decimals = 0
        var sawPoint = false
        for byte in UnsafeBufferPointer(rebasing: bytes[range]).drop(while: { $0 == UInt8(ascii: "-") }) {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9") where count < 15:
                digits = digits * 10 + Int64(byte - UInt8(ascii: "0"))
                count += 1
                if sawPoint { decimals += 1 }
            case UInt8(ascii: "."):
                sawPoint = true
            default:
                return Double(text(range)) ?? .nan
            }
        }
        let size = Double(digits) / Self.powersOfTen[decimals]
        return bytes[range.lowerBound] == UInt8(ascii: "-") ? -size : size
    }

    private static let powersOfTen: [Double] = [
        1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ]

    // MARK: - Strings

    /// Steps over a string whose opening quote is here, checks it, and returns the bytes between the quotes and
    /// whether they hold escapes.
    package mutating func string() throws(JSONError) -> (range: Range<Int>, hasEscapes: Bool) {
        try expect(UInt8(ascii: "\""))
        let start = index
        var hasEscapes = false
        var isASCII = true
        while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""):
                let range = start..<index
                if !isASCII, !isUTF8(range) { throw failure(.badUTF8, at: start) }
                index += 1
                return (range, hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try skipEscape()
            case 0..<0x20:
                throw failure(.controlCharacter(byte))
            default:
                if byte >= 0x80 { isASCII = false }
                index += 1
            }
        }
        throw failure(.unexpectedEnd)
    }

    /// Whether a string of this text says exactly this, without building it.
    package func says(_ text: String, _ string: (range: Range<Int>, hasEscapes: Bool)) -> Bool {
        if string.hasEscapes { return unescaped(string) == text }
        return text.utf8.elementsEqual(UnsafeBufferPointer(rebasing: bytes[string.range]))
    }

    /// What a string's bytes say, escapes resolved.
    package func unescaped(_ string: (range: Range<Int>, hasEscapes: Bool)) -> String {
        string.hasEscapes ? String(decoding: resolved(string.range), as: UTF8.self) : text(string.range)
    }

    /// The bytes with their escapes resolved; `string()` has checked them.
    func resolved(_ range: Range<Int>) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(range.count)
        var at = range.lowerBound
        while at < range.upperBound {
            guard bytes[at] == UInt8(ascii: "\\") else {
                out.append(bytes[at])
                at += 1
                continue
            }
            let letter = bytes[at + 1]
            at += 2
            guard letter == UInt8(ascii: "u") else {
                out.append(Self.simpleEscape(letter) ?? letter)
                continue
            }
            var unit = UInt32(codeUnit(at: at) ?? 0xFFFD)
            at += 4
            if (0xD800..<0xDC00).contains(unit) {
                unit = 0x10000 + (unit - 0xD800) << 10 + UInt32(codeUnit(at: at + 2) ?? 0xDC00) - 0xDC00
                at += 6
            }
            out += UTF8.encode(Unicode.Scalar(unit) ?? "\u{FFFD}") ?? UTF8.encodedReplacementCharacter
        }
        return out
    }

    private func isUTF8(_ range: Range<Int>) -> Bool {
        String(validating: UnsafeBufferPointer(rebasing: bytes[range]), as: UTF8.self) != nil
    }

    private mutating func skipEscape() throws(JSONError) {
        let start = index
        guard start + 1 < bytes.count else { throw failure(.unexpectedEnd, at: bytes.count) }
        guard bytes[start + 1] == UInt8(ascii: "u") else {
            guard Self.simpleEscape(bytes[start + 1]) != nil else { throw failure(.badEscape) }
            index += 2
            return
        }
        guard let unit = codeUnit(at: start + 2) else { throw failure(.badEscape) }
        index += 6
        guard (0xD800..<0xE000).contains(unit) else { return }
        guard unit < 0xDC00, index + 1 < bytes.count, bytes[index] == UInt8(ascii: "\\"),
            bytes[index + 1] == UInt8(ascii: "u"), let low = codeUnit(at: index + 2), (0xDC00..<0xE000).contains(low)
        else { throw failure(.loneSurrogate, at: start) }
        index += 6
    }

    /// The four hex digits at the offset.
    private func codeUnit(at offset: Int) -> UInt16? {
        guard offset + 4 <= bytes.count else { return nil }
        var unit: UInt16 = 0
        for position in offset..<offset + 4 {
            guard let digit = Hex.digit(bytes[position]) else { return nil }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    private static func simpleEscape(_ letter: UInt8) -> UInt8? {
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): letter
        case UInt8(ascii: "b"): 0x08
        case UInt8(ascii: "f"): 0x0C
        case UInt8(ascii: "n"): 0x0A
        case UInt8(ascii: "r"): 0x0D
        case UInt8(ascii: "t"): 0x09
        default: nil
        }
    }
}
