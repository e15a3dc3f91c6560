import Primitives

extension Condition {
    /// Longest text: 100 bytes.
    public static let bytesMax = 100
    /// A rate of change or a moving average may look this far back.
    public static let windowRange: ClosedRange<Duration> = .seconds(1) ... .seconds(30 * 86_400)

    /// Reads what `text` writes, spaces being free between its parts.
    public init(parsing text: some StringProtocol) throws(RuleTextError) {
        guard text.utf8.count <= Self.bytesMax else {
            throw RuleTextError(column: 1, problem: "a condition has at most \(Self.bytesMax) bytes")
        }
        var scan = TextScan(text)
        self = try scan.condition()
        scan.skipSpaces()
        guard scan.isAtEnd else {
            throw RuleTextError(
                column: scan.column, problem: "\"\(scan.restShown)\" is too much; the condition ends before it")
        }
    }
}

extension TextScan {
    fileprivate mutating func condition() throws(RuleTextError) -> Condition {
        skipSpaces()
        let start = column
        switch word() {
        case ">": return .above(try number())
        case ">=": return .atLeast(try number())
        case "<": return .below(try number())
        case "<=": return .atMost(try number())
        case "==": return .equal(try number())
        case "!=": return .notEqual(try number())
        case "inside": return .inside(try band())
        case "outside": return .outside(try band())
        case "rises": return try change(.rises)
        case "falls": return try change(.falls)
        case "changes": return try change(.changes)
        case "stuck": return try stuck()
        case "deviates": return try deviation()
        case "silent": return .silent
        case let other:
            let found = other.isEmpty ? "nothing stands here" : "\"\(other)\" is no condition"
            throw RuleTextError(
                column: start,
                problem: "\(found); allowed are > >= < <= == !=, inside, outside, rises, falls, changes, stuck, "
                    + "deviates and silent")
        }
    }

    private mutating func change(_ direction: Condition.Direction) throws(RuleTextError) -> Condition {
        let limit = try positive()
        try word("per", as: "\(direction.rawValue) 5 per 1m")
        return .changing(direction, by: limit, per: try duration(Condition.windowRange))
    }

    private mutating func stuck() throws(RuleTextError) -> Condition {
        skipSpaces()
        guard !isAtEnd else { return .stuck(tolerance: 0) }
        try word("within", as: "stuck within 0.1")
        return .stuck(tolerance: try positive())
    }

    private mutating func deviation() throws(RuleTextError) -> Condition {
        let example = "deviates 3 sigma over 10m"
        let sigmas = try positive()
        try word("sigma", as: example)
        try word("over", as: example)
        let window = try duration(Condition.windowRange)
        var floor: Double?
        var samplesMin = Condition.Deviation.samplesMinDefault
        skipSpaces()
        var start = column
        var next = word()
        if next == "floor" {
            floor = try positive()
            skipSpaces()
            start = column
            next = word()
        }
        if next == "after" {
            samplesMin = try digits(2...100_000, expected: "a number of values from 2 to 100000")
        } else if !next.isEmpty {
            throw RuleTextError(
                column: start, problem: "\"\(next)\" may not stand here; allowed are floor, then after, or the end")
        }
        return .deviating(.init(sigmas: sigmas, window: window, floor: floor, samplesMin: samplesMin))
    }

    private mutating func positive() throws(RuleTextError) -> Double {
        skipSpaces()
        let start = column
        let value = try number()
        guard value > 0 else { throw RuleTextError(column: start, problem: "a number above 0 is needed here") }
        return value
    }
}
