import Primitives
import Rules
import Testing

private func instant(_ seconds: Double) -> MonotonicInstant {
    MonotonicInstant(nanoseconds: Int64((seconds * 1e9).rounded()))
}

/// A signal, the condition that it is held against, and when the condition fires and ends.
private struct Course: CustomTestStringConvertible {
    let claim: String
    let condition: String
    var holdSeconds = 0.0
    var hysteresis = 0.0
    /// Seconds and value.
    let values: [(at: Double, value: Double)]
    /// Seconds and what happened, in order.
    let outcomes: [(at: Double, kind: RuleOutcome.Kind)]

    var testDescription: String { claim }

    /// A value every `step` seconds.
    static func series(from start: Double, step: Double = 1, _ values: [Double]) -> [(at: Double, value: Double)] {
        values.enumerated().map { (start + Double($0) * step, $1) }
    }
}

/// Conditions that need more than the value at hand.
@Suite struct MemoryConditionTests {
    private static let noise: [Double] = {
        var random = SeededRandom(seed: 7)
        return (0..<200).map { _ in 20 + Double.random(in: -0.5...0.5, using: &random) }
    }()

    private static let courses: [Course] = [
        Course(
            claim: "a rise counts over the whole window, not from value to value", condition: "rises 5 per 1m",
            values: Course.series(from: 0, step: 10, [10, 11, 12, 13, 14, 15, 15, 15, 15, 15, 15]),
            outcomes: [(50, .breached), (60, .recovered)]),
        Course(
            claim: "a slower rise never fires", condition: "rises 5 per 1m",
            values: Course.series(from: 0, step: 10, (0..<60).map { Double($0) * 0.8 }), outcomes: []),
        Course(
            claim: "a fall is no rise", condition: "rises 5 per 1m",
            values: Course.series(from: 0, step: 10, [50, 40, 30, 20]), outcomes: []),
        Course(
            claim: "falls looks down", condition: "falls 5 per 1m",
            values: Course.series(from: 0, step: 10, [50, 47, 45, 45]), outcomes: [(20, .breached)]),
        Course(
            claim: "changes looks both ways", condition: "changes 5 per 1m",
            values: [(0, 10), (10, 4), (100, 4), (170, 4), (240, 4), (250, 9)],
            outcomes: [(10, .breached), (100, .recovered), (250, .breached)]),
        Course(
            claim: "rarer than the window, the change since the last value is spread over the time between",
            condition: "rises 5 per 1m", values: [(0, 10), (600, 59), (1200, 110)], outcomes: [(1200, .breached)]),
        Course(
            claim: "hysteresis holds a change until it is well below", condition: "rises 5 per 10s", hysteresis: 2,
            values: [(0, 0), (1, 5), (20, 10), (26, 14), (40, 17.1), (46, 20)],
            outcomes: [(1, .breached), (20, .recovered)]),
        Course(
            claim: "stuck fires with the value that completes its time", condition: "stuck", holdSeconds: 30,
            values: Course.series(from: 0, step: 10, [5, 5, 5, 5, 5, 5.1, 5.1]),
            outcomes: [(30, .breached), (50, .recovered)]),
        Course(
            claim: "a value that moves within the tolerance stands still", condition: "stuck within 0.25",
            holdSeconds: 30, values: Course.series(from: 0, step: 10, [5, 5.25, 4.75, 5.1, 5.26, 5.3]),
            outcomes: [(30, .breached), (40, .recovered)]),
        Course(
            claim: "a slow drift out of the tolerance is movement", condition: "stuck within 0.2", holdSeconds: 30,
            values: Course.series(from: 0, step: 10, [5, 5.1, 5.2, 5.3, 5.4, 5.5, 5.6]), outcomes: []),
        Course(
            claim: "a sensor that says nothing is silent, not stuck", condition: "stuck", holdSeconds: 30,
            values: [(0, 5), (20, 6)], outcomes: []),
        Course(
            claim: "one value far from a noisy average deviates, and the average survives it",
            condition: "deviates 4 sigma over 1m",
            values: Course.series(from: 0, noise[..<100] + [30] + noise[100..<150]),
            outcomes: [(100, .breached), (101, .recovered)]),
        Course(
            claim: "noise alone does not deviate", condition: "deviates 4 sigma over 1m",
            values: Course.series(from: 0, noise), outcomes: []),
        Course(
            claim: "too few values judge nothing", condition: "deviates 3 sigma over 1m after 20",
            values: Course.series(from: 0, noise[..<19] + [90]), outcomes: []),
        Course(
            claim: "a constant signal does not fire on a grain of noise",
            condition: "deviates 3 sigma over 1m after 5",
            values: Course.series(from: 0, Array(repeating: 50, count: 40) + [50.01, 50, 49.95]), outcomes: []),
        Course(
            claim: "a floor of its own says how small is small", condition: "deviates 3 sigma over 1m floor 2 after 5",
            values: Course.series(from: 0, Array(repeating: 0, count: 40) + [5.9, 0, 6.5]), outcomes: [(42, .breached)]),
        Course(
            claim: "what never moved from zero has no measure", condition: "deviates 3 sigma over 1m after 5",
            values: Course.series(from: 0, Array(repeating: 0, count: 40) + [1000]), outcomes: []),
        Course(
            claim: "a lasting step becomes the new normal", condition: "deviates 3 sigma over 10s floor 1 after 5",
            values: Course.series(from: 0, Array(repeating: 10, count: 40) + Array(repeating: 20, count: 200)),
            outcomes: [(40, .breached), (46, .recovered)]),
    ]

    @Test(arguments: courses) fileprivate func firesAndEnds(_ course: Course) throws {
        let device = try #require(DeviceID("d"))
        let rule = try Rule(
            name: "r", metric: "m", condition: Condition(parsing: course.condition),
            holdTime: .seconds(course.holdSeconds), hysteresis: course.hysteresis)
        var evaluator = RuleEvaluator(rules: [rule])
        var found: [String] = []
        for entry in course.values {
            for outcome in evaluator.observed(device: device, metric: "m", value: entry.value, at: instant(entry.at)) {
                found.append("\(entry.at) \(outcome.kind)")
            }
        }
        #expect(found == course.outcomes.map { "\($0.at) \($0.kind)" })
    }

    /// The window that remembers single values, as a naive reader would write it.
    @Test func theSlicedWindowAgreesWithANaiveOne() throws {
        let device = try #require(DeviceID("d"))
        let rule = try Rule(name: "r", metric: "m", condition: .changing(.rises, by: 8, per: .seconds(16)))
        var fired = 0
        var wrong: [String] = []
        for seed in UInt64(0)..<100 {
            var random = SeededRandom(seed: seed)
            var evaluator = RuleEvaluator(rules: [rule])
            var seen: [(at: Double, value: Double)] = []
            var isOpen = false
            for _ in 0..<200 {
                let at = (seen.last?.at ?? 0) + Double.random(in: 0...2, using: &random)
                let value = Double.random(in: 0...10, using: &random)
                // In doubt between 15/16 and 16/16 of the window either answer is right.
                let sure = seen.filter { $0.at > at - 15 }.map { value - $0.value }.max() ?? 0
                let possible = seen.filter { $0.at > at - 16 }.map { value - $0.value }.max() ?? 0
                for outcome in evaluator.observed(device: device, metric: "m", value: value, at: instant(at)) {
                    isOpen = outcome.kind == .breached
                    fired += isOpen ? 1 : 0
                }
                let isWarm = at - (seen.first?.at ?? at) >= 16
                if sure >= 8 && !isOpen || possible < 8 && isWarm && isOpen { wrong.append("seed \(seed) at \(at)") }
                seen.append((at, value))
            }
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(3))")
        #expect(fired > 100)
    }

    /// What an open fault of each kind does after a restart, when the memory is gone.
    @Test func anOpenFaultOutlivesARestartUntilItIsKnownToBeOver() throws {
        let device = try #require(DeviceID("d"))
        let rows: [(condition: String, before: [(Double, Double)], stays: (Double, Double), ends: [(Double, Double)])] =
            [
                ("rises 5 per 1m", [(0, 0), (10, 9)], (20, 9), [(50, 9), (81, 9)]),
                ("stuck", [(0, 5), (40, 5)], (50, 5), [(60, 6)]),
                (
                    "deviates 3 sigma over 1m floor 1 after 3", [(0, 5), (1, 5), (2, 5), (3, 50)], (4, 50),
                    [(5, 50), (6, 50), (7, 50)]
                ),
            ]
        for row in rows {
            let condition = try Condition(parsing: row.condition)
            let rule = try Rule(
                name: "r", metric: "m", condition: condition,
                holdTime: condition == .stuck(tolerance: 0) ? .seconds(30) : .zero)
            var before = RuleEvaluator(rules: [rule])
            for (at, value) in row.before {
                _ = before.observed(device: device, metric: "m", value: value, at: instant(at))
            }
            #expect(before.isBreached(rule: "r", device: device), "\(row.condition)")
            var after = RuleEvaluator(rules: [rule])
            let isRestored = after.restore(before.snapshot(at: instant(0)), at: instant(0))
            #expect(isRestored)
            let first = after.observed(device: device, metric: "m", value: row.stays.1, at: instant(row.stays.0))
            #expect(first.isEmpty && after.isBreached(rule: "r", device: device), "\(row.condition)")
            var kinds: [RuleOutcome.Kind] = []
            for (at, value) in row.ends {
                kinds += after.observed(device: device, metric: "m", value: value, at: instant(at)).map(\.kind)
            }
            #expect(kinds == [.recovered], "\(row.condition)")
        }
    }
}
