/// The functions that an expression may call: name, arguments, and the step that each becomes.
///
/// The cases are in alphabetical order of their names, as error messages list them.
enum Function: String, CaseIterable {
    case abs, avg, ceil, clamp
    case orElse = "default"
    case exp, floor
    case choose = "if"
    case known, ln, log10, max, min, pow, round, sign, sqrt, sum

    static let names = allCases.map(\.rawValue).joined(separator: ", ")

    /// How many arguments it takes.
    var arity: ClosedRange<Int> {
        switch self {
        case .abs, .ceil, .exp, .floor, .known, .ln, .log10, .sign, .sqrt: 1...1
        case .orElse, .pow: 2...2
        case .round: 1...2
        case .clamp, .choose: 3...3
        case .avg, .max, .min, .sum: 1...SignalExpression.argumentsMax
        }
    }

    /// How it is called, for messages.
    var usage: String {
        switch self {
        case .avg, .max, .min, .sum: "\(rawValue)(a, b, …)"
        case .clamp: "clamp(value, low, high)"
        case .orElse: "default(value, replacement)"
        case .choose: "if(condition, then, else)"
        case .pow: "pow(base, exponent)"
        case .round: "round(value) or round(value, places)"
        case .abs, .ceil, .exp, .floor, .known, .ln, .log10, .sign, .sqrt: "\(rawValue)(value)"
        }
    }

    /// What stands at each place.
    enum Parameter {
        case number, boolean
        /// Whatever it is, all of these must be of one kind.
        case same
    }

    func parameter(_ index: Int) -> Parameter {
        switch self {
        case .choose: index == 0 ? .boolean : .same
        case .orElse, .known: .same
        case .abs, .avg, .ceil, .clamp, .exp, .floor, .ln, .log10, .max, .min, .pow, .round, .sign, .sqrt, .sum:
            .number
        }
    }

    /// - Parameter same: the kind of the arguments of which all are the same.
    func result(same: SignalExpression.Kind?) -> SignalExpression.Kind? {
        switch self {
        case .choose, .orElse: same
        case .known: .boolean
        case .abs, .avg, .ceil, .clamp, .exp, .floor, .ln, .log10, .max, .min, .pow, .round, .sign, .sqrt, .sum:
            .number
        }
    }

    /// - Parameter count: of the arguments, within `arity`.
    func step(count: Int) -> Step {
        switch self {
        case .abs: .unary(.absolute)
        case .ceil: .unary(.ceil)
        case .exp: .unary(.exponential)
        case .floor: .unary(.floor)
        case .known: .unary(.known)
        case .ln: .unary(.logarithm)
        case .log10: .unary(.decimalLogarithm)
        case .sign: .unary(.sign)
        case .sqrt: .unary(.squareRoot)
        case .orElse: .binary(.otherwise)
        case .pow: .binary(.power)
        case .round: count == 1 ? .unary(.round) : .binary(.roundTo)
        case .clamp: .clamp
        case .choose: .select
        case .avg: .fold(.average, UInt8(count))
        case .max: .fold(.maximum, UInt8(count))
        case .min: .fold(.minimum, UInt8(count))
        case .sum: .fold(.sum, UInt8(count))
        }
    }
}
