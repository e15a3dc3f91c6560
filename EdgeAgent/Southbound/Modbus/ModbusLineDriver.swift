import DriverRuntime
public import Logging
public import Primitives
public import SouthboundAPI

/// Polls the units of one Modbus line on a thread of its own, and writes their registers.
///
/// A unit that does not answer is reported within one poll and then asked less and less often, so that the others keep
/// their pace; its first answer clears it. A line that is missing or breaks is opened again with backoff.
public final class ModbusLineDriver: SouthboundDriver {
    /// How long a local action is tried at a unit that does not answer: after that a rule that still holds must ask
    /// again, because nobody wants a relay to move an hour late.
    static let actuationTime = Duration.seconds(60)

    private let shell: DriverShell
    private let config: ModbusConfig
    private let logger: Logger
    private let planning: WritePlanning
    private let mailbox: LineMailbox

    /// Does no I/O.
    ///
    /// - Throws: `.valueNotAllowed` with the first of `config.problems()`; `.systemRefused` without a descriptor.
    public init(config: ModbusConfig, clock: DriverClock, logger: Logger) throws(DriverError) {
        shell = try DriverShell(
            "Modbus driver", name: config.name,
            problem: config.problems().first.map { "\($0.key) \($0.problem)" }, clock: clock, logger: logger)
        self.config = config
        var logger = shell.logger
        logger[metadataKey: "line"] = "\(config.line.address)"
        self.logger = logger
        planning = WritePlanning(units: config.units)
        mailbox = LineMailbox(wake: shell.wake)
    }

    public func start(into sink: any ReadingSink) throws(DriverError) {
        let config = config
        let surroundings = ModbusLine.Surroundings(
            mailbox: mailbox, sink: sink, clock: shell.clock, logger: logger)
        try shell.start(threadName: "modbus-\(name)") {
            ModbusLine(config: config, surroundings: surroundings).run()
        }
    }

    public var name: String { shell.name }

    public var devices: [DeviceID] { planning.units.map(\.device).sorted() }

    public func serves(_ device: DeviceID) -> Bool { planning.unit(of: device) != nil }

    public func perform(_ actuation: Actuation) throws(DriverError) {
        guard case .write(let device, let register, let value) = actuation else {
            throw DriverError(.notForThisDriver, doing: "publish a local action", which: name)
        }
        let doing = "write register \(register)"
        guard let unit = planning.unit(of: device) else {
            throw DriverError(.unknownTarget, doing: doing, which: device.text)
        }
        do throws(WritePlanning.Refusal) {
            let write = try planning.write(value, to: register, unit: unit)
            let until = shell.clock.monotonic() + Self.actuationTime
            let job = WriteJob(unit: unit, writes: [write], origin: .actuation(register: register, until: until))
            try leave(job)
        } catch {
            throw DriverError(error.problem, doing: doing, which: device.text, detail: error.reason)
        }
    }

    private func leave(_ job: WriteJob) throws(WritePlanning.Refusal) {
        do {
            try mailbox.leave(job)
        } catch {
            switch error {
            case .full:
                throw WritePlanning.Refusal(problem: .queueFull, reason: "the line has too many writes waiting")
            case .stopping: throw WritePlanning.Refusal(problem: .stopped, reason: "the gateway is stopping")
            }
        }
    }

    public func command(_ command: DeviceCommand, reply: @escaping @Sendable (CommandOutcome) -> Void) {
        guard shell.isInTime(command, reply: reply) else { return }
        guard let unit = planning.unit(of: command.device) else {
            reply(.failed(reason: "driver \(name) has no unit for \(command.device)"))
            return
        }
        do {
            let writes = try planning.writes(of: command, unit: unit)
            let origin = WriteJob.Origin.command(name: command.name, deadline: command.deadline, reply: reply)
            try leave(WriteJob(unit: unit, writes: writes, origin: origin))
        } catch {
            switch error.problem {
            case .valueNotAllowed: reply(.refused(.wrongPayload, reason: error.reason))
            case .unknownTarget: reply(.refused(.unknownCommand, reason: error.reason))
            case .alreadyStarted, .systemRefused, .stopped, .notForThisDriver, .queueFull:
                reply(.failed(reason: error.reason))
            }
        }
    }

    public func writes(of command: DeviceCommand) -> [Actuation] {
        guard let unit = planning.unit(of: command.device),
            let settings = try? planning.settings(of: command, unit: unit)
        else { return [] }
        return settings.map { .write(device: command.device, register: $0.register, value: $0.value) }
    }

    public func stop() {
        mailbox.stop()
        shell.stop()
        while let job = mailbox.takeFirst() {
            if case .command(_, _, let reply) = job.origin {
                reply(.failed(reason: "the gateway stopped before the command was sent"))
            }
        }
    }
}
