import Actuation
import JSON
import Outbox
import Primitives
import SouthboundAPI
import Telemetry
import Timekeeping
import Uplink

/// The way from a device id to its driver, for commands from the hub and for local actions.
struct CommandRouter: CommandHandler {
    let gateway: DeviceID
    let drivers: [any SouthboundDriver]
    let store: any OutboxStore
    let actuation: ActuationShell
    let clock: GatewayClock

    /// Statuses as Azure's device SDKs give them: 400 for a payload that does not fit, 501 for a method that is not
    /// there, 500 for one that failed; and 404 for a child that is not here, 504 for one that was not reached in time.
    func perform(_ call: CommandCall, reply: @escaping @Sendable (CommandAnswer) -> Void) {
        perform(call, by: "command \(call.name)", reply: reply)
    }

    /// The same for a method that a rule calls.
    ///
    /// - Parameter by: who asks, for the log of moves.
    func perform(_ call: CommandCall, by: String, reply: @escaping @Sendable (CommandAnswer) -> Void) {
        guard call.device != gateway else { return reply(own(call)) }
        guard let driver = drivers.first(where: { $0.serves(call.device) }) else {
            return reply(
                .failed(404, "this gateway has no device \(call.device); check its configuration"))
        }
        let command = DeviceCommand(
            device: call.device, name: call.name, payload: call.payload, deadline: call.deadline)
        let writes = driver.writes(of: command)
        // 409: what the command asks for stands against an interlock, a least time or an override.
        if let refusal = actuation.commandBegins(writes, by: by) { return reply(.failed(409, refusal)) }
        let actuation = actuation
        driver.command(command) { outcome in
            actuation.commandEnded(writes, by: by, failure: outcome.failure)
            switch outcome {
            case .executed(let answer): reply(CommandAnswer(status: 200, payload: answer ?? Array("null".utf8)))
            case .refused(.unknownCommand, let reason): reply(.failed(501, reason))
            case .refused(.wrongPayload, let reason): reply(.failed(400, reason))
            case .failed(let reason): reply(.failed(500, reason))
            case .expired(let reason): reply(.failed(504, reason))
            }
        }
    }

    /// Methods of the gateway itself.
    private func own(_ call: CommandCall) -> CommandAnswer {
        switch call.name {
        case "ping": return CommandAnswer(status: 200, payload: Array(#"{"pong":true}"#.utf8))
        case "status":
            do throws(OutboxError) {
                let status = try store.status()
                let answer: JSONValue = [
                    "epoch": .string(store.epoch.text),
                    "waiting": .string(String(status.recordCount)),
                    "waitingBytes": .string(String(status.storedBytes)),
                    "nextSequence": .string(String(status.nextSequence)),
                    "undeclared": .string(String(status.undeclaredCount)),
                ]
                return CommandAnswer(status: 200, payload: answer.serialized())
            } catch {
                return .failed(500, error.description)
            }
        case "ReplayRange": return replay(call.payload)
        case "actuators": return actuators()
        case "override": return override(call)
        case "release": return release(call)
        default:
            return .failed(
                501,
                "this gateway has no command \(call.name); it knows ping, status, ReplayRange, actuators, override "
                    + "and release")
        }
    }
}

extension CommandOutcome {
    /// Why it was not done, or is not known to be done; `nil` when it was.
    var failure: String? {
        switch self {
        case .executed: nil
        case .refused(_, let reason), .failed(let reason), .expired(let reason): reason
        }
    }
}

extension CommandAnswer {
    static func failed(_ status: Int, _ reason: String) -> CommandAnswer {
        let answer: JSONValue = ["error": .string(reason)]
        return CommandAnswer(status: status, payload: answer.serialized())
    }
}
