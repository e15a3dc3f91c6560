internal import Primitives

/// A word of an expression and where it begins.
struct Token: Equatable {
    enum Content: Equatable {
        case number(Double)
        /// A word that is no keyword: a metric, or a function when a parenthesis follows.
        case name(String)
        /// What stood in brackets.
        case signal(SignalName)
        /// An operator, a parenthesis, a comma or a keyword.
        case sign(Sign)
        case end
    }

    enum Sign: String, CaseIterable {
        case plus = "+"
        case minus = "-"
        case times = "*"
        case over = "/"
        case remainder = "%"
        case less = "<"
        case lessOrEqual = "<="
        case greater = ">"
        case greaterOrEqual = ">="
        case equal = "=="
        case notEqual = "!="
        case open = "("
        case close = ")"
        case comma = ","
        case and, or, not
        case yes = "true"
        case no = "false"
    }

    let content: Content
    /// In characters; 1 is the first.
    let column: Int

    /// For messages.
    var shown: String {
        switch content {
        case .number: "a number"
        case .name(let name): "\"\(name.prefix(40))\""
        case .signal(let name): "\"\(name.description.prefix(40))\""
        case .sign(let sign): "\"\(sign.rawValue)\""
        case .end: "the end"
        }
    }
}

/// Cuts the text into words.
struct ExpressionScanner {
    /// Words that cannot be bare metrics.
    static let reserved: Set<String> = ["and", "or", "not", "true", "false"]

    private let characters: [Character]
    private var index = 0

    init(_ text: String) { characters = Array(text) }

    static func beginsName(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character == "_")
    }

    static func continuesName(_ character: Character) -> Bool { beginsName(character) || isDigit(character) }

    private static func isDigit(_ character: Character) -> Bool { ("0"..."9").contains(character) && character.isASCII }

    mutating func next() throws(ExpressionError) -> Token {
        while let character = peek(), character.isWhitespace { index += 1 }
        let column = index + 1
        guard let character = peek() else { return Token(content: .end, column: column) }
        if Self.isDigit(character) { return Token(content: .number(try number()), column: column) }
        if Self.beginsName(character) { return Token(content: word(), column: column) }
        if character == "[" { return Token(content: .signal(try bracketed()), column: column) }
        return Token(content: .sign(try sign()), column: column)
    }

    private func peek(_ ahead: Int = 0) -> Character? {
        index + ahead < characters.count ? characters[index + ahead] : nil
    }

    private func failure(_ column: Int, _ problem: String) -> ExpressionError {
        ExpressionError(problems: [.init(column: column, problem: problem)])
    }

    private mutating func skipDigits() {
        while let character = peek(), Self.isDigit(character) { index += 1 }
    }

    private mutating func number() throws(ExpressionError) -> Double {
        let start = index
        skipDigits()
        if peek() == ".", let digit = peek(1), Self.isDigit(digit) {
            index += 1
            skipDigits()
        }
        if peek() == "e" || peek() == "E" {
            let signed = peek(1) == "+" || peek(1) == "-" ? 2 : 1
            if let digit = peek(signed), Self.isDigit(digit) {
                index += signed
                skipDigits()
            }
        }
        if let character = peek(), Self.continuesName(character) || character == "." {
            throw failure(
                start + 1,
                "a number ends where \"\(character)\" stands; write one such as 70, 2.5 or 1e6, and a metric "
                    + "that begins with a digit in brackets: [\(String(characters[start...index]))…]")
        }
        guard let value = Double(String(characters[start..<index])), value.isFinite else {
            throw failure(start + 1, "the number is too large; the largest is 1.7e308")
        }
        return value
    }

    /// Letters, digits and _, in parts that single points join.
    private mutating func word() -> Token.Content {
        let start = index
        while let character = peek() {
            if character == ".", let following = peek(1), Self.continuesName(following) {
                index += 2
            } else if Self.continuesName(character) {
                index += 1
            } else {
                break
            }
        }
        let word = String(characters[start..<index])
        if Self.reserved.contains(word), let sign = Token.Sign(rawValue: word) { return .sign(sign) }
        return .name(word)
    }

    private mutating func sign() throws(ExpressionError) -> Token.Sign {
        let column = index + 1
        for length in [2, 1] where index + length <= characters.count {
            guard let sign = Token.Sign(rawValue: String(characters[index..<index + length])) else { continue }
            index += length
            return sign
        }
        switch characters[index] {
        case "=": throw failure(column, "a comparison is written ==")
        case "&": throw failure(column, "\"&\" is no operator; write and")
        case "|": throw failure(column, "\"|\" is no operator; write or")
        case "!": throw failure(column, "\"!\" is no operator; write not")
        case "^": throw failure(column, "\"^\" is no operator; write pow(base, exponent)")
        case "\"", "'": throw failure(column, "a name with other characters stands in brackets: [device/metric]")
        case let other:
            throw failure(
                column,
                "\"\(other)\" has no meaning here; allowed are numbers, metrics, [device/metric], functions, "
                    + "+ - * / % < <= > >= == != and or not, parentheses and commas")
        }
    }

    private mutating func bracketed() throws(ExpressionError) -> SignalName {
        let column = index + 1
        index += 1
        var name = ""
        while true {
            guard let character = peek() else {
                throw failure(column, "the bracket is not closed; write [device/metric]")
            }
            index += 1
            if character == "]" {
                guard peek() == "]" else { break }
                index += 1
            }
            name.append(character)
        }
        return try signal(name, column)
    }

    private func signal(_ name: String, _ column: Int) throws(ExpressionError) -> SignalName {
        guard let slash = name.firstIndex(of: "/") else { return try own(name, column) }
        let metric = String(name[name.index(after: slash)...])
        let id = name[..<slash]
        if id.isEmpty { return try own(metric, column) }
        guard let device = DeviceID(id) else {
            throw failure(
                column,
                "\"\(id.prefix(40))\" is no device id; write [device/metric], or [/metric] when the "
                    + "metric of the own device has a slash in its name")
        }
        return SignalName(device: device, metric: try checked(metric, column))
    }

    private func own(_ metric: String, _ column: Int) throws(ExpressionError) -> SignalName {
        SignalName(metric: try checked(metric, column))
    }

    private func checked(_ metric: String, _ column: Int) throws(ExpressionError) -> String {
        guard (1...SignalName.metricBytesMax).contains(metric.utf8.count) else {
            throw failure(column, "a metric has 1 to \(SignalName.metricBytesMax) bytes; write [device/metric]")
        }
        return metric
    }
}
