import Expressions
import Primitives
import Rules
import Testing

/// Rules over several sensors.
@Suite struct ExpressionRuleTests {
    private func instant(_ seconds: Double) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64((seconds * 1e9).rounded()))
    }

    private func rule(
        _ text: String, clear: String? = nil, device: String? = nil, holdTime: Duration = .zero,
        inputAgeMax: Duration = .zero
    ) throws -> Rule {
        try Rule(
            name: "r", device: device.map { .one(try #require(DeviceID($0))) } ?? .any, metric: nil,
            condition: .expression(SignalExpression(parsing: text, as: .boolean)), holdTime: holdTime,
            clearCondition: clear.map { try SignalExpression(parsing: $0, as: .boolean) }, inputAgeMax: inputAgeMax)
    }

    /// `a/m=5` is a value, `a/m` something that is no number; the answer is `device kind`.
    private func take(_ input: String, at seconds: Double, _ evaluator: inout RuleEvaluator) throws -> [String] {
        let parts = input.split(separator: "=")
        let name = parts[0].split(separator: "/")
        let device = try #require(DeviceID(name[0]))
        let outcomes =
            if parts.count == 2 {
                evaluator.observed(
                    device: device, metric: String(name[1]), value: try #require(Double(parts[1])), at: instant(seconds)
                )
            } else {
                evaluator.heard(device: device, metric: String(name[1]), at: instant(seconds))
            }
        return outcomes.map { "\($0.device) \($0.kind)" }
    }

    private func script(_ rule: Rule, _ steps: [(String, [String])]) throws {
        var evaluator = RuleEvaluator(rules: [rule])
        for (second, step) in steps.enumerated() {
            let found = try take(step.0, at: Double(second), &evaluator)
            #expect(found == step.1, "step \(second), \(step.0)")
        }
    }

    @Test func anyOfItsInputsCanDecide() throws {
        try script(
            rule("temperature > 70 and [door/open] == 0", device: "oven"),
            [
                ("oven/temperature=80", []), ("door/open=0", ["oven breached"]), ("oven/temperature=90", []),
                ("door/open=1", ["oven recovered"]), ("door/open=0", ["oven breached"]),
                ("oven/temperature=60", ["oven recovered"]), ("other/temperature=99", []),
            ])
    }

    @Test func anyDeviceHasAStateOfItsOwnAndSharesTheOthers() throws {
        try script(
            rule("temperature - [outside/temperature] > 20"),
            [
                ("a/temperature=30", []), ("outside/temperature=5", ["a breached"]),
                ("b/temperature=26", ["b breached"]), ("c/temperature=24", []),
                ("outside/temperature=7", ["b recovered"]), ("outside/temperature=40", ["a recovered"]),
            ])
    }

    @Test func aConditionOfItsOwnEndsTheFault() throws {
        try script(
            rule("temperature > 70 and fan == 0", clear: "temperature < 65 or [door/open] == 1"),
            [
                ("a/fan=0", []), ("a/temperature=71", ["a breached"]), ("a/temperature=69", []), ("a/fan=1", []),
                ("a/temperature=66", []), ("a/temperature=64", ["a recovered"]), ("a/temperature=72", []),
                ("a/fan=0", ["a breached"]), ("a/temperature", []), ("door/open=0", []),
                ("door/open=1", ["a recovered"]), ("a/temperature=75", ["a breached"]),
                ("a/temperature=74", []), ("a/temperature=60", ["a recovered"]),
            ])
    }

    /// While both hold it is a fault, so that nothing flutters; and a restart goes on where it was.
    @Test func whatBeginsItWinsAndARestartKeepsIt() throws {
        let rule = try rule("m > 70", clear: "m < 80")
        var evaluator = RuleEvaluator(rules: [rule])
        #expect(try take("a/m=75", at: 1, &evaluator) == ["a breached"])
        #expect(try take("a/m=76", at: 2, &evaluator) == [])
        let bytes = evaluator.snapshot(at: instant(3))
        evaluator = RuleEvaluator(rules: [rule])
        var isRestored = evaluator.restore(bytes, at: instant(4))
        #expect(isRestored)
        #expect(try take("a/m=70", at: 5, &evaluator) == ["a recovered"])
        let other = try self.rule("m > 70", clear: "m < 60")
        evaluator = RuleEvaluator(rules: [other])
        isRestored = evaluator.restore(bytes, at: instant(4))
        #expect(isRestored)
        #expect(
            !evaluator.isBreached(rule: "r", device: try #require(DeviceID("a"))), "another definition, another state")
    }

    @Test func aMissingInputOpensNothingAndEndsNothing() throws {
        try script(
            rule("temperature > 70 and pressure > 2"),
            [
                ("a/temperature=80", []), ("a/pressure", []), ("a/pressure=3", ["a breached"]), ("a/pressure", []),
                ("a/temperature=90", []), ("a/temperature=60", ["a recovered"]), ("a/pressure=3", []),
            ])
    }

    @Test func anInputThatIsTooOldIsMissing() throws {
        let rule = try rule("temperature > 70 and pressure > 2", inputAgeMax: .seconds(10))
        var evaluator = RuleEvaluator(rules: [rule])
        #expect(try take("a/temperature=80", at: 0, &evaluator) == [])
        #expect(try take("a/pressure=3", at: 11, &evaluator) == [])
        #expect(try take("a/temperature=80", at: 12, &evaluator) == ["a breached"])
        #expect(try take("a/temperature=80", at: 30, &evaluator) == [])
        #expect(try take("a/pressure=1", at: 31, &evaluator) == ["a recovered"])
    }

    @Test func aPendingBreachEndsWhenAnInputGrowsTooOld() throws {
        let rule = try rule("temperature > 70", holdTime: .seconds(60), inputAgeMax: .seconds(10))
        var evaluator = RuleEvaluator(rules: [rule])
        #expect(try take("a/temperature=80", at: 0, &evaluator) == [])
        let late = evaluator.timeReached(instant(60))
        #expect(late.isEmpty)
        for second in 100...159 { #expect(try take("a/temperature=80", at: Double(second), &evaluator) == []) }
        let due = evaluator.timeReached(instant(160))
        #expect(due.map(\.kind) == [.breached] && due.map(\.value) == [nil])
    }

    @Test func anOlderInputIsLeftOutAndALateOneOfAnotherDeviceIsNot() throws {
        let rule = try rule("[a/m] > 1 and [b/m] > 1", device: "a")
        var evaluator = RuleEvaluator(rules: [rule])
        #expect(try take("a/m=5", at: 10, &evaluator) == [])
        #expect(try take("a/m=0", at: 9, &evaluator) == [])
        #expect(try take("b/m=5", at: 8, &evaluator) == ["a breached"])
    }

    @Test func anOpenFaultOutlivesARestartUntilItsInputsAreKnown() throws {
        let rule = try rule("temperature > 70 and pressure > 2")
        var before = RuleEvaluator(rules: [rule])
        _ = try take("a/temperature=80", at: 0, &before)
        #expect(try take("a/pressure=3", at: 1, &before) == ["a breached"])
        var after = RuleEvaluator(rules: [rule])
        let isRestored = after.restore(before.snapshot(at: instant(0)), at: instant(0))
        #expect(isRestored)
        #expect(try take("a/temperature=80", at: 2, &after) == [])
        #expect(try take("a/pressure=1", at: 3, &after) == ["a recovered"])
    }

    @Test func whatCannotBeARuleSaysWhy() throws {
        let expression = Condition.expression(try SignalExpression(parsing: "[a/m] > 1", as: .boolean))
        #expect(throws: RuleError.self) { try Rule(name: "r", metric: nil, condition: expression) }
        let own = Condition.expression(try SignalExpression(parsing: "m > 1", as: .boolean))
        #expect(throws: RuleError.self) { try Rule(name: "r", metric: "m", condition: own) }
        #expect(throws: RuleError.self) { try Rule(name: "r", metric: nil, condition: own, hysteresis: 1) }
        let rule = try Rule(name: "r", metric: nil, condition: own)
        let device = try #require(DeviceID("a"))
        #expect(rule.message.message(rule: rule, device: device, value: nil) == "r of a: m > 1")
    }

    @Test func fullIsSaidForExpressionsToo() throws {
        var evaluator = RuleEvaluator(rules: [try rule("m > 1 and n > 1")], statesMax: 1)
        _ = try take("a/m=5", at: 0, &evaluator)
        #expect(try take("b/m=5", at: 1, &evaluator) == ["b full"])
        #expect(try take("b/n=5", at: 2, &evaluator) == [])
        #expect(try take("a/n=5", at: 3, &evaluator) == ["a breached"])
    }
}
