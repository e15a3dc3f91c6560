import ConfigText
import Primitives
import Rules
import Testing

private func instant(_ seconds: Double) -> MonotonicInstant {
    MonotonicInstant(nanoseconds: Int64((seconds * 1e9).rounded()))
}

/// Other rules while the evaluator runs.
@Suite struct CarryingTests {
    private let device: DeviceID

    init() throws { device = try #require(DeviceID("oven-1")) }

    private func rules(_ text: String) throws -> [Rule] {
        let root = try ConfigSection(toml: text)
        let rules = root.sections("rule").compactMap { Rule.read($0, runs: .edge) }
        try root.finish()
        return rules
    }

    /// Feeds the values, one a second, replacing the rules by `next` before the one at `change`; `nil` for never.
    private func outcomes(
        _ first: String, _ values: [Double], change: Int?, to next: String, metric: String = "value"
    ) throws -> [String] {
        var evaluator = RuleEvaluator(rules: try rules(first))
        evaluator.begin(at: instant(0))
        var found: [String] = []
        func note(_ outcomes: [RuleOutcome], _ second: Int) {
            found += outcomes.map { "\(second) \(evaluator.rules[$0.rule].name) \($0.kind)" }
        }
        for (second, value) in values.enumerated() {
            if second == change {
                evaluator.replaceRules(try rules(next), at: instant(Double(second))) { _ in nil }
            }
            note(evaluator.timeReached(instant(Double(second))), second)
            note(evaluator.observed(device: device, metric: metric, value: value, at: instant(Double(second))), second)
        }
        return found
    }

    private static let kinds = [
        #"when = "> 5""#, "when = \"> 5\"\nfor = \"4s\"", #"when = "rises 3 per 6s""#,
        "when = \"stuck within 0.5\"\nfor = \"4s\"", #"when = "deviates 2 sigma over 10s""#,
        "expression = \"[value] > 5 and [value] < 100\"\nfor = \"3s\"", "when = \"> 5\"\nhysteresis = 2",
        "when = \"> 5\"\nactive = [\"mon-sun 00:00-24:00\"]",
    ]

    @Test(arguments: kinds) func anUnchangedRuleDoesAsIfNothingHadHappened(condition: String) throws {
        let rule = "[[rule]]\nname = \"same\"\nmetric = \"value\"\n\(condition)\n"
            .replacing(condition.hasPrefix("expression") ? "metric = \"value\"\n" : "\u{0}", with: "")
        let other = "[[rule]]\nname = \"other\"\nmetric = \"unheard\"\nwhen = \"< 0\"\n"
        let worded = rule.replacing(
            "[[rule]]\n", with: "[[rule]]\nmessage = \"other words\"\nseverity = \"critical\"\n")
        var random = SeededRandom(seed: 11)
        let values =
            (0..<60).map { _ in Double(Int.random(in: 0...9, using: &random)) }
            + [8, 8, 8, 8, 8, 8, 1, 1, 1, 1, 1, 1, 1, 40, 1, 1]
        let plain = try outcomes(rule + other, values, change: nil, to: "")
        #expect(!plain.isEmpty)
        for change in values.indices {
            #expect(try outcomes(rule + other, values, change: change, to: worded) == plain, "change at \(change)")
        }
    }

    @Test func aChangedRuleStartsFreshAndARemovedOneIsSilent() throws {
        let rule = "[[rule]]\nname = \"r\"\nmetric = \"value\"\nwhen = \"> 5\"\n"
        #expect(try outcomes(rule, [6, 6, 6], change: nil, to: "") == ["0 r breached"])
        let changed = rule.replacing("> 5", with: "> 4")
        #expect(try outcomes(rule, [6, 6, 6], change: 1, to: changed) == ["0 r breached", "1 r breached"])
        #expect(try outcomes(rule, [6, 1, 6], change: 1, to: "") == ["0 r breached"])
    }

    @Test func silenceOfANamedDeviceIsWatchedFromTheChangeOnAndGoesOnAfterwards() throws {
        var evaluator = RuleEvaluator(rules: [])
        let quiet = try rules("[[rule]]\nname = \"q\"\ndevice = \"oven-1\"\nwhen = \"silent\"\nfor = \"10s\"\n")
        evaluator.replaceRules(quiet, at: instant(5)) { _ in nil }
        #expect(evaluator.nextDeadline == instant(15))
        evaluator.replaceRules(quiet, at: instant(12)) { _ in nil }
        #expect(evaluator.timeReached(instant(14)).isEmpty)
        #expect(evaluator.timeReached(instant(15)).map(\.kind) == [.breached])
    }

    @Test func aNewExpressionMayReadWhatIsKnown() throws {
        let one = "[[rule]]\nname = \"one\"\ndevice = \"oven-1\"\nexpression = \"[a] > 5 and [b] > 5\"\n"
        let two = "[[rule]]\nname = \"two\"\ndevice = \"oven-1\"\nexpression = \"[a] > 4 and [b] > 4\"\n"
        var evaluator = RuleEvaluator(rules: try rules(one))
        _ = evaluator.observed(device: device, metric: "a", value: 5, at: instant(1))
        evaluator.replaceRules(try rules(one + two), at: instant(2)) { _ in nil }
        let found = evaluator.observed(device: device, metric: "b", value: 5, at: instant(3))
        #expect(found.map { evaluator.rules[$0.rule].name } == ["two"])
    }
}
