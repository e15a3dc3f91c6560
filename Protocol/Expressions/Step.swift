/// One step of a compiled expression: takes its arguments from the top of a stack and puts its result there.
enum Step: Hashable, Sendable {
    case constant(Double)
    /// Index in the expression's `signals`.
    case signal(UInt8)
    case unary(Unary)
    case binary(Binary)
    /// Takes that many arguments.
    case fold(Fold, UInt8)
    /// Value, low, high.
    case clamp
    /// Condition, then, else.
    case select

    enum Unary: Hashable, Sendable {
        case negate, not, absolute, squareRoot, floor, ceil, round, sign, exponential, logarithm, decimalLogarithm
        case known
    }

    enum Binary: Hashable, Sendable {
        case add, subtract, multiply, divide, remainder, power, roundTo, otherwise
        case less, lessOrEqual, greater, greaterOrEqual, equal, notEqual
        case and, or
    }

    enum Fold: Hashable, Sendable { case minimum, maximum, sum, average }

    /// How many values it takes.
    var argumentCount: Int {
        switch self {
        case .constant, .signal: 0
        case .unary: 1
        case .binary: 2
        case .fold(_, let count): Int(count)
        case .clamp, .select: 3
        }
    }
}
