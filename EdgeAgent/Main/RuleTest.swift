import AgentConfig
import ConfigText
import Glibc
import Primitives
import RuleTrial
import Rules
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

            Readings are JSON lines (records, batches, or what 'cloud-hub monitor' prints) or CSV with the columns time,
            device, metric and value. Exit status 1: a case failed.
            """,
        operand: Verb.Option(name: "file", placeholder: "file", help: "the rules (TOML)", isRequired: true),
        options: [
            Verb.Option(name: "readings", placeholder: "file", help: "recorded readings, .csv or JSON lines"),
            Verb.Option(name: "rule", placeholder: "name", help: "only this rule"),
        ], run: run)

    private static func run(_ options: OptionValues) throws(ExitStatus) {
        let path = options.required("file")
        var (rules, cases) = try load(path)
        if let name = options["rule"] {
            rules.removeAll { $0.name != name }
            cases.removeAll { $0.rule.name != name }
            if rules.isEmpty { throw options.wrong("\(path) has no rule \(name)") }
        }
        let isGood = runCases(cases)
        if let readings = options["readings"] {
            try replay(rules, readings)
        } else if cases.isEmpty {
            Terminal.error("edge-agent: \(path) has no [[rule.case]]; write one, or give --readings")
            throw .failed
        }
        if !isGood { throw .failed }
    }

    private static func load(_ path: String) throws(ExitStatus) -> (rules: [Rule], cases: [RuleCase]) {
        do throws(FileProblem) {
            let text = try TextFile.read(path)
            do throws(ConfigError) {
                return try AgentConfig.rulesAndCases(toml: text)
            } catch {
                for problem in error.problems { Terminal.error("\(path): \(problem)") }
            }
        } catch {
            Terminal.error("edge-agent: the rules cannot be read: \(error)")
        }
        throw .failed
    }

    private static func runCases(_ cases: [RuleCase]) -> Bool {
        var failedCount = 0
        for example in cases {
            let differences = example.differences { WallClock.offset(in: $0, at: $1) }
            Terminal.line("\(differences.isEmpty ? "ok    " : "FAILED")  \(example.rule.name): \(example.name)")
            guard !differences.isEmpty else { continue }
            failedCount += 1
            Terminal.line("          - expected, + happened")
            for line in differences { Terminal.line("          \(line)") }
        }
        if !cases.isEmpty { Terminal.line("\(cases.count) cases, \(failedCount) failed") }
        return failedCount == 0
    }

    private static func replay(_ rules: [Rule], _ path: String) throws(ExitStatus) {
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
        var trial = RuleTrial(rules: rules, start: first) { WallClock.offset(in: $0, at: $1) }
        var count = 0
        for entry in recorded.entries {
            let events = trial.take(entry.device, entry.metric, entry.value.double, at: entry.time - first)
            show(events, from: first)
            count += events.count
        }
        Terminal.line(
            "\(recorded.entries.count) readings from \(first) to \(last): \(count) events of \(rules.count) rules")
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
