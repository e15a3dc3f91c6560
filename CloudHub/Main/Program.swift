import ArgumentParser
import Glibc

/// The hub's program. `serve` runs it; every other command talks to a running hub or, when none holds the data
/// directory, opens the stores itself.
@main
struct CloudHubProgram: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cloud-hub",
        abstract: "A hub on your own machine: devices in, faults to the service desk, commands back.",
        version: HubVersion.text,
        subcommands: [
            ServeCommand.self, ConnectionStringCommand.self, DeviceCommand.self, ModuleCommand.self,
            CertificateCommand.self,
            MonitorCommand.self, TraceCommand.self, SignInCommand.self, FaultCommand.self, RuleCommand.self,
            RuleSetCommand.self,
            BackupCommand.self,
            RestoreCommand.self,
        ])

    /// Exit status: 0 done, 1 the thing failed, 2 the call was wrong.
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            StandardStream.error("cloud-hub: \(failure.message)")
            Glibc.exit(failure.status)
        } catch {
            let status = exitCode(for: error)
            if status == .success {
                StandardStream.output(fullMessage(for: error))
                Glibc.exit(0)
            }
            let isWrongCall = status == .validationFailure
            StandardStream.error(isWrongCall ? fullMessage(for: error) : "cloud-hub: \(error)")
            Glibc.exit(isWrongCall ? 2 : 1)
        }
    }
}

/// What this build calls itself.
enum HubVersion {
    static let text = "0.1.0"
}

/// Why a command failed, in words for the person who called it.
struct CommandFailure: Error {
    let message: String
    let status: Int32

    /// The thing was tried and failed.
    static func failed(_ message: String) -> CommandFailure {
        CommandFailure(message: message, status: 1)
    }
    /// The call itself was wrong.
    static func wrongCall(_ message: String) -> CommandFailure {
        CommandFailure(message: message, status: 2)
    }
}

/// Standard output and error, unbuffered: a line is out when the call returns.
enum StandardStream {
    static func output(_ line: String) { write(line, to: STDOUT_FILENO) }
    static func error(_ line: String) { write(line, to: STDERR_FILENO) }

    private static func write(_ line: String, to descriptor: Int32) {
        let bytes = Array((line + "\n").utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            written += count
        }
    }
}
