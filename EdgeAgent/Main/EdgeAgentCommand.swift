import AgentConfig
import ArgumentParser
import ConfigText
import EdgeStore
import Glibc
import Outbox
import Primitives
import Telemetry
import Uplink

/// `edge-agent`: exit status 0 done, 1 the thing failed, 2 the call was wrong.
@main
struct EdgeAgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edge-agent",
        abstract: "A field gateway: reads local sensors, acts locally, keeps everything until the hub has it.",
        subcommands: [Run.self, Check.self, Status.self, Simulate.self])

    /// The parser's own exit status for a wrong call is 64; ours is 2, as in every program of the house.
    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            let code = exitCode(for: error)
            if code == .validationFailure {
                Terminal.error(fullMessage(for: error))
                Glibc.exit(2)
            }
            exit(withError: error)
        }
    }
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Run the gateway until SIGTERM.")

    @Option(help: "The configuration file (TOML).") var config: String

    func run() throws {
        #if DEBUG
            if let bug = getenv("FIELDLINE_PLANTED_BUG"), !PlantedBug.plant(String(cString: bug)) {
                Terminal.error("edge-agent: FIELDLINE_PLANTED_BUG names no planted bug")
                throw ExitCode(2)
            }
        #endif
        let loaded = try Configured.load(config)
        do throws(AgentFailure) {
            try Agent.run(loaded)
        } catch {
            Terminal.error("edge-agent: \(error)")
            throw ExitCode(1)
        }
    }
}

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the configuration and the files it names; says all problems at once.")

    @Option(help: "The configuration file (TOML).") var config: String

    func run() throws {
        let loaded = try Configured.load(config)
        let drivers = loaded.config.brokers.count + loaded.config.lines.count
        Terminal.line(
            "\(config) is right: gateway \(loaded.uplink.gateway), hub \(loaded.uplink.hubHost), \(drivers) drivers")
    }
}

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what waits in the outbox, also while the agent runs.")

    @Option(help: "The configuration file (TOML).") var config: String

    func run() throws {
        let loaded = try Configured.load(config)
        do throws(OutboxError) {
            let seen = try OutboxInspection(path: loaded.config.outbox.path)
            Terminal.line("epoch        \(seen.epoch)")
            Terminal.line("waiting      \(seen.status.recordCount) records, \(seen.status.storedBytes) bytes")
            Terminal.line("next         \(seen.status.nextSequence)")
            Terminal.line("undeclared   \(seen.status.undeclaredCount) dropped records")
            if let last = seen.status.lastWallTime { Terminal.line("last commit  \(last)") }
            for stored in seen.receipts {
                for entry in Receipt(parsing: stored.bytes)?.entries ?? [] {
                    let records = entry.run.map(\.description) ?? "a batch"
                    Terminal.line("quarantined  \(stored.time) \(records) \(entry.code.rawValue): \(entry.reason)")
                }
            }
        } catch {
            Terminal.error("edge-agent: \(error)")
            throw ExitCode(1)
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
