public import Expressions

/// When a value is bad: a comparison with a limit, a band, a change, a deviation, a value that stands still, no value at
/// all, or an expression over several values.
///
///     > 70     >= 70     < 4.5     <= 4.5     == 1     != 0     inside 2..8     outside 2..8
///     rises 5 per 1m     falls 5 per 1m     changes 5 per 1m
///     stuck     stuck within 0.1     deviates 3 sigma over 10m     deviates 3 sigma over 10m floor 0.2 after 60
///     silent
///
/// Both ends of a band belong to it. Written with one space or none between word and number. An expression has a key of
/// its own in the configuration and is no text of this kind.
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
    /// Rate of change. Breached when the value is by `limit` or more away from where it was at most `window` ago.
    case changing(Direction, by: Double, per: Duration)
    /// Breached when values came for the rule's time and none left `tolerance` around the first of them.
    case stuck(tolerance: Double)
    /// Breached when the value is more than so many standard deviations away from its moving average.
    case deviating(Deviation)
    /// Breached when the rule's time has passed without a value: missing data.
    case silent
    /// Breached when the expression over several sensors holds. A boolean one.
    case expression(SignalExpression)

    public enum Direction: String, Hashable, Sendable, CaseIterable {
        case rises, falls, changes
    }

    /// The parts of a deviation from the moving average (z-score).
    public struct Deviation: Hashable, Sendable {
        /// Standard deviations; above 0.
        public let sigmas: Double
        /// Time constant of the exponentially weighted average; 1 s … 30 d.
        public let window: Duration
        /// The standard deviation is never taken for less; `nil` is a thousandth of the average.
        public let floor: Double?
        /// Values that must have been seen before anything is judged; 2 … 100,000.
        public let samplesMin: Int

        public static let samplesMinDefault = 30

        public init(sigmas: Double, window: Duration, floor: Double? = nil, samplesMin: Int = samplesMinDefault) {
            self.sigmas = sigmas
            self.window = window
            self.floor = floor
            self.samplesMin = samplesMin
        }
    }

    /// For messages and fault records: `70`, `2..8`, `5 per 1m`; empty for `silent`, whose limit is the rule's time.
    public var limitText: String {
        switch self {
        case .above(let limit), .atLeast(let limit), .below(let limit), .atMost(let limit), .equal(let limit),
            .notEqual(let limit):
            Self.text(limit)
        case .inside(let band), .outside(let band): "\(Self.text(band.lowerBound))..\(Self.text(band.upperBound))"
        case .changing(_, let limit, let window): "\(Self.text(limit)) per \(Rule.text(window))"
        case .stuck(let tolerance): tolerance == 0 ? "" : "within \(Self.text(tolerance))"
        case .deviating(let deviation): "\(Self.text(deviation.sigmas)) sigma over \(Rule.text(deviation.window))"
        case .silent: ""
        case .expression(let expression): expression.text
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
        case .changing(let direction, _, _): "\(direction.rawValue) \(limitText)"
        case .stuck(let tolerance): tolerance == 0 ? "stuck" : "stuck \(limitText)"
        case .deviating(let deviation):
            "deviates \(limitText)" + (deviation.floor.map { " floor \(Self.text($0))" } ?? "")
                + " after \(deviation.samplesMin)"
        case .silent: "silent"
        case .expression(let expression): expression.text
        }
    }

    static func text(_ number: Double) -> String {
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
