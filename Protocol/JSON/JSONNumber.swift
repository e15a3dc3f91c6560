/// A JSON number as its own decimal text, so that what came in goes out digit for digit.
///
/// Two numbers are equal when their texts are: `1` and `1.0` differ.
public struct JSONNumber: Hashable, Sendable, CustomStringConvertible {
    public let text: String

    /// `nil` unless the text is exactly one JSON number (RFC 8259 section 6).
    public init?(text: some StringProtocol) {
        let copy = String(text)
        guard JSONCursor.reading(Array(copy.utf8), { $0.isOneNumber() }) else { return nil }
        self.text = copy
    }

    /// For the parser, which has read the text by the grammar.
    init(checked text: String) { self.text = text }

    public init(_ value: Int64) { text = String(value) }

    public init(_ value: Int) { text = String(value) }

    /// The shortest text that reads back as the same double, without a needless `.0`. `nil` for infinities and NaN,
    /// which JSON does not have.
    public init?(_ value: Double) {
        guard value.isFinite else { return nil }
        let full = value.description
        text = full.hasSuffix(".0") ? String(full.dropLast(2)) : full
    }

    /// `nil` when the number is not whole or does not fit.
    public var int64: Int64? {
        if let whole = Int64(text) { return whole }
        guard text.utf8.contains(where: { $0 | 0x20 == UInt8(ascii: "e") || $0 == UInt8(ascii: ".") }) else {
            return nil
        }
        return Int64(exactly: double)
    }

    /// The nearest double; infinite when the number is beyond what a double holds.
    public var double: Double { Double(text) ?? .nan }

    public var description: String { text }
}
