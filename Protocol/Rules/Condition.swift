/// When a value is bad: a comparison with a limit, a band, or no value at all.
///
///     > 70     >= 70     < 4.5     <= 4.5     == 1     != 0     inside 2..8     outside 2..8     silent
///
/// Both ends of a band belong to it. Written with one space or none between word and number.
public enum Condition: Hashable, Sendable {
    case above(Double)
    case atLeast(Double)
    case below(Double)
    case atMost(Double)
    case equal(Double)
    case notEqual(Double)
    /// Breached within the band, ends included.
    case inside(ClosedRange<Double>)
    /// Breached below or above the band; its ends are still good.
    case outside(ClosedRange<Double>)
    /// Breached when the rule's time has passed without a value.
    case silent

    /// Whether the value begins a breach. Never for `silent`.
    func isBreached(by value: Double) -> Bool { isBreached(by: value, relaxedBy: 0) }

    /// Whether the value ends a breach: the limit is moved by `hysteresis` towards the good side and must be passed.
    func isRecovered(by value: Double, hysteresis: Double) -> Bool { !isBreached(by: value, relaxedBy: hysteresis) }

    private func isBreached(by value: Double, relaxedBy slack: Double) -> Bool {
        switch self {
        case .above(let limit): value > limit - slack
        case .atLeast(let limit): value >= limit - slack
        case .below(let limit): value < limit + slack
        case .atMost(let limit): value <= limit + slack
        case .equal(let limit): value == limit
        case .notEqual(let limit): value != limit
        case .inside(let band): value >= band.lowerBound - slack && value <= band.upperBound + slack
        case .outside(let band): value < band.lowerBound + slack || value > band.upperBound - slack
        case .silent: false
        }
    }

    /// For messages and fault records: `70`, `2..8`; empty for `silent`, whose limit is the rule's time.
    public var limitText: String {
        switch self {
        case .above(let limit), .atLeast(let limit), .below(let limit), .atMost(let limit), .equal(let limit),
            .notEqual(let limit):
            Self.text(limit)
        case .inside(let band), .outside(let band): "\(Self.text(band.lowerBound))..\(Self.text(band.upperBound))"
        case .silent: ""
        }
    }

    /// The condition as it is written.
    public var text: String {
        switch self {
        case .above: "> \(limitText)"
        case .atLeast: ">= \(limitText)"
        case .below: "< \(limitText)"
        case .atMost: "<= \(limitText)"
        case .equal: "== \(limitText)"
        case .notEqual: "!= \(limitText)"
        case .inside: "inside \(limitText)"
        case .outside: "outside \(limitText)"
        case .silent: "silent"
        }
    }

    private static func text(_ number: Double) -> String {
        let full = number.description
        return full.hasSuffix(".0") ? String(full.dropLast(2)) : full
    }
}

/// Why a rule's text cannot be understood.
public struct RuleTextError: Error, Hashable, Sendable, CustomStringConvertible {
    /// 1 is the first character.
    public let column: Int
    /// What is wrong and what may stand there.
    public let problem: String

    public init(column: Int, problem: String) {
        self.column = column
        self.problem = problem
    }

    public var description: String { "column \(column): \(problem)" }
}

extension Condition {
    /// Longest text: 100 bytes.
    public static let bytesMax = 100

    /// Reads what `text` writes, spaces being free between its parts.
    public init(parsing text: some StringProtocol) throws(RuleTextError) {
        guard text.utf8.count <= Self.bytesMax else {
            throw RuleTextError(column: 1, problem: "a condition has at most \(Self.bytesMax) bytes")
        }
        var scan = ConditionScan(text)
        self = try scan.condition()
    }
}

private struct ConditionScan {
    private let characters: [Character]
    private var index = 0

    init(_ text: some StringProtocol) { characters = Array(text) }

    mutating func condition() throws(RuleTextError) -> Condition {
        skipSpaces()
        let start = index
        let condition: Condition
        switch word() {
        case ">": condition = .above(try number())
        case ">=": condition = .atLeast(try number())
        case "<": condition = .below(try number())
        case "<=": condition = .atMost(try number())
        case "==": condition = .equal(try number())
        case "!=": condition = .notEqual(try number())
        case "inside": condition = .inside(try band())
        case "outside": condition = .outside(try band())
        case "silent": condition = .silent
        case let other:
            let found = other.isEmpty ? "nothing stands here" : "\"\(other)\" is no condition"
            throw RuleTextError(
                column: start + 1, problem: "\(found); allowed are > >= < <= == !=, inside, outside and silent")
        }
        skipSpaces()
        guard index == characters.count else {
            throw RuleTextError(
                column: index + 1,
                problem: "\"\(String(characters[index...].prefix(20)))\" is too much; the condition ends before it")
        }
        return condition
    }

    /// A run of letters, or a run of comparison signs.
    private mutating func word() -> String {
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

    private mutating func band() throws(RuleTextError) -> ClosedRange<Double> {
        let low = try number()
        skipSpaces()
        guard index + 1 < characters.count, characters[index] == ".", characters[index + 1] == "." else {
            throw RuleTextError(column: index + 1, problem: "a band needs two dots here, as in 2..8")
        }
        index += 2
        skipSpaces()
        let column = index + 1
        let high = try number()
        guard low <= high else {
            throw RuleTextError(column: column, problem: "the band's end is below its beginning; write 2..8, not 8..2")
        }
        return low...high
    }

    private mutating func number() throws(RuleTextError) -> Double {
        skipSpaces()
        let start = index
        if index < characters.count, characters[index] == "-" || characters[index] == "+" { index += 1 }
        while index < characters.count, isNumberPart(at: index) { index += 1 }
        guard let value = Double(String(characters[start..<index])), value.isFinite else {
            let end = characters[start...].firstIndex { $0.isWhitespace } ?? characters.count
            let found = String(characters[start..<end].prefix(20))
            throw RuleTextError(
                column: start + 1,
                problem: (found.isEmpty ? "a number is missing" : "\"\(found)\" is no number")
                    + "; write one such as 70, -2.5 or 1e6")
        }
        return value
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

    private mutating func skipSpaces() {
        while index < characters.count, characters[index].isWhitespace { index += 1 }
    }
}
