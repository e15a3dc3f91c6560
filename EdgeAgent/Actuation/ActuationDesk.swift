import Expressions
public import Primitives
public import SouthboundAPI
public import Telemetry

/// Decides about every write to a declared actuator. Pure: time and values come with the inputs.
///
///     stop ─► interlock lost ─► sensor silent ─► manual override ─► what rules and commands asked for last
///     (the first that applies decides where it goes; the first three go to the fail-safe position at once, the others
///      within the least times, the rates, and only while every interlock holds)
public struct ActuationDesk: Sendable {
    /// Actuators of one gateway.
    public static let actuatorsMax = 256
    /// After a start, what interlocks and sensors say is waited for this long before it counts as lost.
    public static let startTime = Duration.seconds(10)
    /// Between two steps of a ramp.
    static let rampInterval = Duration.milliseconds(100)

    struct Goal: Sendable, Equatable {
        let position: ReadingValue
        let by: String
    }

    struct Override: Sendable, Equatable {
        let position: ReadingValue
        let who: String
        let until: MonotonicInstant
    }

    /// One actuator.
    struct State: Sendable {
        /// What was written last; `nil` while nobody knows.
        var position: ReadingValue?
        /// What rules and commands asked for last.
        var wanted: Goal?
        var override: Override?
        /// The last switchings, oldest first.
        var switchings: [MonotonicInstant] = []
        var movedAt: MonotonicInstant?
        /// When a move that waits may be done.
        var waitsUntil: MonotonicInstant?
        /// What it waits for was logged.
        var saidWaiting: Goal?
        /// A ramp to there was logged.
        var rampingTo: Goal?
        var isInterlockLost = false
        var isSensorLost = false
        var lookedAt: MonotonicInstant?
    }

    struct Input: Sendable {
        var value: Double?
        var heardAt: MonotonicInstant?
    }

    public let actuators: [Actuator]
    var states: [State]
    var inputs: [Actuator.Sensor: Input] = [:]
    private let readers: [Actuator.Sensor: [Int]]
    private(set) var begunAt = MonotonicInstant(nanoseconds: 0)

    /// - Parameter actuators: at most `actuatorsMax`; names and targets differ.
    public init(actuators: [Actuator]) {
        precondition(actuators.count <= Self.actuatorsMax, "a gateway has at most \(Self.actuatorsMax) actuators")
        self.actuators = actuators
        states = actuators.map { _ in State() }
        var readers: [Actuator.Sensor: [Int]] = [:]
        for (index, actuator) in actuators.enumerated() {
            for sensor in Set(actuator.sensors + actuator.interlockSensors) {
                readers[sensor, default: []].append(index)
            }
        }
        self.readers = readers
    }

    public func index(named name: String) -> Int? { actuators.firstIndex { $0.name == name } }

    /// The actuator that the write would move, and where to.
    public func target(of actuation: Actuation) -> (index: Int, position: ReadingValue)? {
        for (index, actuator) in actuators.enumerated() {
            if let position = actuator.position(after: actuation) { return (index, position) }
        }
        return nil
    }

    /// What an actuator is at, for people.
    public struct View: Sendable, Equatable {
        public let name: String
        public let target: String
        public let position: ReadingValue?
        /// Who overrides it and for how much longer.
        public let override: (who: String, lasts: Duration)?
        /// Why it may not be moved; `nil` when it may.
        public let blocked: String?

        public static func == (left: View, right: View) -> Bool {
            left.name == right.name && left.target == right.target && left.position == right.position
                && left.override?.who == right.override?.who && left.override?.lasts == right.override?.lasts
                && left.blocked == right.blocked
        }
    }

    public func views(at now: MonotonicInstant) -> [View] {
        actuators.indices.map { index in
            View(
                name: actuators[index].name, target: actuators[index].target.text, position: states[index].position,
                override: states[index].override.map { ($0.who, $0.until - now) }, blocked: problem(index, now))
        }
    }

    // MARK: - Beginning and end

    /// Comes first, once. Every actuator is brought to where it was last known to be, before anything else is done; to its
    /// fail-safe position when nothing is known of it, or when interlocks must be heard first.
    public mutating func begin(
        restoring known: [String: KnownActuator], at now: MonotonicInstant
    ) -> [ActuationEffect] {
        begunAt = now
        var effects: [ActuationEffect] = []
        for index in actuators.indices {
            if let known = known[actuators[index].name] { restore(known, index, now) }
            guard let goal = actuators[index].interlocks.isEmpty ? states[index].position : nil else {
                if let safe = actuators[index].failSafe { move(index, safe, by: "start", now, &effects) }
                continue
            }
            states[index].position = nil
            move(index, goal, by: "start", now, &effects, countsSwitching: false)
        }
        return effects
    }

    private mutating func restore(_ known: KnownActuator, _ index: Int, _ now: MonotonicInstant) {
        states[index].position = known.position
        states[index].switchings = known.switchedAgo.map { [now + (.zero - $0)] } ?? []
        states[index].movedAt = known.switchedAgo.map { now + (.zero - $0) }
        if let override = known.override {
            states[index].override = Override(
                position: override.position, who: override.who, until: now + override.lasts)
        }
    }

    /// The agent stops: everything that shall goes to its fail-safe position.
    public mutating func stopping(at now: MonotonicInstant) -> [ActuationEffect] {
        var effects: [ActuationEffect] = []
        for index in actuators.indices where actuators[index].movesOnStop {
            guard let safe = actuators[index].failSafe else { continue }
            states[index].wanted = nil
            move(index, safe, by: "stop", now, &effects)
        }
        return effects
    }

    // MARK: - Requests

    /// A rule asks for a position. It is done now, or as soon as it may be; or it is refused, which the log says.
    public mutating func ruleAsks(
        _ index: Int, for position: ReadingValue, by: String, at now: MonotonicInstant
    ) -> [ActuationEffect] {
        var effects: [ActuationEffect] = []
        let goal = Goal(position: position, by: by)
        if let problem = interlockProblem(index, now), !isFailSafe(position, index) {
            guard actuators[index].resumesAfterInterlock || isAwaited(index, now) else {
                log(index, .refused, goal, problem, &effects)
                return effects
            }
            states[index].wanted = goal
            log(index, .waits, goal, problem, &effects)
            return effects
        }
        states[index].wanted = goal
        if let override = states[index].override {
            log(index, .waits, goal, Self.words(override, now), &effects)
        } else if let problem = sensorProblem(index, now), !isFailSafe(position, index) {
            log(index, .waits, goal, problem, &effects)
        } else {
            drive(index, now, &effects, restates: true)
        }
        return effects
    }

    /// A command asks for a position. It is never done later: what cannot be done now is refused.
    ///
    /// - Returns: why not; `nil` when the driver may be asked. It then counts as moved; `commandFailed` says otherwise.
    public mutating func commandAsks(
        _ index: Int, for position: ReadingValue, by: String, at now: MonotonicInstant
    ) -> (refusal: String?, effects: [ActuationEffect]) {
        var effects: [ActuationEffect] = []
        let goal = Goal(position: position, by: by)
        if let refusal = refusal(index, position, now) {
            log(index, .refused, goal, refusal, &effects)
            return ("\(actuators[index].name) was not moved: \(refusal)", effects)
        }
        states[index].wanted = goal
        states[index].waitsUntil = nil
        noteMove(index, position, by: by, now, &effects)
        return (nil, effects)
    }

    /// The driver did not do what `commandAsks` let pass: nobody knows where the actuator is.
    public mutating func commandFailed(_ index: Int, by: String, reason: String) -> [ActuationEffect] {
        var entry = ActuationEntry(actuators[index].name, .failed, by: by)
        entry.reason = reason
        states[index].position = nil
        states[index].wanted = nil
        return [.log(entry)]
    }

    private func refusal(_ index: Int, _ position: ReadingValue, _ now: MonotonicInstant) -> String? {
        if let override = states[index].override { return Self.words(override, now) + "; release it first" }
        if !isFailSafe(position, index), let problem = problem(index, now) { return problem }
        if let wait = wait(index, position, now) { return wait.reason }
        guard let slewed = slewed(index, position, now), !slewed.isSamePosition(as: position) else { return nil }
        return "it may change by \(Self.text(actuators[index].slew?.change ?? 0)) per "
            + "\(DurationText.format(actuators[index].slew?.per ?? .zero)); as far as \(slewed) is allowed now"
    }

    /// A person takes over.
    ///
    /// - Returns: why not; `nil` when it holds from now on.
    public mutating func overrideAsked(
        _ index: Int, position: ReadingValue, who: String, lasting: Duration, at now: MonotonicInstant
    ) -> (refusal: String?, effects: [ActuationEffect]) {
        var effects: [ActuationEffect] = []
        let goal = Goal(position: position, by: "override by \(who)")
        var refusal: String?
        if lasting <= .zero || lasting > actuators[index].overrideMax {
            refusal = "an override lasts at most \(DurationText.format(actuators[index].overrideMax))"
        } else if !isFailSafe(position, index), let problem = interlockProblem(index, now) {
            refusal = problem
        }
        if let refusal {
            log(index, .refused, goal, refusal, &effects)
            return ("\(actuators[index].name) is not overridden: \(refusal)", effects)
        }
        states[index].override = Override(position: position, who: who, until: now + lasting)
        var entry = ActuationEntry(actuators[index].name, .overrideBegan, by: goal.by)
        entry.to = position
        entry.lasts = lasting
        effects.append(.log(entry))
        drive(index, now, &effects)
        return (nil, effects)
    }

    /// A person gives it back: what rules and commands asked for meanwhile is done.
    ///
    /// - Returns: `false` when nobody had taken over.
    public mutating func released(
        _ index: Int, by: String, at now: MonotonicInstant
    ) -> (wasOverridden: Bool, effects: [ActuationEffect]) {
        guard states[index].override != nil else { return (false, []) }
        var effects: [ActuationEffect] = []
        endOverride(index, by: by, &effects)
        drive(index, now, &effects)
        return (true, effects)
    }

    // MARK: - Values and time

    /// A value came from a sensor; `nil` for one that is no number or is of bad quality: it was heard, and is unknown.
    public mutating func observed(
        _ sensor: Actuator.Sensor, _ value: Double?, at now: MonotonicInstant
    ) -> [ActuationEffect] {
        guard let indices = readers[sensor] else { return [] }
        inputs[sensor] = Input(value: value, heardAt: now)
        var effects: [ActuationEffect] = []
        for index in indices { look(index, now, &effects) }
        return effects
    }

    /// Whether any actuator depends on the sensor.
    public func reads(_ sensor: Actuator.Sensor) -> Bool { readers[sensor] != nil }

    /// The clock has moved.
    public mutating func timeReached(_ now: MonotonicInstant) -> [ActuationEffect] {
        var effects: [ActuationEffect] = []
        for index in actuators.indices {
            if let override = states[index].override, override.until <= now {
                endOverride(index, by: "time", &effects)
                states[index].waitsUntil = now
            }
            look(index, now, &effects)
            if let until = states[index].waitsUntil, until <= now { drive(index, now, &effects) }
        }
        return effects
    }

    /// When `timeReached` has something to do, if nothing comes before; `nil` for never.
    public func nextDeadline(after now: MonotonicInstant) -> MonotonicInstant? {
        actuators.indices.compactMap { deadline(of: $0, now) }.min()
    }
}
