import Actuation
import AgentConfig
import ConfigText
import Connectivity
import EdgeStore
import Glibc
import HubTransport
import Outbox
import Primitives
import Signals
import Telemetry
import Uplink

/// `edge-agent`: exit status 0 done, 1 the thing failed, 2 the call was wrong.
@main
enum EdgeAgentCommand {
    private static let config = Verb.Option(
        name: "config", placeholder: "file", help: "the configuration (TOML)", isRequired: true)

    static let verbs = [
        Verb(name: "run", abstract: "Run the gateway until SIGTERM.", options: [config], run: run),
        Verb(
            name: "check", abstract: "Check the configuration and the files it names; says all problems at once.",
            options: [config], run: check),
        Verb(
            name: "status", abstract: "Show what waits in the outbox, also while the agent runs.", options: [config],
            run: status),
        Verb(
            name: "moves", abstract: "Show who or what moved which actuator, oldest first.",
            options: [
                config, Verb.Option(name: "last", placeholder: "count", help: "only so many lines; left out: 100"),
                Verb.Option(name: "output", placeholder: "table|json", help: "json: the lines as they are stored"),
            ], run: moves),
        ActuatorVerbs.show,
        ActuatorVerbs.override,
        RuleTest.verb,
        Simulation.verb,
    ]

    static func main() {
        do throws(CallProblem) {
            switch try Call.read(Array(CommandLine.arguments.dropFirst()), verbs: verbs) {
            case .help(let text): Terminal.line(text)
            case .run(let verb, let options):
                do throws(ExitStatus) {
                    try verb.run(options)
                } catch {
                    exit(error.code)
                }
            }
        } catch {
            Terminal.error(error.text)
            exit(ExitStatus.wrongCall.code)
        }
    }

    #if DEBUG
        private static let plantedBugs: [PlantedBug] = [
            .agentForgetsWhenSent, .agentAcknowledgesBeforeDurable, .agentCommitsWithoutSync, .agentForgetsRuleState,
        ]
    #endif

    private static func run(_ options: OptionValues) throws(ExitStatus) {
        #if DEBUG
            if let bug = getenv("FIELDLINE_PLANTED_BUG"),
                let problem = PlantedBug.plant(String(cString: bug), of: plantedBugs)
            {
                Terminal.error("edge-agent: FIELDLINE_PLANTED_BUG: \(problem)")
                throw .wrongCall
            }
        #endif
        let loaded = try Configured.load(options.required("config"))
        do throws(AgentFailure) {
            try Agent.run(loaded)
        } catch {
            Terminal.error("edge-agent: \(error)")
            throw .failed
        }
    }

    private static func check(_ options: OptionValues) throws(ExitStatus) {
        let file = options.required("config")
        let loaded = try Configured.load(file)
        let drivers = loaded.config.brokers.count + loaded.config.lines.count
        for (key, path) in loaded.openFiles {
            Terminal.error(
                "\(file): warning: \(key): \(path) can be read by every user of this machine; run chmod 600 on it")
        }
        // Read and matched now, but not said by `run`: there a TPM may come up later than the agent.
        if let problem = HubTransport.problem(with: loaded.uplink.endpoint) {
            Terminal.error("\(file): hub: \(problem.operatorText)")
            throw .failed
        }
        for line in RuleLines.warnings(loaded) { Terminal.error("\(file): warning: \(line)") }
        Terminal.line(
            "\(file) is right: gateway \(loaded.uplink.gateway), hub \(loaded.uplink.hubHost), \(drivers) drivers")
    }

    private static func moves(_ options: OptionValues) throws(ExitStatus) {
        let last = try options.value("last", expected: "a number from 1") { Int($0).flatMap { $0 > 0 ? $0 : nil } }
        let isJSON = try options.value("output", expected: "table or json") {
            $0 == "json" ? true : $0 == "table" ? false : nil
        }
        let loaded = try Configured.load(options.required("config"))
        for line in ActuationLog.lines(at: loaded.config.actuation.logPath).suffix(last ?? 100) {
            Terminal.line(isJSON == true ? line.text : line.shown)
        }
    }

    private static func status(_ options: OptionValues) throws(ExitStatus) {
        let loaded = try Configured.load(options.required("config"))
        do throws(OutboxError) {
            let seen = try OutboxInspection(path: loaded.config.outbox.path)
            Terminal.line("epoch        \(seen.epoch)")
            if !seen.words.isEmpty { Terminal.line("state        \(seen.words)") }
            Terminal.line("waiting      \(seen.status.recordCount) records, \(seen.status.storedBytes) bytes")
            for line in OutboxLines.lines(seen, endurance: loaded.config.outbox.cardEndurance) { Terminal.line(line) }
            Terminal.line("next         \(seen.status.nextSequence)")
            Terminal.line("undeclared   \(seen.status.undeclaredCount) dropped records")
            if let last = seen.status.lastWallTime { Terminal.line("last commit  \(last)") }
            let figures = try OutboxInspection.kept(Signals.figuresKey, path: loaded.config.outbox.path)
            for line in SignalTable.lines(figures) { Terminal.line(line) }
            let rules = try OutboxInspection.kept(RuleKeeper.Surroundings.reportKey, path: loaded.config.outbox.path)
            for line in RuleLines.lines(rules, ownCount: loaded.config.rules.count) { Terminal.line(line) }
            for command in seen.commands {
                Terminal.line("command      \(command.device) \(command.name): \(command.outcome)")
            }
            for stored in seen.receipts {
                for entry in Receipt(parsing: stored.bytes)?.entries ?? [] {
                    let records = entry.run.map(\.description) ?? "a batch"
                    let first = entry.first.map { ", \($0.device) \($0.metric) of \($0.time)" } ?? ""
                    Terminal.line(
                        "quarantined  \(stored.time) \(records)\(first), \(entry.code.rawValue): \(entry.reason)")
                }
            }
        } catch {
            Terminal.error("edge-agent: \(error)")
            throw .failed
        }
    }
}

/// Standard output and error, a line at a time.
enum Terminal {
    static func line(_ text: String) { write(text, to: STDOUT_FILENO) }
    static func error(_ text: String) { write(text, to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array((text + "\n").utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            sent += count
        }
    }
}
