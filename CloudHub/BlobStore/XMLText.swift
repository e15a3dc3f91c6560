/// The little XML that the endpoint writes and reads.
enum XMLText {
    static func escape(_ text: some StringProtocol) -> String {
        var out = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.unicodeScalars.append(character)
            }
        }
        return out
    }
}

/// Reads the body of Put Block List: an optional declaration, and `BlockList` with `Latest`, `Committed` and
/// `Uncommitted` that each hold one block id. No attributes, comments or entities: no client sends them, and base64
/// needs none.
struct BlockListReader {
    private var rest: Substring

    /// - Throws: `.invalidXMLDocument`; `.blockCountExceedsLimit` beyond `most` entries.
    static func read(_ text: String, most: Int) throws(BlobError) -> [BlockChoice] {
        var reader = BlockListReader(rest: text[...])
        return try reader.list(most: most)
    }

    private mutating func list(most: Int) throws(BlobError) -> [BlockChoice] {
        take("\u{FEFF}")
        skipSpace()
        if take("<?xml") {
            guard let end = rest.firstIndex(of: ">") else { throw Self.error("an unfinished declaration") }
            rest = rest[rest.index(after: end)...]
        }
        skipSpace()
        guard !take("<BlockList/>"), !take("<BlockList />") else { return [] }
        guard take("<BlockList>") else { throw Self.error("no BlockList") }
        var choices: [BlockChoice] = []
        while true {
            skipSpace()
            if take("</BlockList>") { break }
            guard choices.count < most else {
                throw BlobError(.blockCountExceedsLimit, "a blob has at most \(most) blocks; send larger ones")
            }
            choices.append(try choice())
        }
        skipSpace()
        guard rest.isEmpty else { throw Self.error("something behind BlockList") }
        return choices
    }

    private mutating func choice() throws(BlobError) -> BlockChoice {
        for place in BlockChoice.Place.allCases where take("<\(place.rawValue)>") {
            guard let end = rest.firstIndex(of: "<") else { break }
            let text = rest[..<end]
            rest = rest[end...]
            guard take("</\(place.rawValue)>") else { break }
            return BlockChoice(place, text.filter { !$0.isWhitespace })
        }
        throw Self.error("neither Latest, Committed nor Uncommitted with a block id")
    }

    @discardableResult private mutating func take(_ text: String) -> Bool {
        guard rest.hasPrefix(text) else { return false }
        rest = rest.dropFirst(text.count)
        return true
    }

    private mutating func skipSpace() { rest = rest.drop { $0.isWhitespace } }

    private static func error(_ what: String) -> BlobError {
        BlobError(.invalidXMLDocument, "the block list has \(what) where a list of blocks is expected")
    }
}
