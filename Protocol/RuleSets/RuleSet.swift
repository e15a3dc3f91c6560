public import ConfigText
public import Primitives
public import RuleTrial
public import Rules

/// The rules of one text, with the cases beside them: what is published at the hub and runs at gateways.
public struct RuleSet: Sendable, Equatable {
    /// Of the text: 256 KiB.
    public static let bytesMax = 256 * 1024

    /// At least one, with unique names.
    public let rules: [EdgeRule]
    public let cases: [RuleCase]

    /// Reads the text of a set, which has nothing but `[[rule]]`.
    ///
    /// - Throws: every problem at once, each with line, key path, what was given and what is allowed.
    public init(bytes: [UInt8]) throws(ConfigError) {
        guard bytes.count <= Self.bytesMax else {
            throw ConfigError("the set has \(bytes.count) bytes; at most \(Self.bytesMax) are allowed")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigError("the set is not UTF-8 text")
        }
        let root = try ConfigSection(toml: text)
        for rule in root.sections("rule", countMax: EdgeRule.countMax) where rule.has("replaceable") {
            rule.problem("replaceable", expected: "has a meaning only in a gateway's own file")
        }
        var cases: [RuleCase] = []
        rules = RuleSection.read(root, cases: &cases)
        self.cases = cases
        if !root.has("rule") { root.problem("the set has no [[rule]]; to run without one, withdraw it") }
        try root.finish()
    }

    /// Runs the cases, each on a clock of its own.
    ///
    /// - Parameters:
    ///   - isLeftOut: for cases that cannot be run here.
    ///   - zoneOffset: seconds east of Greenwich in a schedule's zone at a time.
    /// - Returns: a problem for each case that shows something else than it says.
    public func failedCases(
        leavingOut isLeftOut: (RuleCase) -> Bool = { _ in false },
        zoneOffset: (Schedule.Zone, WallInstant) -> Int
    ) -> [ConfigProblem] {
        var number: [String: Int] = [:]
        for (index, rule) in rules.enumerated() { number[rule.rule.name] = index + 1 }
        return cases.compactMap { example in
            guard !isLeftOut(example) else { return nil }
            let differences = example.differences(zoneOffset)
            guard !differences.isEmpty else { return nil }
            let rule = number[example.rule.name].map { "rule[\($0)]" } ?? "rule"
            let shown = differences.prefix(4).joined(separator: ", ") + (differences.count > 4 ? ", …" : "")
            return ConfigProblem(
                keyPath: "\(rule).case", line: nil, given: "\"\(example.name)\" of \(example.rule.name)",
                expected: "failed (- expected, + happened): \(shown)")
        }
    }
}

extension ConfigError {
    /// About the text as a whole.
    init(_ sentence: String) {
        self.init(problems: [ConfigProblem(keyPath: "", line: nil, given: nil, expected: sentence)])
    }
}
