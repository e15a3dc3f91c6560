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
        var copy = String(text)
        guard copy.withUTF8({ DecimalGrammar.accepts($0) }) else { return nil }
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

/// The number grammar over bytes in place.
enum DecimalGrammar {
    static func accepts(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard bytes.count <= DecimalText.bytesMax else { return false }
        var index = 0
        if index < bytes.count, bytes[index] == UInt8(ascii: "-") { index += 1 }
        let whole = index
        guard skipDigits(bytes, &index) else { return false }
        guard bytes[whole] != UInt8(ascii: "0") || index - whole == 1 else { return false }
        if index < bytes.count, bytes[index] == UInt8(ascii: ".") {
            index += 1
            guard skipDigits(bytes, &index) else { return false }
        }
        if index < bytes.count, bytes[index] | 0x20 == UInt8(ascii: "e") {
            index += 1
            if index < bytes.count, bytes[index] == UInt8(ascii: "+") || bytes[index] == UInt8(ascii: "-") {
                index += 1
            }
            guard skipDigits(bytes, &index) else { return false }
        }
        return index == bytes.count
    }

    /// Whether there was at least one.
    private static func skipDigits(_ bytes: UnsafeBufferPointer<UInt8>, _ index: inout Int) -> Bool {
        let start = index
        while index < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index]) { index += 1 }
        return index > start
    }
}
