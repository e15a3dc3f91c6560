/// A number as its own decimal text, so that what the sensor said arrives digit for digit.
///
/// Two are equal when their texts are: `1` and `1.0` differ. The grammar is that of a JSON number, so `NaN`, `inf`, `+1`
/// and `01` are none. Source: RFC 8259 section 6.
public struct DecimalText: Hashable, Sendable, CustomStringConvertible {
    /// Longest text: 64 bytes, enough for every double and every 128-bit integer.
    public static let bytesMax = 64

    public let text: String

    /// `nil` unless the text is exactly one JSON number of at most 64 bytes.
    public init?(_ text: some StringProtocol) {
        let copy = String(text)
        guard DecimalGrammar.accepts(copy.utf8) else { return nil }
        self.text = copy
    }

    /// The shortest text that reads back as the same double, without a needless `.0`. `nil` for infinities and NaN.
    public init?(_ value: Double) {
        guard value.isFinite else { return nil }
        let full = value.description
        text = full.hasSuffix(".0") ? String(full.dropLast(2)) : full
    }

    public init(_ value: some FixedWidthInteger) { text = String(value) }

    /// For the reader, which has checked the bytes by the grammar.
    init(checked text: String) { self.text = text }

    /// The nearest double; infinite when the number is beyond what a double holds.
    public var double: Double { Double(text) ?? .nan }

    public var description: String { text }
}

enum DecimalGrammar {
    static func accepts(_ bytes: some Collection<UInt8>) -> Bool {
        guard bytes.count <= DecimalText.bytesMax else { return false }
        var rest = bytes[...]
        if rest.first == UInt8(ascii: "-") { rest.removeFirst() }
        let leadingZero = rest.first == UInt8(ascii: "0")
        let whole = takeDigits(&rest)
        guard whole > 0, !(leadingZero && whole > 1) else { return false }
        if rest.first == UInt8(ascii: ".") {
            rest.removeFirst()
            guard takeDigits(&rest) > 0 else { return false }
        }
        if let letter = rest.first, letter | 0x20 == UInt8(ascii: "e") {
            rest.removeFirst()
            if rest.first == UInt8(ascii: "+") || rest.first == UInt8(ascii: "-") { rest.removeFirst() }
            guard takeDigits(&rest) > 0 else { return false }
        }
        return rest.isEmpty
    }

    private static func takeDigits<Bytes: Collection<UInt8>>(_ rest: inout Bytes.SubSequence) -> Int
    where Bytes.SubSequence.SubSequence == Bytes.SubSequence {
        var count = 0
        while let byte = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            rest.removeFirst()
            count += 1
        }
        return count
    }
}
