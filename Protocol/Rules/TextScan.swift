import Primitives

/// Reads the parts of a short text one after the other; knows the column of what is wrong.
struct TextScan {
    private let characters: [Character]
    private(set) var index = 0

    init(_ text: some StringProtocol) { characters = Array(text) }

    /// 1 is the first character.
    var column: Int { index + 1 }
    var isAtEnd: Bool { index == characters.count }

    /// The rest, for messages.
    var restShown: String { String(characters[index...].prefix(20)) }

    /// Refuses whatever is left.
    mutating func end() throws(RuleTextError) {
        skipSpaces()
        guard isAtEnd else {
            throw RuleTextError(column: column, problem: "\"\(restShown)\" is too much; the text ends before it")
        }
    }

    /// A run of letters, or a run of comparison signs; empty when there is neither.
    mutating func word() -> String {
        skipSpaces()
        let start = index
        let isSign = { (character: Character) in "<>=!".contains(character) }
        if index < characters.count, isSign(characters[index]) {
            while index < characters.count, isSign(characters[index]) { index += 1 }
        } else {
            while index < characters.count, !characters[index].isWhitespace, !characters[index].isNumber,
                !isSign(characters[index])
            {
                index += 1
            }
        }
        return String(characters[start..<index])
    }

    /// The word, or a problem that says why it is needed.
    mutating func word(_ wanted: String, as example: String) throws(RuleTextError) {
        skipSpaces()
        let start = column
        guard word() == wanted else {
            throw RuleTextError(column: start, problem: "\"\(wanted)\" is needed here, as in \(example)")
        }
    }

    /// The character, if it comes next.
    mutating func takes(_ character: Character) -> Bool {
        guard index < characters.count, characters[index] == character else { return false }
        index += 1
        return true
    }

    mutating func band() throws(RuleTextError) -> ClosedRange<Double> {
        let low = try number()
        skipSpaces()
        guard index + 1 < characters.count, characters[index] == ".", characters[index + 1] == "." else {
            throw RuleTextError(column: column, problem: "a band needs two dots here, as in 2..8")
        }
        index += 2
        skipSpaces()
        let start = column
        let high = try number()
        guard low <= high else {
            throw RuleTextError(column: start, problem: "the band's end is below its beginning; write 2..8, not 8..2")
        }
        return low...high
    }

    mutating func number() throws(RuleTextError) -> Double {
        skipSpaces()
        let start = index
        if index < characters.count, characters[index] == "-" || characters[index] == "+" { index += 1 }
        while index < characters.count, isNumberPart(at: index) { index += 1 }
        guard let value = Double(String(characters[start..<index])), value.isFinite else {
            let found = token(from: start)
            throw RuleTextError(
                column: start + 1,
                problem: (found.isEmpty ? "a number is missing" : "\"\(found)\" is no number")
                    + "; write one such as 70, -2.5 or 1e6")
        }
        return value
    }

    /// Digits only.
    mutating func digits(_ range: ClosedRange<Int>, expected: String) throws(RuleTextError) -> Int {
        skipSpaces()
        let start = index
        while index < characters.count, ("0"..."9").contains(characters[index]) { index += 1 }
        guard index - start <= 9, let value = Int(String(characters[start..<index])), range.contains(value) else {
            throw RuleTextError(column: start + 1, problem: "\(expected) is needed here")
        }
        return value
    }

    /// A duration with its unit, up to the next space.
    mutating func duration(_ range: ClosedRange<Duration>) throws(RuleTextError) -> Duration {
        skipSpaces()
        let start = index
        let found = token(from: start)
        let bounds = "\(DurationText.format(range.lowerBound)) to \(DurationText.format(range.upperBound))"
        guard let duration = DurationText.parse(found), range.contains(duration) else {
            throw RuleTextError(
                column: start + 1,
                problem: (found.isEmpty ? "a duration is missing" : "\"\(found)\" is no duration that may stand here")
                    + "; write one such as 90s or 10m, from \(bounds)")
        }
        index = start + found.count
        return duration
    }

    mutating func skipSpaces() {
        while index < characters.count, characters[index].isWhitespace { index += 1 }
    }

    /// Up to the next space, at most twenty characters.
    private func token(from start: Int) -> String {
        let end = characters[start...].firstIndex { $0.isWhitespace } ?? characters.count
        return String(characters[start..<end].prefix(20))
    }

    /// Digits, a point that is not the band's first, and an exponent with its sign.
    private func isNumberPart(at index: Int) -> Bool {
        switch characters[index] {
        case "0"..."9": characters[index].isASCII
        case ".": index + 1 >= characters.count || characters[index + 1] != "."
        case "e", "E": true
        case "-", "+": characters[index - 1] == "e" || characters[index - 1] == "E"
        default: false
        }
    }
}
