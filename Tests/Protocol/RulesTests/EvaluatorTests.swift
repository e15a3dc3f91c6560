import Primitives
import Rules
import Testing

/// One input to an evaluator and what it must answer.
private enum Step {
    /// A value at a second, and the outcome.
    case value(Double, at: Double, RuleOutcome.Kind? = nil)
    case text(at: Double, RuleOutcome.Kind? = nil)
    case time(Double, RuleOutcome.Kind? = nil)
}

private struct Script: CustomTestStringConvertible {
    let claim: String
    let condition: Condition
    var holdSeconds = 0.0
    var hysteresis = 0.0
    let steps: [Step]

    var testDescription: String { claim }
}

private func instant(_ seconds: Double) -> MonotonicInstant {
    MonotonicInstant(nanoseconds: Int64((seconds * 1e9).rounded()))
}

@Suite("The rule evaluator")
struct EvaluatorTests {
    private static let scripts: [Script] = [
        Script(
            claim: "exactly at the limit is not above it", condition: .above(70),
            steps: [.value(70, at: 1), .value(70.0001, at: 2, .breached), .value(70, at: 3, .recovered)]),
        Script(
            claim: "exactly at the limit is at least it", condition: .atLeast(70),
            steps: [.value(69.9, at: 1), .value(70, at: 2, .breached), .value(69.9, at: 3, .recovered)]),
        Script(
            claim: "below and at most are the mirror", condition: .below(5),
            steps: [.value(5, at: 1), .value(4.9, at: 2, .breached), .value(5, at: 3, .recovered)]),
        Script(
            claim: "at most fires at its limit", condition: .atMost(5),
            steps: [.value(5.1, at: 1), .value(5, at: 2, .breached), .value(5.1, at: 3, .recovered)]),
        Script(
            claim: "equal and back", condition: .equal(1),
            steps: [.value(0, at: 1), .value(1, at: 2, .breached), .value(2, at: 3, .recovered)]),
        Script(
            claim: "not equal and back", condition: .notEqual(1),
            steps: [.value(1, at: 1), .value(2, at: 2, .breached), .value(1, at: 3, .recovered)]),
        Script(
            claim: "the ends of a band are inside", condition: .inside(2...8),
            steps: [.value(1.9, at: 1), .value(2, at: 2, .breached), .value(8, at: 3), .value(8.1, at: 4, .recovered)]),
        Script(
            claim: "the ends of a band are not outside", condition: .outside(2...8),
            steps: [.value(2, at: 1), .value(8, at: 2), .value(8.1, at: 3, .breached), .value(8, at: 4, .recovered)]),
        Script(
            claim: "a breach is said once", condition: .above(70),
            steps: [.value(71, at: 1, .breached), .value(72, at: 2), .value(73, at: 3)]),
        Script(
            claim: "within the hysteresis the fault stays", condition: .above(70), hysteresis: 5,
            steps: [
                .value(71, at: 1, .breached), .value(66, at: 2), .value(65.001, at: 3), .value(65, at: 4, .recovered),
                .value(66, at: 5), .value(70.5, at: 6, .breached),
            ]),
        Script(
            claim: "at least clears below the moved limit", condition: .atLeast(70), hysteresis: 5,
            steps: [.value(70, at: 1, .breached), .value(65, at: 2), .value(64.999, at: 3, .recovered)]),
        Script(
            claim: "below with hysteresis clears at the moved limit", condition: .below(5), hysteresis: 1,
            steps: [.value(4, at: 1, .breached), .value(5.999, at: 2), .value(6, at: 3, .recovered)]),
        Script(
            claim: "outside with hysteresis clears well inside", condition: .outside(2...8), hysteresis: 1,
            steps: [
                .value(9, at: 1, .breached), .value(7.5, at: 2), .value(7, at: 3, .recovered),
                .value(1, at: 4, .breached), .value(2.5, at: 5), .value(3, at: 6, .recovered),
            ]),
        Script(
            claim: "inside with hysteresis clears well outside", condition: .inside(2...8), hysteresis: 1,
            steps: [.value(5, at: 1, .breached), .value(9, at: 2), .value(9.1, at: 3, .recovered)]),
        Script(
            claim: "exactly at the for-duration fires", condition: .above(70), holdSeconds: 10,
            steps: [.value(71, at: 100), .value(71, at: 109.999), .value(71, at: 110, .breached)]),
        Script(
            claim: "the for-duration runs out without another value", condition: .above(70), holdSeconds: 10,
            steps: [
                .value(71, at: 100), .time(109.999), .time(110, .breached), .time(200), .value(60, at: 201, .recovered),
            ]),
        Script(
            claim: "one good value starts the for-duration anew", condition: .above(70), holdSeconds: 10,
            steps: [
                .value(71, at: 100), .value(70, at: 105), .value(71, at: 106), .value(71, at: 115.9), .time(115.9),
                .value(71, at: 116, .breached),
            ]),
        Script(
            claim: "a value within the hysteresis does not hold a pending breach", condition: .above(70),
            holdSeconds: 10, hysteresis: 5, steps: [.value(71, at: 100), .value(69, at: 105), .time(111)]),
        Script(
            claim: "NaN and infinities neither breach nor clear", condition: .above(70),
            steps: [
                .value(.nan, at: 1), .value(.infinity, at: 2), .value(71, at: 3, .breached), .value(.nan, at: 4),
                .value(-.infinity, at: 5), .value(70, at: 6, .recovered),
            ]),
        Script(
            claim: "NaN does not end a pending breach", condition: .above(70), holdSeconds: 10,
            steps: [.value(71, at: 100), .value(.nan, at: 105), .value(71, at: 110, .breached)]),
        Script(
            claim: "an older value is left out", condition: .above(70),
            steps: [
                .value(60, at: 10), .value(71, at: 9), .value(71, at: 11, .breached), .value(60, at: 5),
                .value(60, at: 11.5, .recovered), .value(99, at: 11.4),
            ]),
        Script(
            claim: "two values at one instant both count", condition: .above(70),
            steps: [.value(71, at: 10, .breached), .value(60, at: 10, .recovered), .value(71, at: 10, .breached)]),
        Script(
            claim: "duplicate instants do not stretch the for-duration", condition: .above(70), holdSeconds: 10,
            steps: [.value(71, at: 10), .value(71, at: 10), .value(71, at: 20, .breached), .value(71, at: 20)]),
        Script(
            claim: "a text decides nothing about a limit", condition: .above(70),
            steps: [.value(71, at: 1, .breached), .text(at: 2), .value(60, at: 3, .recovered)]),
        Script(
            claim: "silence fires exactly at its time and ends with the next value", condition: .silent,
            holdSeconds: 30,
            steps: [
                .value(1, at: 100), .time(129.999), .time(130, .breached), .time(500), .value(1, at: 501, .recovered),
                .time(531, .breached),
            ]),
        Script(
            claim: "every value starts silence anew", condition: .silent, holdSeconds: 30,
            steps: [.value(1, at: 100), .value(1, at: 120), .time(130), .time(149.9), .time(150, .breached)]),
        Script(
            claim: "a text ends silence too", condition: .silent, holdSeconds: 30,
            steps: [.value(1, at: 100), .time(130, .breached), .text(at: 131, .recovered)]),
        Script(
            claim: "an old value does not end silence", condition: .silent, holdSeconds: 30,
            steps: [.value(1, at: 100), .time(130, .breached), .value(1, at: 99), .value(1, at: 140, .recovered)]),
    ]

    private let device = DeviceID("d")

    @Test(arguments: scripts) fileprivate func behaves(_ script: Script) throws {
        let device = try #require(device)
        let rule = try Rule(
            name: "r", metric: "m", condition: script.condition, holdTime: .seconds(script.holdSeconds),
            hysteresis: script.hysteresis)
        var evaluator = RuleEvaluator(rules: [rule])
        // The same script, with the state carried through bytes after every step.
        var restored = RuleEvaluator(rules: [rule])
        for (index, step) in script.steps.enumerated() {
            let (outcomes, expected) = apply(step, to: &evaluator, device)
            #expect(outcomes.map(\.kind) == (expected.map { [$0] } ?? []), "step \(index)")
            #expect(outcomes.allSatisfy { $0.device == device && $0.rule == 0 })
            #expect(apply(step, to: &restored, device).outcomes == outcomes, "step \(index), restored")
            guard script.carriesOldTimes == false else { continue }
            let bytes = restored.snapshot(at: instant(0))
            restored = RuleEvaluator(rules: [rule])
            let isRestored = restored.restore(bytes, at: instant(0))
            #expect(isRestored)
        }
    }

    private func apply(
        _ step: Step, to evaluator: inout RuleEvaluator, _ device: DeviceID
    ) -> (outcomes: [RuleOutcome], expected: RuleOutcome.Kind?) {
        switch step {
        case .value(let value, let seconds, let expected):
            (evaluator.observed(device: device, metric: "m", value: value, at: instant(seconds)), expected)
        case .text(let seconds, let expected):
            (evaluator.heard(device: device, metric: "m", at: instant(seconds)), expected)
        case .time(let seconds, let expected):
            (evaluator.timeReached(instant(seconds)), expected)
        }
    }

    @Test func theDeadlineNeverLiesBehindWhatIsDue() throws {
        let device = try #require(device)
        let rules = [
            try Rule(name: "hot", metric: "m", condition: .above(50), holdTime: .seconds(7)),
            try Rule(name: "quiet", metric: nil, condition: .silent, holdTime: .seconds(20)),
        ]
        for seed in UInt64(0)..<200 {
            var random = SeededRandom(seed: seed)
            var timed = RuleEvaluator(rules: rules)
            var polled = RuleEvaluator(rules: rules)
            var fromTimer: [RuleOutcome] = []
            var fromPolling: [RuleOutcome] = []
            var next = 0
            for second in 0..<200 {
                if second == next {
                    next += Int.random(in: 1...30, using: &random)
                    let value = Double.random(in: 0...100, using: &random)
                    fromTimer += timed.observed(device: device, metric: "m", value: value, at: instant(Double(second)))
                    fromPolling += polled.observed(
                        device: device, metric: "m", value: value, at: instant(Double(second)))
                }
                fromPolling += polled.timeReached(instant(Double(second)))
                // The shell's way: only when the deadline says so.
                if let deadline = timed.nextDeadline, deadline <= instant(Double(second)) {
                    fromTimer += timed.timeReached(instant(Double(second)))
                }
            }
            #expect(fromTimer == fromPolling, "seed \(seed)")
            #expect(!fromTimer.isEmpty, "seed \(seed)")
        }
    }

    @Test func rulesSeeOnlyTheirDeviceAndMetric() throws {
        let wanted = try #require(DeviceID("a"))
        let other = try #require(DeviceID("b"))
        let rules = [
            try Rule(name: "one", device: .one(wanted), metric: "m", condition: .above(1)),
            try Rule(name: "any", metric: "m", condition: .above(2)),
            try Rule(name: "else", metric: "n", condition: .above(0)),
        ]
        var evaluator = RuleEvaluator(rules: rules)
        let ofOther = evaluator.observed(device: other, metric: "m", value: 5, at: instant(1))
        #expect(ofOther.map(\.rule) == [1])
        let ofWanted = evaluator.observed(device: wanted, metric: "m", value: 5, at: instant(1))
        #expect(ofWanted.map(\.rule) == [0, 1])
        let ofNoMetric = evaluator.observed(device: wanted, metric: "x", value: 5, at: instant(1))
        #expect(ofNoMetric.isEmpty)
        #expect(evaluator.isBreached(rule: "one", device: wanted) && !evaluator.isBreached(rule: "one", device: other))
    }

    @Test func aNamedDeviceThatNeverSpokeIsSilent() throws {
        let device = try #require(device)
        let rule = try Rule(name: "quiet", device: .one(device), metric: nil, condition: .silent, holdTime: .seconds(5))
        var evaluator = RuleEvaluator(rules: [rule])
        evaluator.begin(at: instant(100))
        #expect(evaluator.nextDeadline == instant(105))
        let silence = evaluator.timeReached(instant(105))
        #expect(silence.map(\.kind) == [.breached])
        #expect(
            evaluator.observed(device: device, metric: "whatever", value: 1, at: instant(106)).map(\.kind) == [
                .recovered
            ])
    }

    @Test func fullIsSaidOnceForARuleAndWatchedDevicesGoOn() throws {
        let rule = try Rule(name: "r", metric: "m", condition: .above(1))
        var evaluator = RuleEvaluator(rules: [rule], statesMax: 2)
        let devices = try ["a", "b", "c", "d"].map { try #require(DeviceID($0)) }
        let kinds = devices.map { evaluator.observed(device: $0, metric: "m", value: 5, at: instant(1)).map(\.kind) }
        #expect(kinds == [[.breached], [.breached], [.full], []])
        #expect(evaluator.unwatchedCount == 2)
        #expect(
            evaluator.observed(device: devices[0], metric: "m", value: 0, at: instant(2)).map(\.kind) == [.recovered])
    }

    @Test func anOutcomeCarriesValueAndTime() throws {
        let device = try #require(device)
        let rule = try Rule(name: "r", metric: "m", condition: .above(1), holdTime: .seconds(3))
        var evaluator = RuleEvaluator(rules: [rule])
        let first = evaluator.observed(device: device, metric: "m", value: 5, at: instant(1))
        #expect(first.isEmpty)
        let second = evaluator.observed(device: device, metric: "m", value: 6, at: instant(2))
        #expect(second.isEmpty)
        let fired = evaluator.timeReached(instant(9))
        #expect(fired.map(\.value) == [6] && fired.map(\.at) == [instant(9)])
    }
}

extension Script {
    /// Clear states are not kept, so what they know of the last time is lost with a restart.
    fileprivate var carriesOldTimes: Bool { claim == "an older value is left out" }
}

@Suite("Snapshots of rules")
struct SnapshotTests {
    private func rule(_ name: String, limit: Double = 70, message: String = "m") throws -> Rule {
        try Rule(
            name: name, metric: "m", condition: .above(limit), holdTime: .seconds(10),
            message: try MessageTemplate(parsing: message))
    }

    @Test func aChangedRuleStartsFreshAndOthersGoOn() throws {
        let device = try #require(DeviceID("d"))
        var before = RuleEvaluator(rules: [try rule("a"), try rule("b"), try rule("c")])
        _ = before.observed(device: device, metric: "m", value: 80, at: instant(0))
        _ = before.timeReached(instant(10))
        let bytes = before.snapshot(at: instant(10))
        // b decides otherwise, c is gone, a only says it in other words.
        var after = RuleEvaluator(rules: [try rule("b", limit: 75), try rule("a", message: "other words")])
        let isRestored = after.restore(bytes, at: instant(0))
        #expect(isRestored)
        #expect(after.isBreached(rule: "a", device: device))
        #expect(!after.isBreached(rule: "b", device: device))
    }

    @Test func timeSpentOffDoesNotCountAndTimeSpentWaitingDoes() throws {
        let device = try #require(DeviceID("d"))
        var before = RuleEvaluator(rules: [try rule("a")])
        _ = before.observed(device: device, metric: "m", value: 80, at: instant(1000))
        let bytes = before.snapshot(at: instant(1004))
        var after = RuleEvaluator(rules: [try rule("a")])
        // The monotonic clock started anew: it is two seconds after boot.
        let isRestored = after.restore(bytes, at: instant(2))
        #expect(isRestored)
        #expect(after.nextDeadline == instant(8))
        let early = after.timeReached(instant(7.999))
        #expect(early.isEmpty)
        let due = after.timeReached(instant(8))
        #expect(due.map(\.kind) == [.breached])
    }

    @Test func brokenBytesAreRefusedAndChangeNothing() throws {
        let device = try #require(DeviceID("d"))
        var before = RuleEvaluator(rules: [try rule("a")])
        _ = before.observed(device: device, metric: "m", value: 80, at: instant(0))
        let bytes = before.snapshot(at: instant(1))
        for cut in 0..<bytes.count {
            var after = RuleEvaluator(rules: [try rule("a")])
            let isRestored = after.restore(Array(bytes[..<cut]), at: instant(0))
            #expect(!isRestored, "cut at \(cut)")
            #expect(after.nextDeadline == nil)
        }
        for seed in UInt64(0)..<2000 {
            var random = SeededRandom(seed: seed)
            var broken = bytes
            broken[Int.random(in: 0..<broken.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            var after = RuleEvaluator(rules: [try rule("a")])
            if after.restore(broken, at: instant(0)) { _ = after.timeReached(MonotonicInstant(nanoseconds: .max)) }
        }
    }

    @Test func theRevisionMovesWithWhatMustBeKeptOnly() throws {
        let device = try #require(DeviceID("d"))
        var evaluator = RuleEvaluator(rules: [try Rule(name: "a", metric: "m", condition: .above(70))])
        let start = evaluator.revision
        for second in 0..<10 {
            _ = evaluator.observed(device: device, metric: "m", value: 60, at: instant(Double(second)))
        }
        #expect(evaluator.revision == start)
        _ = evaluator.observed(device: device, metric: "m", value: 71, at: instant(20))
        #expect(evaluator.revision != start)
    }
}
