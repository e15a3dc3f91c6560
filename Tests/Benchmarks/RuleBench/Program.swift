import Expressions
import Glibc
import Primitives
import Rules
import Telemetry

/// Evaluations a second with a thousand rules, by kind; `rule-bench [SECONDS]`. One evaluation is one rule that has looked
/// at one value.
@main
struct Program {
    static let ruleCount = 1000

    static func main() throws {
        let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 1
        var kinds: [(name: String, rules: [Rule], rulesPerValue: Int)] = [
            ("threshold, one a value", try rules { try rule($0, .above(1000)) }, 1),
            ("threshold, ten a value", try rules { try rule($0, .above(1000), sensor: $0 / 10) }, 10),
            ("silence", try rules { try rule($0, .silent, holdTime: .seconds(3600)) }, 1),
            ("rate of change", try rules { try rule($0, .changing(.rises, by: 1000, per: .seconds(60))) }, 1),
            ("stuck", try rules { try rule($0, .stuck(tolerance: 0.01), holdTime: .seconds(3600)) }, 1),
            ("deviation", try rules { try rule($0, .deviating(.init(sigmas: 50, window: .seconds(600)))) }, 1),
        ]
        let mixed = kinds.map(\.rules)
        kinds.append(
            (
                "expression",
                try rules { index in
                    let text = "m > 1000 and [sensor-\((index + 1) % ruleCount)/m] < 5"
                    return try Rule(
                        name: "r\(index)", device: .one(device(index)), metric: nil,
                        condition: .expression(SignalExpression(parsing: text, as: .boolean)))
                }, 2
            ))
        let schedule = try Schedule(parsing: ["mon-fri 08:00-18:00"], zone: .offset(minutes: 0))
        kinds.append(("threshold, scheduled", try rules { try rule($0, .above(1000), schedule: schedule) }, 1))
        kinds.append(("all kinds mixed", (0..<ruleCount).map { mixed[$0 % mixed.count][$0] }, 1))
        for kind in kinds {
            let rate = measure(kind.rules, seconds: seconds) * Double(kind.rulesPerValue)
            print(
                "rules \(padded(kind.name, 24)) \(padded(grouped(rate), 12, isRight: true)) evaluations/s on one core "
                    + "with \(ruleCount) rules (budget 2,000,000)")
        }
    }

    private static func device(_ index: Int) -> DeviceID { DeviceID("sensor-\(index)").unsafelyUnwrapped }

    private static func rules(_ make: (Int) throws -> Rule) rethrows -> [Rule] { try (0..<ruleCount).map(make) }

    private static func rule(
        _ index: Int, _ condition: Condition, sensor: Int? = nil, holdTime: Duration = .zero, schedule: Schedule? = nil
    ) throws -> Rule {
        try Rule(
            name: "r\(index)", device: .one(device(sensor ?? index)), metric: "m", condition: condition,
            holdTime: holdTime, schedule: schedule)
    }

    /// Values a second, each of one of the thousand sensors.
    private static func measure(_ rules: [Rule], seconds: Double) -> Double {
        var evaluator = RuleEvaluator(rules: rules)
        evaluator.clockIs(
            RuleClock(wallOffset: 1_794_787_200_000, zoneOffsets: evaluator.zones.map { _ in 0 }),
            at: MonotonicInstant(nanoseconds: 0))
        let devices = Array(Set(rules.flatMap(\.devicesNamed))).sorted()
        var random = SeededRandom(seed: 1)
        let noise = (0..<4096).map { _ in Double.random(in: 0...10, using: &random) }
        var now: Int64 = 0
        var count = 0
        var found = 0
        var begin = clock()
        var elapsed = 0.0
        // The first round makes the states.
        for round in 0... {
            for (index, device) in devices.enumerated() {
                now += 1_000_000
                found +=
                    evaluator.observed(
                        device: device, metric: "m", value: noise[(index &+ round &* 31) & 4095],
                        at: MonotonicInstant(nanoseconds: now)
                    ).count
            }
            if round == 0 {
                begin = clock()
                continue
            }
            count += devices.count
            elapsed = Double(clock() - begin) / Double(CLOCKS_PER_SEC)
            if elapsed > seconds { break }
        }
        precondition(found == 0, "nothing is to fire here")
        return Double(count) / elapsed
    }

    private static func grouped(_ number: Double) -> String {
        var digits = String(Int(number))
        var text = ""
        while digits.count > 3 {
            text = "," + digits.suffix(3) + text
            digits.removeLast(3)
        }
        return digits + text
    }

    private static func padded(_ text: String, _ width: Int, isRight: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, width - text.count))
        return isRight ? space + text : text + space
    }
}
