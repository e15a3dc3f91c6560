/// Reads an expression and writes its program in one pass, by recursive descent:
///
///     or ─► and ─► not ─► comparison ─► + - ─► * / % ─► unary - ─► number, signal, call, ( or )
///
/// What cannot be read ends it; what can be read but makes no sense is noted, and reading goes on.
struct ExpressionParser {
    typealias Kind = SignalExpression.Kind

    /// What stands on the stack: its kind, `nil` when a problem with it was noted, and where it began.
    private struct Operand {
        let kind: Kind?
        let column: Int
    }

    private let text: String
    private let problem: (SignalName) -> String?
    private var scanner: ExpressionScanner
    private var token = Token(content: .end, column: 1)
    private var steps: [Step] = []
    private var signals: [SignalName] = []
    private var problems: [ExpressionError.Problem] = []
    private var depth = 0
    private var stackCount = 0

    private init(_ text: String, problem: @escaping (SignalName) -> String?) {
        self.text = text
        self.problem = problem
        scanner = ExpressionScanner(text)
    }

    static func expression(
        _ text: String, as wanted: Kind?, problem: (SignalName) -> String?
    ) throws(ExpressionError) -> SignalExpression {
        guard text.utf8.count <= SignalExpression.bytesMax else {
            throw ExpressionError(
                problems: [.init(column: 1, problem: "an expression has at most \(SignalExpression.bytesMax) bytes")])
        }
        let result = withoutActuallyEscaping(problem) { problem in
            Result { () throws(ExpressionError) in
                var parser = ExpressionParser(text, problem: problem)
                return try parser.whole(as: wanted)
            }
        }
        return try result.get()
    }

    private mutating func whole(as wanted: Kind?) throws(ExpressionError) -> SignalExpression {
        var found: Operand
        do throws(ExpressionError) {
            try advance()
            found = try disjunction()
            guard case .end = token.content else {
                throw failure("\(token.shown) is too much; an operator or the end may stand here")
            }
        } catch {
            // What was noted before counts too.
            throw ExpressionError(problems: (problems + error.problems).sorted { $0.column < $1.column })
        }
        if let wanted { _ = expect(wanted, &found, "the expression") }
        guard problems.isEmpty, let kind = found.kind else {
            throw ExpressionError(problems: problems.sorted { $0.column < $1.column })
        }
        return SignalExpression(text: text, kind: kind, signals: signals, steps: steps)
    }

    // MARK: - Levels

    private mutating func disjunction() throws(ExpressionError) -> Operand {
        var left = try conjunction()
        while try take(.or) { left = try logical(left, .or, "or", try conjunction()) }
        return left
    }

    private mutating func conjunction() throws(ExpressionError) -> Operand {
        var left = try negation()
        while try take(.and) { left = try logical(left, .and, "and", try negation()) }
        return left
    }

    private mutating func logical(
        _ left: Operand, _ operation: Step.Binary, _ word: String, _ right: Operand
    ) throws(ExpressionError) -> Operand {
        var left = left
        var right = right
        let isLeft = expect(.boolean, &left, "the left side of \(word)")
        let isRight = expect(.boolean, &right, "the right side of \(word)")
        try emit(.binary(operation))
        return Operand(kind: isLeft && isRight ? .boolean : nil, column: left.column)
    }

    private mutating func negation() throws(ExpressionError) -> Operand {
        guard case .sign(.not) = token.content else { return try comparison() }
        let column = token.column
        try advance()
        try enter()
        var operand = try negation()
        depth -= 1
        let isRight = expect(.boolean, &operand, "what follows not")
        try emit(.unary(.not))
        return Operand(kind: isRight ? .boolean : nil, column: column)
    }

    private static let comparisons: [Token.Sign: Step.Binary] = [
        .less: .less, .lessOrEqual: .lessOrEqual, .greater: .greater, .greaterOrEqual: .greaterOrEqual,
        .equal: .equal, .notEqual: .notEqual,
    ]

    private mutating func comparison() throws(ExpressionError) -> Operand {
        var left = try sum()
        guard case .sign(let sign) = token.content, let operation = Self.comparisons[sign] else { return left }
        let column = token.column
        try advance()
        var right = try sum()
        var isGood = left.kind != nil && right.kind != nil
        if sign == .equal || sign == .notEqual {
            if let first = left.kind, let second = right.kind, first != second {
                note(column, "a number is compared with true or false; a signal is a number here: write door == 1")
                isGood = false
            }
        } else {
            isGood = expect(.number, &left, "the left side of \(sign.rawValue)") && isGood
            isGood = expect(.number, &right, "the right side of \(sign.rawValue)") && isGood
        }
        try emit(.binary(operation))
        if case .sign(let next) = token.content, Self.comparisons[next] != nil {
            throw failure("comparisons do not follow each other; write a < b and b < c")
        }
        return Operand(kind: isGood ? .boolean : nil, column: left.column)
    }

    private mutating func sum() throws(ExpressionError) -> Operand {
        var left = try product()
        while true {
            if try take(.plus) {
                left = try arithmetic(left, .add, "+", try product())
            } else if try take(.minus) {
                left = try arithmetic(left, .subtract, "-", try product())
            } else {
                return left
            }
        }
    }

    private mutating func product() throws(ExpressionError) -> Operand {
        var left = try factor()
        while true {
            if try take(.times) {
                left = try arithmetic(left, .multiply, "*", try factor())
            } else if try take(.over) {
                left = try arithmetic(left, .divide, "/", try factor())
            } else if try take(.remainder) {
                left = try arithmetic(left, .remainder, "%", try factor())
            } else {
                return left
            }
        }
    }

    private mutating func arithmetic(
        _ left: Operand, _ operation: Step.Binary, _ sign: String, _ right: Operand
    ) throws(ExpressionError) -> Operand {
        var left = left
        var right = right
        let isLeft = expect(.number, &left, "the left side of \(sign)")
        let isRight = expect(.number, &right, "the right side of \(sign)")
        try emit(.binary(operation))
        return Operand(kind: isLeft && isRight ? .number : nil, column: left.column)
    }

    private mutating func factor() throws(ExpressionError) -> Operand {
        guard case .sign(.minus) = token.content else { return try primary() }
        let column = token.column
        try advance()
        try enter()
        var operand = try factor()
        depth -= 1
        let isRight = expect(.number, &operand, "what follows -")
        try emit(.unary(.negate))
        return Operand(kind: isRight ? .number : nil, column: column)
    }

    private mutating func primary() throws(ExpressionError) -> Operand {
        let start = token
        switch start.content {
        case .number(let value):
            try advance()
            try emit(.constant(value))
            return Operand(kind: .number, column: start.column)
        case .sign(.yes), .sign(.no):
            try advance()
            try emit(.constant(start.content == .sign(.yes) ? 1 : 0))
            return Operand(kind: .boolean, column: start.column)
        case .signal(let name):
            try advance()
            return try signal(name, start.column)
        case .name(let name):
            try advance()
            guard try take(.open) else { return try signal(SignalName(metric: name), start.column) }
            return try call(name, start.column)
        case .sign(.open):
            try advance()
            try enter()
            let inner = try disjunction()
            depth -= 1
            guard try take(.close) else { throw failure("\(token.shown) stands where \")\" or an operator should") }
            return Operand(kind: inner.kind, column: start.column)
        case .sign, .end:
            throw failure(
                "\(start.shown) stands where a value should: a number, a metric, [device/metric], a function or \"(\"")
        }
    }

    // MARK: - Signals and calls

    private mutating func signal(_ name: SignalName, _ column: Int) throws(ExpressionError) -> Operand {
        guard name.metric.utf8.count <= SignalName.metricBytesMax else {
            throw ExpressionError(
                problems: [.init(column: column, problem: "a metric has at most \(SignalName.metricBytesMax) bytes")])
        }
        let index: Int
        if let known = signals.firstIndex(of: name) {
            index = known
        } else {
            guard signals.count < SignalExpression.signalsMax else {
                throw ExpressionError(
                    problems: [
                        .init(
                            column: column,
                            problem: "an expression reads at most \(SignalExpression.signalsMax) signals")
                    ])
            }
            if let problem = problem(name) { note(column, "\(name) \(problem)") }
            signals.append(name)
            index = signals.count - 1
        }
        try emit(.signal(UInt8(index)))
        return Operand(kind: .number, column: column)
    }

    /// From behind the parenthesis that opens.
    private mutating func call(_ name: String, _ column: Int) throws(ExpressionError) -> Operand {
        let function = Function(rawValue: name)
        if function == nil { note(column, "there is no function \"\(name.prefix(40))\"; there are \(Function.names)") }
        let problemCount = problems.count
        try enter()
        var same: Kind?
        var isGood = function != nil
        var count = 0
        if try !take(.close) {
            repeat {
                count += 1
                guard count <= SignalExpression.argumentsMax else {
                    throw failure("a call has at most \(SignalExpression.argumentsMax) arguments")
                }
                var argument = try disjunction()
                isGood = isGood && argument.kind != nil
                if let function { isGood = check(&argument, count, function, &same) && isGood }
            } while try take(.comma)
            guard try take(.close) else {
                throw failure("\(token.shown) stands where \",\" or \")\" should" + usage(function))
            }
        }
        depth -= 1
        guard let function else { return try unknownCall(count, column) }
        guard function.arity.contains(count) else {
            if problems.count == problemCount {
                note(column, "\(name) is given \(count) arguments\(usage(function))")
            }
            return try unknownCall(count, column)
        }
        try emit(function.step(count: count))
        return Operand(kind: isGood ? function.result(same: same) : nil, column: column)
    }

    private func usage(_ function: Function?) -> String { function.map { "; write \($0.usage)" } ?? "" }

    /// Keeps the count of the stack right where the program is lost anyway.
    private mutating func unknownCall(_ count: Int, _ column: Int) throws(ExpressionError) -> Operand {
        stackCount -= count
        try emit(.constant(0))
        return Operand(kind: nil, column: column)
    }

    private mutating func check(
        _ argument: inout Operand, _ number: Int, _ function: Function, _ same: inout Kind?
    ) -> Bool {
        let place = "argument \(number) of \(function.rawValue)"
        guard function.arity.upperBound >= number else { return true }
        switch function.parameter(number - 1) {
        case .number: return expect(.number, &argument, place)
        case .boolean: return expect(.boolean, &argument, place)
        case .same:
            if let same { return expect(same, &argument, place) }
            same = argument.kind
            return argument.kind != nil
        }
    }

    // MARK: - Parts

    private mutating func advance() throws(ExpressionError) { token = try scanner.next() }

    /// Steps over the sign when it stands here.
    private mutating func take(_ sign: Token.Sign) throws(ExpressionError) -> Bool {
        guard case .sign(sign) = token.content else { return false }
        try advance()
        return true
    }

    private func failure(_ problem: String) -> ExpressionError {
        ExpressionError(problems: [.init(column: token.column, problem: problem)])
    }

    private mutating func note(_ column: Int, _ problem: String) {
        problems.append(.init(column: column, problem: problem))
    }

    /// Whether the operand is of that kind; notes it when it is not.
    private mutating func expect(_ kind: Kind, _ operand: inout Operand, _ place: String) -> Bool {
        guard let found = operand.kind else { return false }
        guard found != kind else { return true }
        switch kind {
        case .number: note(operand.column, "\(place) is true or false; a number is needed: if(condition, 1, 0)")
        case .boolean: note(operand.column, "\(place) is a number; a condition is needed, such as door == 1")
        }
        return false
    }

    private mutating func enter() throws(ExpressionError) {
        depth += 1
        guard depth <= SignalExpression.depthMax else {
            throw failure("parentheses, calls and signs nest more than \(SignalExpression.depthMax) deep; use fewer")
        }
    }

    private mutating func emit(_ step: Step) throws(ExpressionError) {
        stackCount += 1 - step.argumentCount
        steps.append(step)
        guard steps.count <= SignalExpression.stepsMax else {
            throw failure("the expression has more than \(SignalExpression.stepsMax) values and operators; use fewer")
        }
        guard stackCount <= SignalExpression.stackMax else {
            throw failure("more than \(SignalExpression.stackMax) values wait for an operator; use fewer parentheses")
        }
    }
}
