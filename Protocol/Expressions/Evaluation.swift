internal import Glibc

/// The stack machine. A value is a finite number, or NaN for unknown; true is 1 and false is 0.
extension SignalExpression {
    /// - Returns: NaN for unknown; else finite.
    func evaluated(_ read: (Int) -> Double?) -> Double {
        // A fixed size, so that it lies on the caller's own stack: the compiler of expressions has counted.
        var stack = InlineArray<32, Double>(repeating: .nan)
        var top = 0
        for step in steps {
            top -= step.argumentCount
            switch step {
            case .constant(let value): stack[top] = value
            case .signal(let index): stack[top] = (read(Int(index)) ?? .nan).finite
            case .unary(let operation): stack[top] = operation.result(stack[top])
            case .binary(let operation): stack[top] = operation.result(stack[top], stack[top + 1])
            case .fold(let operation, let count):
                var folded = stack[top]
                for index in 1..<max(Int(count), 1) { folded = operation.combined(folded, stack[top + index]) }
                stack[top] = operation == .average ? (folded / Double(count)).finite : folded
            case .clamp: stack[top] = Self.clamped(stack[top], stack[top + 1], stack[top + 2])
            case .select:
                let condition = stack[top]
                if !condition.isNaN { stack[top] = condition != 0 ? stack[top + 1] : stack[top + 2] }
            }
            top += 1
        }
        return stack[0]
    }

    /// Unknown when the limits are unknown or the wrong way round.
    private static func clamped(_ value: Double, _ low: Double, _ high: Double) -> Double {
        guard !value.isNaN, low <= high else { return .nan }
        return min(max(value, low), high)
    }
}

extension Step.Unary {
    func result(_ value: Double) -> Double {
        switch self {
        case .negate: -value
        case .not: value.isNaN ? .nan : (value == 0 ? 1 : 0)
        case .absolute: Swift.abs(value)
        case .squareRoot: value.squareRoot()
        case .floor: value.rounded(.down)
        case .ceil: value.rounded(.up)
        case .round: value.rounded()
        case .sign: value.isNaN ? .nan : (value > 0 ? 1 : (value < 0 ? -1 : 0))
        case .exponential: Glibc.exp(value).finite
        case .logarithm: Glibc.log(value).finite
        case .decimalLogarithm: Glibc.log10(value).finite
        case .known: value.isNaN ? 0 : 1
        }
    }
}

extension Step.Binary {
    func result(_ left: Double, _ right: Double) -> Double {
        switch self {
        case .add: (left + right).finite
        case .subtract: (left - right).finite
        case .multiply: (left * right).finite
        case .divide: (left / right).finite
        case .remainder: left.truncatingRemainder(dividingBy: right).finite
        // Glibc holds that NaN to the power of 0 is 1; what is unknown stays unknown.
        case .power: left.isNaN || right.isNaN ? .nan : Glibc.pow(left, right).finite
        case .roundTo: Self.rounded(left, to: right)
        case .otherwise: left.isNaN ? right : left
        case .less: compared(left, right) { $0 < $1 }
        case .lessOrEqual: compared(left, right) { $0 <= $1 }
        case .greater: compared(left, right) { $0 > $1 }
        case .greaterOrEqual: compared(left, right) { $0 >= $1 }
        case .equal: compared(left, right) { $0 == $1 }
        case .notEqual: compared(left, right) { $0 != $1 }
        // False decides an `and` alone, and true an `or`.
        case .and: left == 0 || right == 0 ? 0 : (left.isNaN || right.isNaN ? .nan : 1)
        case .or: Self.isTrue(left) || Self.isTrue(right) ? 1 : (left.isNaN || right.isNaN ? .nan : 0)
        }
    }

    private static func isTrue(_ value: Double) -> Bool { !value.isNaN && value != 0 }

    private func compared(_ left: Double, _ right: Double, _ holds: (Double, Double) -> Bool) -> Double {
        left.isNaN || right.isNaN ? .nan : (holds(left, right) ? 1 : 0)
    }

    /// Half away from zero, at that many places behind the point, 0 … 15; other places are unknown.
    private static func rounded(_ value: Double, to places: Double) -> Double {
        guard !value.isNaN, (0...15).contains(places), places == places.rounded() else { return .nan }
        var scale = 1.0
        for _ in 0..<Int(places) { scale *= 10 }
        let scaled = value * scale
        // From here on a double has no places behind the point that could be rounded.
        return Swift.abs(scaled) < 4_503_599_627_370_496 ? scaled.rounded() / scale : value
    }
}

extension Step.Fold {
    /// Unknown when either is.
    func combined(_ left: Double, _ right: Double) -> Double {
        switch self {
        case .minimum: left.isNaN || right.isNaN ? .nan : Swift.min(left, right)
        case .maximum: left.isNaN || right.isNaN ? .nan : Swift.max(left, right)
        case .sum, .average: (left + right).finite
        }
    }
}

extension Double {
    /// Itself, or NaN when it is infinite.
    fileprivate var finite: Double { isFinite ? self : .nan }
}
