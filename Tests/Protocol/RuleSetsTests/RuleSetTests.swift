import ConfigText
import JSON
import Primitives
import RuleSets
import Rules
import Telemetry
import Testing

@Suite struct RuleSetTests {
    private static let good = """
        [[rule]]
        name = "overheat"
        metric = "temperature"
        when = "> 70"
        then = [{ write = "meter-1", register = "relay", value = true }]

        [[rule.case]]
        name = "a degree too much"
        input = ["0s 70", "1s 71"]
        expect = ["1s raised"]
        """

    private func problems(_ text: String) -> [String] {
        do throws(ConfigError) {
            _ = try RuleSet(bytes: Array(text.utf8))
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func aSetHasRulesWithTheirActionsAndCases() throws {
        let set = try RuleSet(bytes: Array(Self.good.utf8))
        #expect(set.rules.map(\.rule.name) == ["overheat"] && set.cases.count == 1)
        let meter = try #require(DeviceID("meter-1"))
        #expect(set.rules[0].whenRaised == [.write(device: meter, register: "relay", value: .boolean(true))])
        #expect(set.failedCases { _, _ in 0 }.isEmpty)
    }

    @Test(arguments: [
        ("", "the set has no [[rule]]"),
        ("[hub]\nhost = \"x\"\n" + good, "hub: is not a known key"),
        (good.replacing("> 70", with: "above"), "rule[1].when"),
        (good.replacing("[[rule.case]]", with: "replaceable = true\n[[rule.case]]"), "rule[1].replaceable"),
        (good + "\n" + good, "the name 'overheat' is given to two rules"),
        (good.replacing("\"overheat\"", with: "\"no-answer\""), "is the name of a built-in rule"),
        (good.replacing("1s raised", with: "one raised"), "rule[1].case[1].expect"),
        ("rule = 5", "expected at most 1000 tables"),
        ("[[rule]\n", "line 1"),
    ])
    func whatIsWrongIsSaid(text: String, problem: String) {
        let found = problems(text)
        #expect(found.contains { $0.contains(problem) }, "\(found)")
    }

    @Test func allIsSaidAtOnce() {
        let text = Self.good.replacing("> 70", with: "above") + "\n[[rule]]\nname = \"b\"\n[extra]\n"
        #expect(problems(text).count >= 3)
    }

    @Test func aTextHasALimitAndIsText() {
        let long = "#" + String(repeating: "x", count: RuleSet.bytesMax)
        #expect(problems(long).first?.contains("at most 262144 are allowed") == true)
        #expect(throws: ConfigError.self) { try RuleSet(bytes: [0xC0, 0x80]) }
    }

    @Test func aCaseThatFailsIsAProblemUnlessItIsLeftOut() throws {
        let set = try RuleSet(bytes: Array(Self.good.replacing("1s raised", with: "2s raised").utf8))
        let failed = set.failedCases { _, _ in 0 }
        #expect(
            failed.map(\.description) == [
                "rule[1].case = \"a degree too much\" of overheat: failed (- expected, + happened): - 2s raised, "
                    + "+ 1s raised  (value 71)"
            ])
        #expect(set.failedCases(leavingOut: { _ in true }) { _, _ in 0 }.isEmpty)
    }
}

@Suite struct RuleSetWishTests {
    private static let hash = String(repeating: "0f", count: 32)
    private static let reference = RuleSetReference(version: "7", address: "/a", sha256: hash)

    @Test func theWishIsWhatTheReferenceSays() {
        #expect(RuleSetWish(Self.reference.json) == .set(Self.reference))
        #expect(RuleSetWish(nil) == .none && RuleSetWish(.null) == .none)
        let upper: JSONValue = ["version": "7", "url": "/a", "sha256": .string(Self.hash.uppercased()), "more": 1]
        #expect(RuleSetWish(upper) == .set(Self.reference))
    }

    @Test(
        arguments: [
            ("text", 1), (["version": "7"], 2), ([:], 3),
            (["version": "a b", "url": "/a", "sha256": .string(hash)], 1),
            (["version": "7", "url": "http://a/b", "sha256": .string(hash)], 1),
            (["version": "7", "url": "/a b", "sha256": .string(hash)], 1),
            (["version": "7", "url": "/a\r\nX: y", "sha256": .string(hash)], 1),
            (["version": "7", "url": .string("/" + String(repeating: "a", count: 1024)), "sha256": .string(hash)], 1),
            (["version": "7", "url": "/a", "sha256": "0f0f"], 1),
            (["version": "7", "url": "/a", "sha256": .string(String(repeating: "0g", count: 32))], 1),
            (["version": 7, "url": "/a", "sha256": .string(hash)], 1),
        ] as [(JSONValue, Int)])
    func whatCannotBeMeantIsSaid(value: JSONValue, count: Int) {
        guard case .unreadable(_, let problems) = RuleSetWish(value) else {
            Issue.record("\(value.text) was taken")
            return
        }
        #expect(problems.count == count, "\(problems)")
    }

    @Test func aReportIsReadBackAsItWasSaid() {
        let running = RuleSetReport.Running(
            version: "6", sha256: Self.hash, since: WallInstant(milliseconds: 1_700_000_000_000), ruleCount: 3)
        let refused = RuleSetReport.Refusal(
            version: "7", sha256: Self.hash, problems: (1...12).map { "problem \($0)" }, willRetry: true)
        for report in [
            RuleSetReport(), RuleSetReport(running: running), RuleSetReport(refused: refused),
            RuleSetReport(running: running, refused: refused),
        ] {
            #expect(RuleSetReport(report.json) == report)
        }
        #expect(refused.problems.count == RuleSetReport.problemsMax && refused.moreCount == 2)
        #expect(RuleSetReport("nonsense") == RuleSetReport() && RuleSetReport(nil) == RuleSetReport())
    }
}
