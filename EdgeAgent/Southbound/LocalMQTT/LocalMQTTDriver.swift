import DriverRuntime
public import Logging
public import Primitives
public import SouthboundAPI
import Synchronization

/// Reads sensors that publish to a local MQTT broker, and sends them commands and actuations through it.
///
/// The broker keeps a session under a fixed client id. A QoS 1 message is acknowledged to it only after the sink has
/// made its readings durable; when the sink cannot, the connection is dropped without the acknowledgement, and the
/// broker repeats the message later. A message that cannot be read is acknowledged, counted and named in the log, so
/// that the next good one passes.
public final class LocalMQTTDriver: SouthboundDriver {
    /// Since the driver was made.
    public struct Counters: Sendable, Equatable {
        public var messages: UInt64 = 0
        public var readings: UInt64 = 0
        /// Acknowledged but not kept, because they could not be read.
        public var refused: UInt64 = 0
        /// Repeats of messages that were kept before.
        public var repeats: UInt64 = 0
        /// Accepted, with every subscription answered.
        public var connections: UInt64 = 0
    }

    private let shell: DriverShell
    private let actionShell: DriverShell
    /// Whether the thread for actions runs: a driver that nobody asks to act has no second connection.
    private let acting = Mutex((hasStarted: false, hasLink: false))
    private let config: LocalMQTTConfig
    private let logger: Logger
    private let routing: CommandRouting
    private let mailbox: Mailbox
    private let learned: LearnedDevices

    /// Does no I/O.
    ///
    /// - Parameter learned: what an earlier run's last `Delivery.learned` said: served from the start. Left aside when no
    ///   topic of the configuration names its device any more.
    /// - Throws: `.valueNotAllowed` with the first of `config.problems()`; `.systemRefused` without a descriptor.
    public init(
        config: LocalMQTTConfig, clock: DriverClock, logger: Logger, learned: [DeviceID] = []
    ) throws(DriverError) {
        shell = try DriverShell(
            "local MQTT driver", name: config.name,
            problem: config.problems().first.map { "\($0.key) \($0.problem)" }, clock: clock, logger: logger)
        actionShell = try DriverShell(
            "local MQTT driver's actions", name: config.name, problem: nil, clock: clock, logger: logger)
        self.config = config
        var logger = shell.logger
        logger[metadataKey: "broker"] = "\(config.host):\(config.port)"
        self.logger = logger
        routing = CommandRouting(routes: config.commands)
        let configured = Set(config.topics.compactMap(\.device) + config.commands.compactMap(\.device))
        let mayLearn = config.topics.contains { $0.device == nil }
        self.learned = LearnedDevices(kept: mayLearn ? learned : [], configured: configured)
        mailbox = Mailbox(
            wake: shell.wake, actionWake: actionShell.wake, knownDevices: configured.union(self.learned.devices))
    }

    public func start(into sink: any ReadingSink) throws(DriverError) {
        let config = config
        let filters = routing.answerFilters
        let surroundings = BrokerLink.Surroundings(
            mailbox: mailbox, sink: sink, clock: shell.clock, logger: logger, learned: learned)
        try shell.start(threadName: "mqtt-\(name)") {
            BrokerLink(config: config, answerFilters: filters, surroundings: surroundings).run()
        }
        acting.withLock { $0.hasStarted = true }
        if mailbox.hasActuations { try beginActing() }
    }

    private func beginActing() throws(DriverError) {
        let isFirst = acting.withLock { acting in
            defer { acting.hasLink = acting.hasLink || acting.hasStarted }
            return acting.hasStarted && !acting.hasLink
        }
        guard isFirst else { return }
        let (config, mailbox, actionShell, logger) = (config, mailbox, actionShell, logger)
        try actionShell.start(threadName: "act-\(name)") {
            ActionLink(config: config, mailbox: mailbox, shell: actionShell, logger: logger).run()
        }
    }

    public var name: String { shell.name }

    /// Devices named in the configuration, and those that have been heard, also by an earlier run.
    public func serves(_ device: DeviceID) -> Bool { mailbox.knows(device) }

    public var devices: [DeviceID] { mailbox.devices.sorted() }

    public var counters: Counters { mailbox.counters }

    public func perform(_ actuation: Actuation) throws(DriverError) {
        guard case .publish(let topic, let payload, let isRetained) = actuation else {
            throw DriverError(.notForThisDriver, doing: "write a register", which: name)
        }
        let doing = "publish a local action"
        guard payload.count <= 65_536 else {
            throw DriverError(
                .valueNotAllowed, doing: doing, which: topic, detail: "the payload has over 65536 bytes")
        }
        guard (1...1024).contains(topic.utf8.count), !topic.utf8.contains(where: { $0 == 0 || "+#".utf8.contains($0) })
        else {
            throw DriverError(.unknownTarget, doing: doing, which: topic, detail: "this is not a topic name")
        }
        do {
            try mailbox.leave(Mailbox.Actuating(topic: topic, payload: payload, isRetained: isRetained))
        } catch {
            switch error {
            case .full: throw DriverError(.queueFull, doing: doing, which: topic)
            case .stopping: throw DriverError(.stopped, doing: doing, which: topic)
            }
        }
        try beginActing()
    }

    public func command(_ command: DeviceCommand, reply: @escaping @Sendable (CommandOutcome) -> Void) {
        guard shell.isInTime(command, reply: reply) else { return }
        do throws(CommandRouting.Refusal) {
            let publish = try routing.publish(for: command, id: mailbox.newCommandID(), driver: name)
            do throws(Mailbox.Refusal) {
                try mailbox.leave(publish, reply: reply)
            } catch {
                switch error {
                case .full: reply(.failed(reason: "too many commands are on their way already; try again"))
                case .stopping: reply(.failed(reason: "the gateway is stopping"))
                }
            }
        } catch {
            reply(.refused(error.kind, reason: error.reason))
        }
    }

    public func writes(of command: DeviceCommand) -> [Actuation] {
        guard let publish = try? routing.publish(for: command, id: 0, driver: name) else { return [] }
        return [.publish(topic: publish.topic, payload: publish.payload, isRetained: publish.isRetained)]
    }

    public func stop() {
        mailbox.stop()
        shell.stop()
        actionShell.stop()
    }
}
