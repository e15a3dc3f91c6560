import Expressions
import Foundation
import Primitives
import Testing

/// An expression as a tree, with a plain evaluator of its own: what the compiled one is held against.
private indirect enum Tree {
    case number(Double)
    case signal(Int)
    case boolean(Bool)
    case binary(String, Tree, Tree)
    case negate(Tree)
    case not(Tree)
    case call(String, [Tree])

    /// With parentheses only where `isLavish`, else as many as precedence needs, or one layer more.
    func text(_ random: inout SeededRandom) -> String {
        switch self {
        case .number(let value): "\(value)"
        case .signal(let index): Tree.signals[index]
        case .boolean(let flag): "\(flag)"
        case .binary(let sign, let left, let right):
            "\(left.grouped(&random))\(gap(&random))\(sign)\(gap(&random))\(right.grouped(&random))"
        case .negate(let inner): "-\(inner.grouped(&random))"
        case .not(let inner): "not \(inner.grouped(&random))"
        case .call(let name, let arguments):
            "\(name)(\(arguments.map { $0.text(&random) }.joined(separator: ", ")))"
        }
    }

    private func gap(_ random: inout SeededRandom) -> String {
        String(repeating: " ", count: Int.random(in: 1...2, using: &random))
    }

    private func grouped(_ random: inout SeededRandom) -> String {
        switch self {
        case .number, .signal, .boolean, .call: text(&random)
        case .binary, .negate, .not: "(\(text(&random)))"
        }
    }

    static let signals = ["a", "b.c", "[x-1/a]", "[/d/e]"]

    /// A number, or 1 and 0; `nil` is unknown.
    func value(_ inputs: [Double?]) -> Double? {
        switch self {
        case .number(let value): value
        case .signal(let index): Tree.finite(inputs[index])
        case .boolean(let flag): flag ? 1 : 0
        case .negate(let inner): inner.value(inputs).map { -$0 }
        case .not(let inner): inner.value(inputs).map { $0 == 0 ? 1 : 0 }
        case .binary(let sign, let left, let right): Tree.binary(sign, left.value(inputs), right.value(inputs))
        case .call(let name, let arguments): Tree.call(name, arguments.map { $0.value(inputs) })
        }
    }

    private static func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }

    private static func binary(_ sign: String, _ left: Double?, _ right: Double?) -> Double? {
        if sign == "and" {
            if left == 0 || right == 0 { return 0 }
            return left == nil || right == nil ? nil : 1
        }
        if sign == "or" {
            if left == 1 || right == 1 { return 1 }
            return left == nil || right == nil ? nil : 0
        }
        guard let left, let right else { return nil }
        switch sign {
        case "+": return finite(left + right)
        case "-": return finite(left - right)
        case "*": return finite(left * right)
        case "/": return right == 0 ? nil : finite(left / right)
        case "%": return right == 0 ? nil : finite(fmod(left, right))
        case "<": return left < right ? 1 : 0
        case "<=": return left <= right ? 1 : 0
        case ">": return left > right ? 1 : 0
        case ">=": return left >= right ? 1 : 0
        case "==": return left == right ? 1 : 0
        default: return left != right ? 1 : 0
        }
    }

    private static func call(_ name: String, _ given: [Double?]) -> Double? {
        if name == "known" { return given[0] == nil ? 0 : 1 }
        if name == "default" { return given[0] ?? given[1] }
        if name == "if" { return given[0].flatMap { $0 != 0 ? given[1] : given[2] } }
        let values = given.compactMap(\.self)
        guard values.count == given.count else { return nil }
        switch name {
        case "abs": return values[0].magnitude
        case "sqrt": return values[0] < 0 ? nil : values[0].squareRoot()
        case "floor": return Foundation.floor(values[0])
        case "ceil": return Foundation.ceil(values[0])
        case "round": return Foundation.round(values[0])
        case "sign": return values[0] == 0 ? 0 : values[0] / values[0].magnitude
        case "min": return values.min()
        case "max": return values.max()
        case "sum": return finite(values.reduce(0, +))
        case "avg": return finite(values.reduce(0, +)).flatMap { finite($0 / Double(values.count)) }
        case "pow": return finite(Foundation.pow(values[0], values[1]))
        case "exp": return finite(Foundation.exp(values[0]))
        case "ln": return finite(Foundation.log(values[0]))
        case "log10": return finite(Foundation.log10(values[0]))
        default:  // clamp
            return values[1] > values[2] ? nil : Swift.min(Swift.max(values[0], values[1]), values[2])
        }
    }
}

private struct Grower {
    var random: SeededRandom

    mutating func number(_ depth: Int) -> Tree {
        switch depth > 0 ? Int.random(in: 0..<9, using: &random) : Int.random(in: 0..<2, using: &random) {
        case 0: return .number([0, 1, 2.5, 1e-3, 1e300, 7].randomElement(using: &random) ?? 0)
        case 1: return .signal(Int.random(in: 0..<Tree.signals.count, using: &random))
        case 2...5:
            let sign = ["+", "-", "*", "/", "%"].randomElement(using: &random) ?? "+"
            return .binary(sign, number(depth - 1), number(depth - 1))
        case 6: return .negate(number(depth - 1))
        case 7:
            let names = ["abs", "sqrt", "floor", "ceil", "round", "sign", "exp", "ln", "log10"]
            return .call(names.randomElement(using: &random) ?? "abs", [number(depth - 1)])
        default: return call(depth)
        }
    }

    private mutating func call(_ depth: Int) -> Tree {
        switch Int.random(in: 0..<5, using: &random) {
        case 0: return .call("if", [boolean(depth - 1), number(depth - 1), number(depth - 1)])
        case 1: return .call("default", [number(depth - 1), number(depth - 1)])
        case 2: return .call("pow", [number(depth - 1), number(depth - 1)])
        case 3: return .call("clamp", [number(depth - 1), number(depth - 1), number(depth - 1)])
        default:
            let count = Int.random(in: 1...4, using: &random)
            let name = ["min", "max", "sum", "avg"].randomElement(using: &random) ?? "min"
            return .call(name, (0..<count).map { _ in number(depth - 1) })
        }
    }

    mutating func boolean(_ depth: Int) -> Tree {
        switch depth > 0 ? Int.random(in: 0..<6, using: &random) : 0 {
        case 0: return .boolean(Bool.random(using: &random))
        case 1: return .binary("and", boolean(depth - 1), boolean(depth - 1))
        case 2: return .binary("or", boolean(depth - 1), boolean(depth - 1))
        case 3: return .not(boolean(depth - 1))
        case 4: return .call("known", [number(depth - 1)])
        default:
            let sign = ["<", "<=", ">", ">=", "==", "!="].randomElement(using: &random) ?? "<"
            return .binary(sign, number(depth - 1), number(depth - 1))
        }
    }

    mutating func input() -> Double? {
        [nil, .nan, .infinity, 0, -1, 1, 3.75, -1e300, 1e-300].randomElement(using: &random) ?? nil
    }
}

@Suite("Expressions: seeded random")
struct RandomTests {
    @Test func theCompiledProgramAgreesWithAPlainEvaluator() throws {
        var compared = 0
        var known = 0
        for seed in UInt64(1)...4000 {
            var grower = Grower(random: SeededRandom(seed: seed))
            let isBoolean = seed.isMultiple(of: 3)
            let tree = isBoolean ? grower.boolean(4) : grower.number(4)
            let text = tree.text(&grower.random)
            guard text.utf8.count <= SignalExpression.bytesMax else { continue }
            let expression: SignalExpression
            do { expression = try SignalExpression(parsing: text, as: isBoolean ? .boolean : .number) } catch {
                #expect("\(error)".contains("use fewer"), "seed \(seed): \(text)")
                continue
            }
            for _ in 0..<5 {
                let inputs = Tree.signals.map { _ in grower.input() }
                let found = expression.number { index in
                    inputs[Tree.signals.firstIndex(of: expression.signals[index].description) ?? 0]
                }
                #expect(found == tree.value(inputs), "seed \(seed): \(text) with \(inputs)")
                compared += 1
                if found != nil { known += 1 }
            }
        }
        #expect(compared > 15_000 && known > 3000, "\(compared) compared, \(known) known")
    }

    @Test func noTextTraps() {
        let words = [
            "1", "2.5", "a", "b.c", "[x/y]", "[", "]", "(", ")", ",", "+", "-", "*", "/", "%", "<", "<=", "==", "!=",
            "and", "or", "not", "true", "if(", "min(", "clamp(", "default(", "round(", "é", "\u{0}", "e5", ".", " ",
        ]
        for seed in UInt64(1)...20_000 {
            var random = SeededRandom(seed: seed)
            let text = (0..<Int.random(in: 1...14, using: &random)).map { _ in
                words.randomElement(using: &random) ?? ""
            }.joined(separator: Bool.random(using: &random) ? " " : "")
            do {
                let expression = try SignalExpression(parsing: text)
                let value = expression.number { Double($0) }
                #expect(value.map(\.isFinite) != false, "seed \(seed): \(text)")
            } catch {
                let count = text.count
                #expect(!error.problems.isEmpty, "seed \(seed): \(text)")
                #expect(error.problems.allSatisfy { (1...count + 1).contains($0.column) }, "seed \(seed): \(text)")
            }
        }
    }
}
