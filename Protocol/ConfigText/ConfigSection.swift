public import Primitives

/// Reads one table of a configuration key by key, noting every problem instead of stopping at the first.
///
/// Every reader answers a usable value whatever stands in the file, so that reading goes on; `finish()` on the root then
/// throws all problems together, unknown keys among them. A key is known once it has been asked for.
public final class ConfigSection {
    /// What all sections of one document share.
    private final class Report {
        var problems: [ConfigProblem] = []
    }

    /// Dotted path of the table; empty for the root.
    public let path: String
    /// The header's line; `nil` when the table is absent.
    public let line: Int?
    private let table: TOMLTable
    private let report: Report
    private var asked: [String] = []
    private var below: [ConfigSection] = []

    /// Whether the table stands in the file at all.
    public var isPresent: Bool { line != nil }

    private init(path: String, line: Int?, table: TOMLTable, report: Report) {
        self.path = path
        self.line = line
        self.table = table
        self.report = report
    }

    /// The root of a document. Throws only when the text is not TOML.
    public convenience init(toml: String) throws(ConfigError) {
        do {
            self.init(path: "", line: 1, table: try TOMLParser.parse(toml), report: Report())
        } catch {
            throw ConfigError(
                problems: [ConfigProblem(keyPath: "", line: error.line, given: nil, expected: error.message)])
        }
    }

    /// Throws every problem noted so far in the whole document, and every key that nobody asked for.
    public func finish() throws(ConfigError) {
        noteUnknownKeys()
        guard report.problems.isEmpty else {
            throw ConfigError(
                problems: report.problems.sorted { ($0.line ?? 0, $0.keyPath) < ($1.line ?? 0, $1.keyPath) })
        }
    }

    // MARK: - Structure

    public func has(_ key: String) -> Bool { table[key] != nil }
    /// Every key of the table, in order, for tables whose keys are the user's own.
    public var keys: [String] { table.keys }

    /// A table inside this one; an empty one when it is absent.
    public func section(_ key: String) -> ConfigSection {
        let value = take(key)
        var inner = TOMLTable()
        switch value?.content {
        case .table(let table): inner = table
        case nil: break
        default: problem(key, expected: "expected a table: [\(keyPath(key))]")
        }
        return entered(key, value?.line, inner, index: nil)
    }

    /// `[[key]]`, in order. More than `countMax` is a problem.
    public func sections(_ key: String, countMax: Int = 1000) -> [ConfigSection] {
        guard let value = take(key) else { return [] }
        guard case .list(let values) = value.content, values.count <= countMax else {
            problem(key, expected: "expected at most \(countMax) tables: [[\(keyPath(key))]]")
            return []
        }
        return values.enumerated().compactMap { index, value in
            guard case .table(let table) = value.content else {
                problem(key, expected: "expected tables only: [[\(keyPath(key))]]")
                return nil
            }
            return entered(key, value.line, table, index: index + 1)
        }
    }

    /// Notes a problem with a key, its value shown.
    public func problem(_ key: String, expected: String) {
        note(
            ConfigProblem(
                keyPath: keyPath(key), line: table[key]?.line ?? line, given: table[key]?.shown, expected: expected))
    }

    /// Notes a problem with the table as a whole, for keys that do not go together.
    public func problem(_ what: String) {
        note(ConfigProblem(keyPath: path, line: line, given: nil, expected: what))
    }

    /// The value for readers of other kinds; the key counts as known from here on.
    public func take(_ key: String) -> TOMLValue? {
        if !asked.contains(key) { asked.append(key) }
        return table[key]
    }

    /// `a.b.key`
    public func keyPath(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    // MARK: - Values

    /// A text that `read` understands; `expected` says in words what it takes. The value is never shown if `isSecret`.
    public func parsed<Value>(
        _ key: String, default fallback: Value, expected: String, isSecret: Bool = false, _ read: (String) -> Value?
    ) -> Value {
        optional(key, expected: expected, isSecret: isSecret, read) ?? fallback
    }

    /// Like `parsed`; `nil` when the key is absent or wrong.
    public func optional<Value>(
        _ key: String, expected: String, isSecret: Bool = false, _ read: (String) -> Value?
    ) -> Value? {
        guard let value = take(key) else { return nil }
        if case .text(let text) = value.content, let result = read(text) { return result }
        note(
            ConfigProblem(
                keyPath: keyPath(key), line: value.line, given: isSecret ? nil : value.shown,
                expected: "expected \(expected)"))
        return nil
    }

    /// Like `optional`, and absence is a problem.
    public func required<Value>(_ key: String, expected: String, _ read: (String) -> Value?) -> Value? {
        if !has(key) {
            _ = take(key)
            note(
                ConfigProblem(
                    keyPath: keyPath(key), line: line, given: nil, expected: "is missing; expected \(expected)"))
            return nil
        }
        return optional(key, expected: expected, read)
    }

    /// Any text of at least one character.
    public func text(_ key: String, default fallback: String, expected: String = "a text") -> String {
        parsed(key, default: fallback, expected: expected) { $0.isEmpty ? nil : $0 }
    }

    public func optionalText(_ key: String, expected: String = "a text") -> String? {
        optional(key, expected: expected) { $0.isEmpty ? nil : $0 }
    }

    public func requiredText(_ key: String, expected: String = "a text") -> String? {
        required(key, expected: expected) { $0.isEmpty ? nil : $0 }
    }

    public func flag(_ key: String, default fallback: Bool) -> Bool {
        guard let value = take(key) else { return fallback }
        if case .flag(let flag) = value.content { return flag }
        problem(key, expected: "expected true or false")
        return fallback
    }

    public func integer(_ key: String, default fallback: Int, in range: ClosedRange<Int>) -> Int {
        optionalInteger(key, in: range) ?? fallback
    }

    public func optionalInteger(_ key: String, in range: ClosedRange<Int>) -> Int? {
        guard let value = take(key) else { return nil }
        if case .integer(let number) = value.content, let whole = Int(exactly: number), range.contains(whole) {
            return whole
        }
        problem(key, expected: "expected a whole number from \(range.lowerBound) to \(range.upperBound)")
        return nil
    }

    /// A whole number will do too.
    public func decimal(_ key: String, default fallback: Double, in range: ClosedRange<Double>) -> Double {
        guard let value = take(key) else { return fallback }
        var number: Double?
        if case .decimal(let given) = value.content { number = given }
        if case .integer(let given) = value.content { number = Double(given) }
        if let number, range.contains(number) { return number }
        problem(key, expected: "expected a number from \(range.lowerBound) to \(range.upperBound)")
        return fallback
    }

    /// A duration text with units (`250ms`); a bare number is refused.
    public func duration(_ key: String, default fallback: Duration, in range: ClosedRange<Duration>) -> Duration {
        optionalDuration(key, in: range) ?? fallback
    }

    private func optionalDuration(_ key: String, in range: ClosedRange<Duration>) -> Duration? {
        let bounds = "\(DurationText.format(range.lowerBound)) to \(DurationText.format(range.upperBound))"
        return optional(key, expected: "a duration with its unit, such as \"90s\" or \"1h30m\", from \(bounds)") {
            text in
            DurationText.parse(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    /// An amount of bytes with its unit (`64KiB`); a bare number is refused.
    public func bytes(_ key: String, default fallback: ByteCount, in range: ClosedRange<ByteCount>) -> ByteCount {
        let bounds = "\(range.lowerBound) to \(range.upperBound)"
        return parsed(
            key, default: fallback, expected: "an amount with its unit, such as \"64KiB\" or \"10GB\", from \(bounds)"
        ) {
            text in ByteCount(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    /// One of the words.
    public func choice<Value>(_ key: String, default fallback: Value, _ words: KeyValuePairs<String, Value>) -> Value {
        let list = words.map { "\"\($0.key)\"" }.joined(separator: ", ")
        return parsed(key, default: fallback, expected: "one of \(list)") { text in
            words.first { $0.key == text }?.value
        }
    }

    /// A list of texts.
    public func texts(_ key: String, default fallback: [String], countMax: Int = 100) -> [String] {
        guard let value = take(key) else { return fallback }
        if case .list(let values) = value.content, values.count <= countMax {
            let texts = values.compactMap { value in
                if case .text(let text) = value.content { text } else { nil }
            }
            if texts.count == values.count { return texts }
        }
        problem(key, expected: "expected a list of at most \(countMax) texts")
        return fallback
    }

    // MARK: - Parts

    private func note(_ problem: ConfigProblem) { report.problems.append(problem) }

    private func entered(_ key: String, _ line: Int?, _ table: TOMLTable, index: Int?) -> ConfigSection {
        let path = keyPath(key) + (index.map { "[\($0)]" } ?? "")
        // Asking twice for the same section must not report its unknown keys twice, nor forget what was asked first.
        if let known = below.first(where: { $0.path == path }) { return known }
        let section = ConfigSection(path: path, line: line, table: table, report: report)
        below.append(section)
        return section
    }

    private func noteUnknownKeys() {
        for key in table.keys where !asked.contains(key) {
            let known = asked.sorted().joined(separator: ", ")
            let place = path.isEmpty ? "at the top" : "in [\(path)]"
            note(
                ConfigProblem(
                    keyPath: keyPath(key), line: table[key]?.line, given: nil,
                    expected: "is not a known key; known \(place): \(known.isEmpty ? "none" : known)"))
        }
        for section in below { section.noteUnknownKeys() }
    }
}
