public import ConfigText
public import Primitives
public import Rules
public import Telemetry

/// An example that stands beside a rule: what comes in when, and what must come out of it.
public struct RuleCase: Sendable, Equatable {
    /// Lines of input and of expectation in one case.
    public static let linesMax = 1000
    /// Longest time that a case runs.
    public static let lengthMax = Duration.seconds(90 * 86_400)
    /// Who speaks when the rule is for any device and the line names none.
    public static let anyDevice = "device-1"

    /// One value at a time after the beginning.
    public struct Input: Sendable, Equatable {
        public let at: Duration
        public let device: DeviceID
        public let metric: String
        /// A text is heard, and is no number.
        public let value: ReadingValue
    }

    public let rule: Rule
    public let name: String
    /// Rising times.
    public let inputs: [Input]
    /// `10s raised`, `1m cleared door-1`, in order; all that happens.
    public let expected: [String]
    /// When the case ends.
    public let length: Duration
    /// The wall clock at its beginning; `nil` while nobody knows the time.
    public let start: WallInstant?

    /// Reads the `[[rule.case]]` tables of a rule's table: `name`, `input`, `expect`, `until`, `start`. Problems are noted in
    /// the section. The tables are known then, also where nobody runs them.
    public static func read(_ section: ConfigSection, of rule: Rule?) -> [RuleCase] {
        section.sections("case", countMax: 100).compactMap { table in
            let name = table.requiredText("name", expected: "what the case shows")
            let lines = table.texts("input", default: [], countMax: linesMax)
            let expected = table.texts("expect", default: [], countMax: linesMax)
            let until = table.duration("until", default: .zero, in: .zero...lengthMax)
            let start = table.optional("start", expected: "a time such as \"2026-11-16T07:59:00Z\"") { (text: String) in
                WallInstant(text)
            }
            let checked = expected.compactMap { expectation($0, table) }
            guard let rule else { return nil }
            let inputs = read(lines, table, rule)
            guard let name else { return nil }
            return RuleCase(
                rule: rule, name: name, inputs: inputs, expected: checked,
                length: max(until, inputs.last?.at ?? .zero), start: start)
        }
    }

    /// `10s 71.5`, `10s [door-1/open] 1`, `10s open false`.
    private static func read(_ lines: [String], _ table: ConfigSection, _ rule: Rule) -> [Input] {
        var last = Duration.zero
        var inputs: [Input] = []
        for line in lines {
            guard let input = input(line, rule) else {
                table.problem(
                    "input",
                    expected:
                        "\"\(line.prefix(60))\": write \"10s 71.5\", \"10s metric 71.5\" or \"10s device/metric 71.5\"")
                continue
            }
            if input.at < last {
                table.problem("input", expected: "\"\(line.prefix(60))\" is earlier than the line before it")
            }
            last = max(last, input.at)
            inputs.append(input)
        }
        return inputs
    }

    private static func input(_ line: String, _ rule: Rule) -> Input? {
        let words = line.split(separator: " ").map(String.init)
        guard (2...3).contains(words.count), let at = DurationText.parse(words[0]), at <= lengthMax else { return nil }
        var device = rule.ownDevice ?? DeviceID(anyDevice)
        var metric = rule.metric
        if words.count == 3 {
            let parts = words[1].split(separator: "/", maxSplits: 1).map(String.init)
            if parts.count == 2 { device = DeviceID(parts[0]) }
            metric = parts.last
        }
        // Silence is ended by any metric.
        guard let device, let metric = metric ?? (words.count == 2 ? "value" : nil) else { return nil }
        return Input(at: at, device: device, metric: metric, value: RecordedReadings.value(words[words.count - 1]))
    }

    private static func expectation(_ line: String, _ table: ConfigSection) -> String? {
        let words = line.split(separator: " ").map(String.init)
        guard (2...3).contains(words.count), let at = DurationText.parse(words[0]),
            ["raised", "cleared"].contains(words[1])
        else {
            table.problem(
                "expect",
                expected: "\"\(line.prefix(60))\": write \"10s raised\", \"1m cleared\" or \"10s raised device\"")
            return nil
        }
        return ([DurationText.format(at)] + words.dropFirst()).joined(separator: " ")
    }

    /// Runs it on a clock of its own.
    ///
    /// - Returns: what is different, a line each, `-` for what was expected and did not come, `+` for what came and was not
    ///   expected; empty when the rule does as the case says.
    public func differences(_ zoneOffset: (Schedule.Zone, WallInstant) -> Int) -> [String] {
        var trial = RuleTrial(rules: [rule], start: start, zoneOffset: zoneOffset)
        return differences(in: &trial)
    }

    /// Runs it on a trial that has its rule alone and begins at its start.
    public func differences(in trial: inout some Trial) -> [String] {
        var found: [RuleTrial.Event] = []
        for input in inputs {
            let value = TrialValue(device: input.device, metric: input.metric, value: input.value)
            found += trial.take(value, at: input.at)
        }
        found += trial.run(to: length)
        let namesDevice = Set(found.map(\.device)).count > 1
        let happened = found.map { event in
            let time = DurationText.format(event.at)
            let isNamed = namesDevice || expected.contains { $0.hasSuffix(" \(event.device)") }
            return (text: "\(time) \(event.word)" + (isNamed ? " \(event.device)" : ""), event: event)
        }
        return Self.difference(expected, happened.map(\.text)) { index in
            let event = happened[index].event
            return event.value.map { "  (value \($0))" } ?? ""
        }
    }

    /// In the order of both lists, by their longest common part.
    private static func difference(
        _ expected: [String], _ found: [String], note: (Int) -> String
    ) -> [String] {
        let changes = found.difference(from: expected)
        guard !changes.isEmpty else { return [] }
        return changes.removals.map { change in
            if case .remove(_, let element, _) = change { "- \(element)" } else { "" }
        }
            + changes.insertions.map { change in
                if case .insert(let offset, let element, _) = change { "+ \(element)\(note(offset))" } else { "" }
            }
    }
}

extension Rule {
    var ownDevice: DeviceID? { if case .one(let device) = device { device } else { nil } }
}
