/// The words of a `$filter`.
enum FilterToken: Sendable, Equatable {
    case name(String)
    case text(String)
    /// A number, GUID or date, not yet told apart.
    case bare(String)
    case open, close, comma

    /// Longest `$filter`. Unit: bytes.
    static let bytesMax = 8192

    static func tokens(_ filter: String) throws(DataverseError) -> [FilterToken] {
        let bytes = Array(filter.utf8)
        guard bytes.count <= bytesMax else {
            throw .badQuery("The $filter is longer than \(bytesMax) bytes.")
        }
        var tokens: [FilterToken] = []
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: " "): index += 1
            case UInt8(ascii: "("):
                tokens.append(.open)
                index += 1
            case UInt8(ascii: ")"):
                tokens.append(.close)
                index += 1
            case UInt8(ascii: ","):
                tokens.append(.comma)
                index += 1
            case UInt8(ascii: "'"): tokens.append(.text(try quoted(bytes, &index)))
            default: tokens.append(try word(bytes, &index))
            }
        }
        return tokens
    }

    /// `'it''s'` is `it's`.
    private static func quoted(_ bytes: [UInt8], _ index: inout Int) throws(DataverseError) -> String {
        let start = index
        var text: [UInt8] = []
        index += 1
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "'") {
                index += 1
                guard index < bytes.count, bytes[index] == UInt8(ascii: "'") else {
                    return String(decoding: text, as: UTF8.self)
                }
            }
            text.append(bytes[index])
            index += 1
        }
        throw .badQuery("There is an unterminated string literal at position \(start) in the $filter.")
    }

    private static func word(_ bytes: [UInt8], _ index: inout Int) throws(DataverseError) -> FilterToken {
        let start = index
        while index < bytes.count, !" (),'".utf8.contains(bytes[index]) { index += 1 }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        let first = bytes[start]
        let isName =
            first == UInt8(ascii: "_") || (first | 0x20 >= UInt8(ascii: "a") && first | 0x20 <= UInt8(ascii: "z"))
        // A GUID may begin with a letter; no name has four hyphens.
        return isName && !text.utf8.contains(UInt8(ascii: "-")) ? .name(text) : .bare(text)
    }
}
