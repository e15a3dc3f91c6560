import Actuation
import AgentConfig
import DriverRuntime
import EdgeStore
import Glibc
import LocalMQTT
import Logging
import ModbusDriver
import Outbox
import Pipeline
import Primitives
import Signals
import SouthboundAPI
import Timekeeping
import Uplink

/// The composition root: builds the parts, starts them, waits for a signal, stops them.
enum Agent {
    static func run(_ loaded: Configured) throws(AgentFailure) {
        Heap.keepSmall()
        let signals = StopSignals()
        let logger = makeLogger(loaded.config.log)
        for (key, path) in loaded.openFiles {
            logger.warning(
                "a secret can be read by every user of this machine; run chmod 600 on its file",
                metadata: ["key": "\(key)", "file": "\(path)"])
        }
        let parts = try Parts(loaded, logger: logger)
        try parts.start()
        Terminal.line(
            "edge-agent ready: gateway \(loaded.uplink.gateway), \(parts.drivers.count) drivers, epoch \(parts.store.epoch)"
        )
        var signal = signals.wait(atMost: startTime)
        if signal == nil {
            let released = ProgramPages.letGo()
            logger.debug("what only the start needed is let go", metadata: ["bytes": "\(released)"])
        }
        while signal == nil { signal = signals.wait(atMost: .seconds(3600)) }
        logger.info("stopping", metadata: ["signal": "\(signal ?? 0)"])
        for step in parts.shutdown {
            logger.debug("stopping", metadata: ["part": "\(step.name)"])
            step.stop()
        }
    }

    /// After which a gateway has connected, if it can, and runs as it will for days.
    private static let startTime = Duration.seconds(10)

    private static func makeLogger(_ level: AgentConfig.LogLevel) -> Logger {
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        var logger = Logger(label: "edge-agent")
        switch level {
        case .debug: logger.logLevel = .debug
        case .info: logger.logLevel = .info
        case .warning: logger.logLevel = .warning
        case .error: logger.logLevel = .error
        }
        return logger
    }
}

/// Why the agent did not start.
struct AgentFailure: Error, CustomStringConvertible {
    let description: String
}

/// SIGTERM and SIGINT as something to wait for. Made before any thread, so that every thread leaves them to this one.
struct StopSignals {
    private var set = sigset_t()

    init() {
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        sigaddset(&set, SIGINT)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        // A broker that goes away while we write is an error code, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
    }

    /// The next one; `nil` when none came in time.
    func wait(atMost limit: Duration) -> Int32? {
        var set = set
        var time = timespec(tv_sec: Int(limit.components.seconds), tv_nsec: 0)
        let received = sigtimedwait(&set, nil, &time)
        return received > 0 ? received : nil
    }
}

/// Everything that runs, and the order in which it ends.
private struct Parts {
    struct Step {
        let name: String
        let stop: () -> Void
    }

    /// Time for what is left to reach the hub when the agent stops.
    private static let drainTime = Duration.seconds(3)

    let store: SQLiteOutbox
    let drivers: [any SouthboundDriver]
    private let core: AgentCore
    private let actuation: ActuationShell
    private let uplink: Uplink
    private let rules: RuleKeeper
    /// Only where something moves.
    private let door: LocalDoor?
    private var pipeline: Pipeline

    init(_ loaded: Configured, logger: Logger) throws(AgentFailure) {
        let config = loaded.config
        let storeClock = StoreClock()
        let store = try failing { () throws(OutboxError) in
            try SQLiteOutbox(
                path: config.outbox.path, limits: config.outbox.limits, clock: .system { storeClock.now() })
        }
        self.store = store
        // What cannot be read now is not known: the clock starts as one that nobody has ever set.
        let memory = ((try? store.kept(ClockMemory.key)) ?? nil).flatMap { ClockMemory($0) }
        let clock = WallClock.gatewayClock(
            lastRun: (try? store.status())?.lastWallTime, lowest: memory?.lowest, logger: logger)
        storeClock.runs(by: clock)
        let driverClock = DriverClock(clock)
        var drivers: [any SouthboundDriver] = []
        for broker in config.brokers {
            drivers.append(
                try failing { () throws(DriverError) in
                    try LocalMQTTDriver(
                        config: broker.mqtt, clock: driverClock, logger: logger,
                        learned: LearnedChildren.kept(of: broker.mqtt.name, in: store, logger: logger))
                })
        }
        for line in config.lines {
            drivers.append(
                try failing { () throws(DriverError) in
                    try ModbusLineDriver(config: line, clock: driverClock, logger: logger)
                })
        }
        self.drivers = drivers
        let actions = LocalActions(drivers: drivers)
        let sensors = config.actuators.flatMap(\.sensorsRead).map { (device: $0.device, metric: $0.metric) }
        let check = SensorCheck(settings: config.signals, sensors: sensors)
        let actuation = try failing { () throws(DriverError) in
            try ActuationShell(
                actuators: config.actuators, logPath: config.actuation.logPath,
                logBytesMax: Int(clamping: config.actuation.logSize.bytes), clock: driverClock, logger: logger,
                check: { check.reading($0) }
            ) { actions.perform($0) }
        }
        self.actuation = actuation
        let router = CommandRouter(
            gateway: loaded.uplink.gateway, drivers: drivers, store: store, actuation: actuation, clock: clock)
        door =
            config.actuators.isEmpty
            ? nil
            : LocalDoor(
                path: config.actuation.socketPath, gateway: loaded.uplink.gateway, handler: router, logger: logger)
        let health = OutboxHealth { problem in store.note(problem.map { "degraded: \($0)" } ?? "") }
        let rules = try RuleKeeper(
            .init(
                config: config, uplink: loaded.uplink, store: store, drivers: drivers, clock: clock, logger: logger))
        self.rules = rules
        let report = GatewayReport(store: store, drivers: drivers, health: health, clock: clock, rules: rules)
        let uplink = try failing { () throws(UplinkError) in
            try Uplink(
                loaded.uplink, store: store, handler: router, clock: clock, logger: logger,
                desired: { rules.desired($0) }
            ) { desiredVersion in report.patch(desiredVersion: desiredVersion) }
        }
        self.uplink = uplink
        let pace = CommitPace(
            interval: config.outbox.commitInterval, bytes: config.outbox.commitBytes.bytes,
            gateway: loaded.uplink.gateway)
        core = AgentCore(
            store: store, clock: clock, pace: pace, health: health, logger: logger, arrived: { actuation.arrived($0) },
            actuate: { router.act($0, logger: logger) },
            stored: { uplink.recordsStored() })
        pipeline = Pipeline(
            rules: rules.firstRules, epoch: store.epoch, zoneOffset: { WallClock.offset(in: $0, at: $1) },
            sha1: { GatewayCrypto.sha1($0) })
        pipeline.signals = Signals(settings: config.signals, stateInterval: config.signalStateInterval)
    }

    /// The core first, so that drivers find it; the uplink before the drivers, so that a backlog is on its way early.
    func start() throws(AgentFailure) {
        // Before anything else: where things stood is where they stand.
        try failing { () throws(DriverError) in try actuation.start() }
        let drivers = drivers
        guard core.start(pipeline, isServed: { device in drivers.contains { $0.serves(device) } }) else {
            throw AgentFailure(description: "the system has no thread left; raise the limits of this service")
        }
        let (core, uplink) = (core, uplink)
        try rules.start(
            .init(
                swap: { core.replaceRules($0) }, reported: { uplink.reportChanged() }, spent: { uplink.spent($0) }))
        try failing { () throws(UplinkError) in try uplink.start() }
        for driver in drivers {
            try failing { () throws(DriverError) in try driver.start(into: core) }
        }
        door?.start()
    }

    /// First what must be safe, while the drivers still run; then the sources, then what they feed, then the way out; the
    /// store closes with the last of them.
    var shutdown: [Step] {
        [Step(name: "local socket") { door?.stop() }, Step(name: "actuators") { actuation.stop() }]
            + drivers.map { driver in Step(name: driver.name) { driver.stop() } }
            + [
                Step(name: "rules") { rules.stop() },
                Step(name: "core") { core.stop() },
                Step(name: "uplink") { uplink.stop(grace: Self.drainTime) },
                // What was acknowledged last goes out again otherwise, which harms nobody.
                Step(name: "outbox") { try? store.flush() },
            ]
    }
}

extension OutboxSettings {
    var limits: OutboxLimits {
        var limits = OutboxLimits(quotaBytes: quota.bytes)
        limits.replayKeep = replayKeep
        if let replayQuota { limits.replayBytes = replayQuota.bytes }
        return limits
    }
}

/// Turns a room's error into the sentence that the operator reads.
private func failing<Result, Failure: Error & CustomStringConvertible>(
    _ body: () throws(Failure) -> Result
) throws(AgentFailure) -> Result {
    do throws(Failure) {
        return try body()
    } catch {
        throw AgentFailure(description: error.description)
    }
}
