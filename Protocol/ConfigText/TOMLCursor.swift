import Primitives

/// Walks TOML's words: keys, strings, numbers, comments.
struct TOMLCursor {
    let bytes: [UInt8]
    private var index = 0
    private(set) var line = 1

    init(bytes: [UInt8]) { self.bytes = bytes }

    var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

    func failure(_ message: String) -> TOMLError { TOMLError(message: message, line: line) }

    mutating func take(_ text: StaticString) -> Bool {
        guard startsHere(text) else { return false }
        index += text.utf8CodeUnitCount
        return true
    }

    private func startsHere(_ text: StaticString) -> Bool {
        guard index + text.utf8CodeUnitCount <= bytes.count else { return false }
        return (0..<text.utf8CodeUnitCount).allSatisfy { bytes[index + $0] == text.utf8Start[$0] }
    }

    // MARK: - Space

    mutating func skipBlanks() {
        while let byte = peek, byte == 0x20 || byte == 0x09 { index += 1 }
    }

    /// Steps over a line's end; answers whether there was one.
    private mutating func takeNewline() -> Bool {
        guard take("\n") || take("\r\n") else { return false }
        line += 1
        return true
    }

    private mutating func skipComment() throws(TOMLError) {
        guard take("#") else { return }
        while let byte = peek, byte != 0x0A, !startsHere("\r\n") {
            guard byte >= 0x20 && byte != 0x7F || byte == 0x09 else {
                throw failure("a control character stands in a comment")
            }
            index += 1
        }
    }

    mutating func skipSpaceAndComments() throws(TOMLError) {
        repeat {
            skipBlanks()
            try skipComment()
        } while takeNewline()
    }

    /// Goes to the next key or header; `false` at the end of the text.
    mutating func skipToStatement() throws(TOMLError) -> Bool {
        try skipSpaceAndComments()
        return peek != nil
    }

    mutating func endOfLine() throws(TOMLError) {
        skipBlanks()
        try skipComment()
        guard peek == nil || takeNewline() else { throw failure("something follows the end of the statement") }
    }

    // MARK: - Keys

    /// `a.b."c d"`, with the blanks around it.
    mutating func dottedKey() throws(TOMLError) -> [String] {
        var parts: [String] = []
        repeat {
            skipBlanks()
            parts.append(try simpleKey())
            skipBlanks()
        } while take(".")
        guard parts.count <= TOMLParser.depthMax else {
            throw failure("the key has more than \(TOMLParser.depthMax) parts")
        }
        return parts
    }

    private mutating func simpleKey() throws(TOMLError) -> String {
        if peek == UInt8(ascii: "\"") || peek == UInt8(ascii: "'") { return try string(allowsLines: false) }
        let start = index
        while let byte = peek, Self.isBareKey(byte) { index += 1 }
        guard index > start else { throw failure("a key is missing or has a character that needs quotes") }
        return String(decoding: bytes[start..<index], as: UTF8.self)
    }

    private static func isBareKey(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    // MARK: - Strings

    /// A string of any of the four kinds; the two that span lines only if allowed.
    mutating func string(allowsLines: Bool) throws(TOMLError) -> String {
        let opened = line
        let isLiteral = peek == UInt8(ascii: "'")
        let isLong = allowsLines && (take("\"\"\"") || take("'''"))
        if isLong { _ = takeNewline() } else { index += 1 }
        let quote = UInt8(ascii: isLiteral ? "'" : "\"")
        var out: [UInt8] = []
        while let byte = peek {
            if byte == quote {
                if !isLong {
                    index += 1
                    return String(decoding: out, as: UTF8.self)
                }
                if closesLong(quote, &out) { return String(decoding: out, as: UTF8.self) }
            } else if byte == UInt8(ascii: "\\"), !isLiteral {
                index += 1
                try escape(isLong: isLong, &out)
            } else if isLong, takeNewline() {
                out.append(0x0A)
            } else if byte < 0x20 && byte != 0x09 || byte == 0x7F {
                throw byte == 0x0A
                    ? failure("the string is not closed on its line")
                    : failure("a control character stands in a string")
            } else {
                out.append(byte)
                index += 1
            }
        }
        throw TOMLError(message: "the string that begins here is never closed", line: opened)
    }

    /// Up to two quotes may stand before the three that close.
    private mutating func closesLong(_ quote: UInt8, _ out: inout [UInt8]) -> Bool {
        var count = 0
        while peek == quote, count < 5 {
            count += 1
            index += 1
        }
        let isClosed = count >= 3
        out += [UInt8](repeating: quote, count: isClosed ? count - 3 : count)
        return isClosed
    }

    private mutating func escape(isLong: Bool, _ out: inout [UInt8]) throws(TOMLError) {
        if isLong, try skipFoldedLines() { return }
        guard let letter = peek else { throw failure("the string is never closed") }
        index += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): out.append(letter)
        case UInt8(ascii: "b"): out.append(0x08)
        case UInt8(ascii: "t"): out.append(0x09)
        case UInt8(ascii: "n"): out.append(0x0A)
        case UInt8(ascii: "f"): out.append(0x0C)
        case UInt8(ascii: "r"): out.append(0x0D)
        case UInt8(ascii: "u"): out += try scalar(digits: 4)
        case UInt8(ascii: "U"): out += try scalar(digits: 8)
        default: throw failure("'\\' must be followed by one of b t n f r \" \\ u U; write '\\\\' for a backslash")
        }
    }

    /// A backslash at a line's end swallows the white space up to the next character.
    private mutating func skipFoldedLines() throws(TOMLError) -> Bool {
        let before = index
        skipBlanks()
        guard takeNewline() else {
            index = before
            return false
        }
        repeat { skipBlanks() } while takeNewline()
        return true
    }

    private mutating func scalar(digits: Int) throws(TOMLError) -> [UInt8] {
        var value: UInt32 = 0
        for _ in 0..<digits {
            guard let digit = peek.flatMap(Hex.digit) else { throw failure("\\u needs 4 and \\U 8 hex digits") }
            value = value << 4 | UInt32(digit)
            index += 1
        }
        guard let scalar = Unicode.Scalar(value), let encoded = UTF8.encode(scalar) else {
            throw failure("\\u names no Unicode character")
        }
        return Array(encoded)
    }

    // MARK: - Numbers and flags

    /// `true`, `false`, or a number.
    mutating func word() throws(TOMLError) -> TOMLValue.Content {
        let start = index
        while let byte = peek,
            Self.isBareKey(byte) || byte == UInt8(ascii: "+") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: ":")
        {
            index += 1
        }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if text == "true" { return .flag(true) }
        if text == "false" { return .flag(false) }
        if let number = TOMLNumber.read(text) { return number }
        guard !text.isEmpty else { throw failure("a value is missing") }
        throw failure("'\(text)' is no value; a text needs quotes around it")
    }
}

/// TOML's numbers: decimal, hexadecimal, octal and binary integers, floats, `inf` and `nan`, `_` between digits.
enum TOMLNumber {
    static func read(_ text: String) -> TOMLValue.Content? {
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where text.hasPrefix(prefix) {
            let digits = text.dropFirst(2)
            guard isGrouped(digits), !digits.hasPrefix("+"), !digits.hasPrefix("-") else { return nil }
            return Int64(digits.filter { $0 != "_" }, radix: radix).map { .integer($0) }
        }
        let unsigned = text.hasPrefix("+") || text.hasPrefix("-") ? text.dropFirst() : Substring(text)
        if unsigned == "inf" { return .decimal(text.hasPrefix("-") ? -.infinity : .infinity) }
        if unsigned == "nan" { return .decimal(.nan) }
        let halves = unsigned.split(omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
        let parts = halves[0].split(separator: ".", omittingEmptySubsequences: false)
        guard halves.count <= 2, parts.count <= 2, parts.allSatisfy(isDigits) else { return nil }
        guard parts[0] == "0" || !parts[0].hasPrefix("0") else { return nil }
        if halves.count == 2 {
            let sign = halves[1].hasPrefix("+") || halves[1].hasPrefix("-")
            guard isDigits(sign ? halves[1].dropFirst() : halves[1]) else { return nil }
        }
        let plain = text.filter { $0 != "_" }
        if halves.count == 1, parts.count == 1 { return Int64(plain).map { .integer($0) } }
        return Double(plain).map { .decimal($0) }
    }

    private static func isDigits(_ text: Substring) -> Bool {
        isGrouped(text)
            && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "_") }
    }

    /// Every underscore stands between two digits.
    private static func isGrouped(_ text: Substring) -> Bool {
        !text.isEmpty && text.split(separator: "_", omittingEmptySubsequences: false).allSatisfy { !$0.isEmpty }
    }
}
