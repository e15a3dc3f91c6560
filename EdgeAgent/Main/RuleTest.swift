import AgentConfig
import ConfigText
import Glibc
import Primitives
import RuleTrial
import Rules
import Signals
import Telemetry

/// `edge-agent rule test FILE`: the cases that stand beside the rules, and recorded readings.
enum RuleTest {
    static let verb = Verb(
        name: "rule test",
        abstract: "Run the cases written beside the rules of a file, and hold the rules against recorded readings.",
        discussion: """
            The file is a configuration, or one that has nothing but [[rule]]. A case:

              [[rule.case]]
              name = "a short peak is no fault"
              start = "2026-11-16T07:59:00Z"           # the wall clock, for schedules; left out, nobody knows the time
              input = ["0s 60", "10s 75", "15s 60", "1m [metric or device/metric] 75"]
              until = "10m"                            # left out: ends with the last input
              expect = ["2m raised", "5m cleared"]     # all that happens, in order

            [[signal]] tables of the file apply, as they do in the gateway: values of a case are as the sensor gives them,
            and rules see them converted and marked, with what windows and expressions make of them.

            Readings are JSON lines (records, batches, or what 'cloud-hub monitor' prints) or CSV with the columns time,
            device, metric, value and unit. Records that a gateway has sent (with seq) have been through [[signal]], and go
            to the rules as they are. Exit status 1: a case failed.
            """,
        operand: Verb.Option(name: "file", placeholder: "file", help: "the rules (TOML)", isRequired: true),
        options: [
            Verb.Option(name: "readings", placeholder: "file", help: "recorded readings, .csv or JSON lines"),
            Verb.Option(name: "rule", placeholder: "name", help: "only this rule"),
        ], run: run)

    private static func run(_ options: OptionValues) throws(ExitStatus) {
        let path = options.required("file")
        var loaded = try load(path)
        if let name = options["rule"] {
            loaded.rules.removeAll { $0.name != name }
            loaded.cases.removeAll { $0.rule.name != name }
            if loaded.rules.isEmpty { throw options.wrong("\(path) has no rule \(name)") }
        }
        let isGood = runCases(loaded)
        if let readings = options["readings"] {
            try replay(loaded, readings)
        } else if loaded.cases.isEmpty {
            Terminal.error("edge-agent: \(path) has no [[rule.case]]; write one, or give --readings")
            throw .failed
        }
        if !isGood { throw .failed }
    }

    /// What the file has for a trial.
    private struct Loaded {
        var rules: [Rule]
        var cases: [RuleCase]
        let signals: [SignalSettings]
    }

    private static func load(_ path: String) throws(ExitStatus) -> Loaded {
        let text: String
        do throws(FileProblem) {
            text = try TextFile.read(path)
        } catch {
            Terminal.error("edge-agent: the rules cannot be read: \(error)")
            throw .failed
        }
        let loaded: Loaded
        var problems: [String] = []
        do throws(ConfigError) {
            let (rules, cases) = try AgentConfig.rulesAndCases(toml: text)
            loaded = Loaded(rules: rules, cases: cases, signals: try AgentConfig.signals(toml: text))
            problems = SystemZones.problems(rules)
        } catch {
            for problem in error.problems { Terminal.error("\(path): \(problem)") }
            throw .failed
        }
        for problem in problems { Terminal.error("\(path): \(problem)") }
        guard problems.isEmpty else { throw .failed }
        return loaded
    }

    private static func runCases(_ loaded: Loaded) -> Bool {
        let cases = loaded.cases
        var failedCount = 0
        for example in cases {
            var trial = PipelineTrial(rules: [example.rule], signals: loaded.signals, start: example.start)
            let differences = example.differences(in: &trial)
            Terminal.line("\(differences.isEmpty ? "ok    " : "FAILED")  \(example.rule.name): \(example.name)")
            guard !differences.isEmpty else { continue }
            failedCount += 1
            Terminal.line("          - expected, + happened")
            for line in differences { Terminal.line("          \(line)") }
        }
        if !cases.isEmpty { Terminal.line("\(cases.count) cases, \(failedCount) failed") }
        return failedCount == 0
    }

    private static func replay(_ loaded: Loaded, _ path: String) throws(ExitStatus) {
        let text: String
        do throws(FileProblem) {
            text = try TextFile.read(path, bytesMax: readingsBytesMax)
        } catch {
            Terminal.error("edge-agent: the readings cannot be read: \(error)")
            throw .failed
        }
        let recorded = RecordedReadings(text: text, isCSV: path.hasSuffix(".csv"))
        guard let first = recorded.entries.first?.time, let last = recorded.entries.last?.time else {
            Terminal.error("edge-agent: \(path) holds no reading; see 'edge-agent rule test --help' for its form")
            throw .failed
        }
        let isThrough = recorded.recordCount > 0
        if isThrough, !loaded.signals.isEmpty {
            Terminal.line("\(path) holds what a gateway has sent: [[signal]] was applied there, and is not again")
        }
        var trial = PipelineTrial(rules: loaded.rules, signals: isThrough ? [] : loaded.signals, start: first)
        var count = 0
        for entry in recorded.entries {
            let value = TrialValue(
                device: entry.device, metric: entry.metric, value: entry.value, unit: entry.unit)
            let events = trial.take(value, at: entry.time - first)
            show(events, from: first)
            count += events.count
        }
        Terminal.line(
            "\(recorded.entries.count) readings from \(first) to \(last): \(count) events of \(loaded.rules.count) rules"
        )
        if let line = recorded.unreadable.first {
            Terminal.error("\(path): \(recorded.unreadable.count) lines hold no reading; the first is line \(line)")
        }
    }

    /// Readings are read whole: 256 MiB.
    private static let readingsBytesMax = 268_435_456

    private static func show(_ events: [RuleTrial.Event], from start: WallInstant) {
        for event in events {
            let value = event.value.map { "  value \($0)" } ?? ""
            let message = event.kind == .breached ? "  \(event.message)" : ""
            Terminal.line("\(start + event.at)  \(event.rule.name)  \(event.device)  \(event.word)\(value)\(message)")
        }
    }
}
