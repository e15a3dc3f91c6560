import JSON
import Outbox
import Primitives
import SouthboundAPI
import Telemetry
import Uplink

/// The way from a device id to its driver, for commands from the hub and for local actions.
struct CommandRouter: CommandHandler {
    let gateway: DeviceID
    let drivers: [any SouthboundDriver]
    let store: any OutboxStore

    /// Statuses as Azure's device SDKs give them: 400 for a payload that does not fit, 501 for a method that is not
    /// there, 500 for one that failed; and 404 for a child that is not here, 504 for one that was not reached in time.
    func perform(_ call: CommandCall, reply: @escaping @Sendable (CommandAnswer) -> Void) {
        guard call.device != gateway else { return reply(own(call)) }
        guard let driver = drivers.first(where: { $0.serves(call.device) }) else {
            return reply(
                .failed(404, "this gateway has no device \(call.device); check its configuration"))
        }
        let command = DeviceCommand(
            device: call.device, name: call.name, payload: call.payload, deadline: call.deadline)
        driver.command(command) { outcome in
            switch outcome {
            case .executed(let answer): reply(CommandAnswer(status: 200, payload: answer ?? Array("null".utf8)))
            case .refused(.unknownCommand, let reason): reply(.failed(501, reason))
            case .refused(.wrongPayload, let reason): reply(.failed(400, reason))
            case .failed(let reason): reply(.failed(500, reason))
            case .expired(let reason): reply(.failed(504, reason))
            }
        }
    }

    /// A local action goes to the first driver that can do it.
    func perform(_ actuation: Actuation) throws(DriverError) {
        var last: DriverError?
        for driver in drivers {
            do throws(DriverError) {
                return try driver.perform(actuation)
            } catch {
                switch error.problem {
                case .notForThisDriver, .unknownTarget: last = last ?? error
                case .alreadyStarted, .systemRefused, .stopped, .valueNotAllowed, .queueFull: throw error
                }
            }
        }
        if let last { throw last }
    }

    /// `{"epoch":"9f86d081884c7d65","start":"1001","count":"500"}`: sends acknowledged records again, as far as they are
    /// kept. A long range is done in parts: `rest` is what to ask for next.
    private func replay(_ payload: [UInt8]) -> CommandAnswer {
        guard let value = try? JSONValue(parsing: payload), let start = Self.number(value["start"]), start > 0,
            let count = Self.number(value["count"]), count > 0
        else { return .failed(400, "ReplayRange needs epoch, start and count") }
        guard let epoch = value["epoch"]?.stringValue.flatMap({ Epoch($0) }), epoch == store.epoch else {
            return .failed(404, "this outbox has epoch \(store.epoch); records of another are not here")
        }
        do throws(OutboxError) {
            let outcome = try store.replay(Run(start: start, count: count))
            func runs(_ runs: [Run]) -> JSONValue {
                .array(runs.map { .array([.string(String($0.start)), .string(String($0.count))]) })
            }
            let answer: JSONValue = [
                "restored": runs(outcome.restored), "waiting": runs(outcome.waiting), "gone": runs(outcome.gone),
                "rest": outcome.rest.map { .array([.string(String($0.start)), .string(String($0.count))]) } ?? .null,
            ]
            return CommandAnswer(status: 200, payload: answer.serialized())
        } catch {
            return .failed(500, error.description)
        }
    }

    private static func number(_ value: JSONValue?) -> UInt64? {
        value?.stringValue.flatMap { UInt64($0) } ?? value?.int64Value.flatMap { UInt64(exactly: $0) }
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
        default: return .failed(501, "this gateway has no command \(call.name); it knows ping, status and ReplayRange")
        }
    }
}

extension CommandAnswer {
    static func failed(_ status: Int, _ reason: String) -> CommandAnswer {
        let answer: JSONValue = ["error": .string(reason)]
        return CommandAnswer(status: status, payload: answer.serialized())
    }
}
