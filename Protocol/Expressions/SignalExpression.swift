/// A checked expression over signals, such as `[supply/temperature] - temperature > 4 and running == 1`.
///
/// Compiled once, when the configuration is loaded; evaluating it allocates nothing, takes time in proportion to its
/// length, and never traps. What cannot be known, because an input is missing or a result is no finite number, is
/// unknown, by the rules of three-valued logic.
public struct SignalExpression: Hashable, Sendable, CustomStringConvertible {
    /// Longest text: 1,024 bytes.
    public static let bytesMax = 1024
    /// Parentheses, calls and signs inside each other: 32.
    public static let depthMax = 32
    /// Values that wait at the same time while it is evaluated: 32.
    public static let stackMax = 32
    /// Steps of the compiled program: 256.
    public static let stepsMax = 256
    /// Different signals: 32.
    public static let signalsMax = 32
    /// Arguments of one call: 16.
    public static let argumentsMax = 16

    /// What an expression gives.
    public enum Kind: Sendable, Hashable {
        case number
        /// True, false or unknown.
        case boolean
    }

    /// As written.
    public let text: String
    public let kind: Kind
    /// Every signal that it reads, once, in the order in which they first stand in the text.
    public let signals: [SignalName]
    let steps: [Step]

    /// Compiles the text.
    ///
    /// - Parameters:
    ///   - kind: what the expression must give; `nil` when either will do.
    ///   - problem: what is wrong with a signal that the text names, as a sentence's rest (`is not configured; there are
    ///     …`); `nil` when nothing is. Asked once for each signal.
    /// - Throws: everything that is wrong as far as it can be understood, each problem with its column.
    public init(
        parsing text: some StringProtocol, as kind: Kind? = nil, problem: (SignalName) -> String? = { _ in nil }
    ) throws(ExpressionError) {
        self = try ExpressionParser.expression(String(text), as: kind, problem: problem)
    }

    init(text: String, kind: Kind, signals: [SignalName], steps: [Step]) {
        self.text = text
        self.kind = kind
        self.signals = signals
        self.steps = steps
    }

    public var description: String { text }

    /// The number that comes out; of a boolean expression 1 or 0. `nil` is unknown. Never infinite or NaN.
    ///
    /// - Parameter read: the value of `signals[index]`; `nil`, infinite or NaN when it is missing or bad.
    /// - Complexity: one pass over at most `stepsMax` steps. Allocates nothing.
    public func number(_ read: (Int) -> Double?) -> Double? {
        let result = evaluated(read)
        return result.isNaN ? nil : result
    }

    /// Whether the condition holds; a number other than 0 does. `nil` is unknown. See `number`.
    public func truth(_ read: (Int) -> Double?) -> Bool? {
        let result = evaluated(read)
        return result.isNaN ? nil : result != 0
    }
}
