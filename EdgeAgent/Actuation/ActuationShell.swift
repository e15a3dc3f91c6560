import DriverRuntime
public import Logging
import Primitives
public import SouthboundAPI
import Synchronization
public import Telemetry

/// Every write to an actuator passes here: decided by the desk, handed to a driver, and logged.
///
/// Writes are handed over on the thread that asks, under one lock, so that they reach the drivers in the order in which
/// they were decided. The log is written by a thread of its own, which also looks after what time alone decides; a slow
/// disk holds up no move.
public final class ActuationShell: Sendable {
    /// Lines that wait for the log; beyond that they are counted and left out.
    static let linesMax = 4096
    static let syncInterval = Duration.seconds(1)

    /// A reading as interlocks and sensor watches are to see it.
    public typealias Check = @Sendable (Reading) -> Reading

    /// Hands a write to a driver.
    public typealias Perform = @Sendable (Actuation) -> Result<Void, DriverError>

    private struct State {
        var desk: ActuationDesk
        var lines: [ActuationLine] = []
        var lostCount = 0
        var isStopping = false
        var hasStopped = false
    }

    private let state: Mutex<State>
    private let path: String
    private let logBytesMax: Int
    private let clock: DriverClock
    private let logger: Logger
    private let perform: Perform
    private let check: Check
    private let wake: WakeSignal
    private let thread = Mutex<OwnThread?>(nil)
    private let readsSensors: Bool

    /// Does no I/O.
    ///
    /// - Parameter check: converts and marks a reading of those that interlocks name, in the thread that brought it.
    /// - Throws: `.systemRefused` without a descriptor.
    public init(
        actuators: [Actuator], logPath: String, logBytesMax: Int = ActuationLog.bytesMaxDefault, clock: DriverClock,
        logger: Logger, check: @escaping Check = { $0 }, perform: @escaping Perform
    ) throws(DriverError) {
        guard let wake = WakeSignal() else {
            throw DriverError(
                .systemRefused, doing: "set up the actuators", which: logPath, detail: "no file descriptor is left")
        }
        self.wake = wake
        path = logPath
        self.logBytesMax = logBytesMax
        self.clock = clock
        self.logger = logger
        self.perform = perform
        self.check = check
        state = Mutex(State(desk: ActuationDesk(actuators: actuators)))
        readsSensors = actuators.contains { !$0.sensors.isEmpty || !$0.interlocks.isEmpty }
    }

    /// Brings every actuator to where it was last known to be, or to its fail-safe position, and starts the thread. The
    /// drivers need not have started: they keep the writes until they have.
    ///
    /// - Throws: `.systemRefused` when the system gives no thread.
    public func start() throws(DriverError) {
        let hasActuators = state.withLock { !$0.desk.actuators.isEmpty }
        if hasActuators {
            let wall = clock.wall()
            let known = KnownActuator.reading(
                ActuationLog.lines(at: path), now: wall.quality == .unset ? nil : wall.time)
            act { $0.begin(restoring: known, at: $1) }
        }
        let made = OwnThread.run(name: "actuation") { [self] in run() }
        thread.withLock { $0 = made }
        if made == nil {
            throw DriverError(.systemRefused, doing: "start the actuators' thread", which: path)
        }
    }

    /// Moves what shall be in its fail-safe position when the agent stops, then ends the thread and syncs the log. The
    /// drivers must still run. A second call does nothing.
    public func stop() {
        act { $0.stopping(at: $1) }
        state.withLock { $0.isStopping = true }
        wake.ring()
        let made = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        made?.join()
    }

    // MARK: - Any thread

    /// Readings have come; called before they are kept.
    public func arrived(_ readings: [Reading]) {
        guard readsSensors else { return }
        let now = clock.monotonic()
        var hasActed = false
        state.withLock { state in
            for reading in readings {
                let sensor = Actuator.Sensor(device: reading.device, metric: reading.metric)
                guard state.desk.reads(sensor) else { continue }
                let seen = check(reading)
                let value = seen.quality == .bad ? nil : seen.value.double
                let effects = state.desk.observed(sensor, value, at: now)
                hasActed = hasActed || !effects.isEmpty
                carryOut(effects, &state)
            }
        }
        if hasActed { wake.ring() }
    }

    /// A rule asks for a write.
    public func ruleAsks(_ actuation: Actuation, by: String) {
        let now = clock.monotonic()
        state.withLock { state in
            if let target = state.desk.target(of: actuation) {
                carryOut(state.desk.ruleAsks(target.index, for: target.position, by: by, at: now), &state)
            } else {
                write(actuation, by: by, &state)
            }
        }
        wake.ring()
    }

    /// A command is about to do these writes.
    ///
    /// - Returns: why it must not; `nil` when it may. Then `commandEnded` is owed.
    public func commandBegins(_ writes: [Actuation], by: String) -> String? {
        let now = clock.monotonic()
        let refusal: String? = state.withLock { state in
            let before = state.desk
            var all: [ActuationEffect] = []
            for write in writes {
                guard let target = state.desk.target(of: write) else { continue }
                let (refusal, effects) = state.desk.commandAsks(target.index, for: target.position, by: by, at: now)
                if let refusal {
                    // All or nothing: what the others were let pass for does not happen.
                    state.desk = before
                    carryOut(effects, &state)
                    return refusal
                }
                all += effects
            }
            carryOut(all, &state)
            return nil
        }
        wake.ring()
        return refusal
    }

    /// How the command ended that was let pass.
    ///
    /// - Parameter failure: why it was not done, or is not known to be done; `nil` when it was.
    public func commandEnded(_ writes: [Actuation], by: String, failure: String?) {
        state.withLock { state in
            for write in writes {
                if let target = state.desk.target(of: write) {
                    guard let failure else { continue }
                    carryOut(state.desk.commandFailed(target.index, by: by, reason: failure), &state)
                } else {
                    note(write, by: by, failure: failure, &state)
                }
            }
        }
        wake.ring()
    }

    /// A person takes an actuator over.
    ///
    /// - Returns: why not.
    public func override(_ name: String, position: ReadingValue, who: String, lasting: Duration) -> String? {
        act(name) { desk, index, now in
            let (refusal, effects) = desk.overrideAsked(index, position: position, who: who, lasting: lasting, at: now)
            return (effects, refusal)
        }
    }

    /// A person gives an actuator back.
    ///
    /// - Returns: why not.
    public func release(_ name: String, by: String) -> String? {
        act(name) { desk, index, now in
            let (wasOverridden, effects) = desk.released(index, by: by, at: now)
            return (effects, wasOverridden ? nil : "\(name) is not overridden")
        }
    }

    public var views: [ActuationDesk.View] {
        let now = clock.monotonic()
        return state.withLock { $0.desk.views(at: now) }
    }

    private func act(
        _ name: String,
        _ body: (inout ActuationDesk, Int, MonotonicInstant) -> (effects: [ActuationEffect], refusal: String?)
    ) -> String? {
        let now = clock.monotonic()
        let refusal: String? = state.withLock { state in
            guard let index = state.desk.index(named: name) else {
                let names = state.desk.actuators.map(\.name).joined(separator: ", ")
                return "there is no actuator \(name.prefix(100)); there are: \(names)"
            }
            let (effects, refusal) = body(&state.desk, index, now)
            carryOut(effects, &state)
            return refusal
        }
        wake.ring()
        return refusal
    }

    private func act(_ body: (inout ActuationDesk, MonotonicInstant) -> [ActuationEffect]) {
        let now = clock.monotonic()
        state.withLock { state in
            guard !state.hasStopped else { return }
            carryOut(body(&state.desk, now), &state)
        }
        wake.ring()
    }

    // MARK: - Under the lock

    private func carryOut(_ effects: [ActuationEffect], _ state: inout State) {
        for effect in effects {
            switch effect {
            case .log(let entry): log(entry, &state)
            case .write(let index, let position):
                let actuator = state.desk.actuators[index]
                guard case .failure(let error) = perform(actuator.actuation(position)) else { continue }
                logger.error(
                    "an actuator's write was not taken",
                    metadata: ["actuator": "\(actuator.name)", "reason": "\(error)"])
                carryOut(state.desk.commandFailed(index, by: "driver", reason: error.description), &state)
            }
        }
    }

    /// A write to something that is not declared as an actuator: done and logged.
    private func write(_ actuation: Actuation, by: String, _ state: inout State) {
        switch perform(actuation) {
        case .success: note(actuation, by: by, failure: nil, &state)
        case .failure(let error):
            logger.error("a local action failed", metadata: ["reason": "\(error)"])
            note(actuation, by: by, failure: error.description, &state)
        }
    }

    private func note(_ actuation: Actuation, by: String, failure: String?, _ state: inout State) {
        var entry: ActuationEntry
        let event = failure == nil ? ActuationEntry.Event.moved : .failed
        switch actuation {
        case .publish(let topic, let payload, _):
            entry = ActuationEntry(topic, event, by: by)
            // What is published may be anything; a position is short.
            entry.to = payload.count <= 64 ? Actuator.position(ofPayload: payload) : nil
        case .write(let device, let register, let value):
            entry = ActuationEntry("\(device)/\(register)", event, by: by)
            entry.to = value
        }
        entry.reason = failure ?? ""
        log(entry, &state)
    }

    private func log(_ entry: ActuationEntry, _ state: inout State) {
        guard state.lines.count < Self.linesMax else {
            state.lostCount += 1
            return
        }
        let (time, quality) = clock.wall()
        state.lines.append(ActuationLine(time: time, clock: quality, entry: entry))
    }

    // MARK: - The thread

    private func run() {
        let file = ActuationLog(path: path, bytesMax: logBytesMax)
        var problems = WarningLimiter()
        var syncAt: MonotonicInstant?
        while true {
            let now = clock.monotonic()
            let (lines, lostCount, isStopping, deadline) = look(now)
            if !lines.isEmpty {
                report(file.append(lines.map(\.text)) { self.head() }, &problems)
                syncAt = syncAt ?? now + Self.syncInterval
            }
            if lostCount > 0 { report("\(lostCount) lines were lost: too many at once", &problems) }
            if let due = syncAt, due <= now || isStopping {
                report(file.sync(), &problems)
                syncAt = nil
            }
            if isStopping { return }
            wake.wait(until: [deadline, syncAt].compactMap(\.self).min() ?? now + .seconds(3600))
        }
    }

    /// Does what is due by the clock, and takes what is to be written.
    private func look(
        _ now: MonotonicInstant
    ) -> (lines: [ActuationLine], lostCount: Int, isStopping: Bool, deadline: MonotonicInstant?) {
        state.withLock { state in
            if !state.isStopping, let due = state.desk.nextDeadline(after: now), due <= now {
                carryOut(state.desk.timeReached(now), &state)
            }
            defer {
                state.lines.removeAll(keepingCapacity: true)
                state.lostCount = 0
                state.hasStopped = state.isStopping
            }
            return (state.lines, state.lostCount, state.isStopping, state.desk.nextDeadline(after: now))
        }
    }

    private func head() -> [String] {
        let now = clock.monotonic()
        let (time, quality) = clock.wall()
        return state.withLock { $0.desk.known(at: now) }.map {
            ActuationLine(time: time, clock: quality, entry: $0).text
        }
    }

    private func report(_ problem: String?, _ problems: inout WarningLimiter) {
        guard let problem, case .log = problems.occurred("log", now: clock.monotonic()) else { return }
        logger.error("the actuation log has a problem", metadata: ["reason": "\(problem)"])
    }
}
