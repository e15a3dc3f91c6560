import Expressions
import Primitives
public import Telemetry

extension ActuationDesk {
    // MARK: - Moving

    /// Brings the actuator as near to where it shall be as it may go now.
    mutating func drive(
        _ index: Int, _ now: MonotonicInstant, _ effects: inout [ActuationEffect], restates: Bool = false
    ) {
        states[index].waitsUntil = nil
        guard let goal = goal(index) else { return }
        if !isFailSafe(goal.position, index), problem(index, now) != nil { return }
        if let position = states[index].position, position.isSamePosition(as: goal.position) {
            // Saying again what is to be is harmless, and mends what a power cut has undone.
            if restates { effects.append(.write(index, goal.position)) }
            return
        }
        if let wait = wait(index, goal.position, now) {
            states[index].waitsUntil = wait.until
            if states[index].saidWaiting != goal { log(index, .waits, goal, wait.reason, &effects) }
            states[index].saidWaiting = goal
            return
        }
        states[index].saidWaiting = nil
        guard let next = slewed(index, goal.position, now), !next.isSamePosition(as: goal.position) else {
            return move(index, goal.position, by: goal.by, now, &effects)
        }
        if states[index].waitsUntil == nil, states[index].rampingTo != goal {
            log(index, .ramping, goal, "", &effects)
            states[index].rampingTo = goal
        }
        step(index, next, now, &effects)
        states[index].waitsUntil = now + Self.rampInterval
    }

    /// Writes a position and logs it.
    mutating func move(
        _ index: Int, _ position: ReadingValue, by: String, _ now: MonotonicInstant,
        _ effects: inout [ActuationEffect], countsSwitching: Bool = true
    ) {
        effects.append(.write(index, position))
        noteMove(index, position, by: by, now, &effects, countsSwitching: countsSwitching)
    }

    mutating func noteMove(
        _ index: Int, _ position: ReadingValue, by: String, _ now: MonotonicInstant,
        _ effects: inout [ActuationEffect], countsSwitching: Bool = true
    ) {
        var entry = ActuationEntry(actuators[index].name, .moved, by: by)
        entry.to = position
        entry.from = states[index].position
        effects.append(.log(entry))
        noteStep(index, position, now, countsSwitching)
        states[index].rampingTo = nil
        states[index].saidWaiting = nil
    }

    /// One step of a ramp: written, not logged.
    private mutating func step(
        _ index: Int, _ position: ReadingValue, _ now: MonotonicInstant, _ effects: inout [ActuationEffect]
    ) {
        effects.append(.write(index, position))
        noteStep(index, position, now, true)
    }

    private mutating func noteStep(
        _ index: Int, _ position: ReadingValue, _ now: MonotonicInstant, _ countsSwitching: Bool
    ) {
        if countsSwitching, states[index].position.map({ $0.isOn != position.isOn }) ?? true {
            states[index].switchings.append(now)
            let kept = max(1, actuators[index].switchingsMax)
            if states[index].switchings.count > kept {
                states[index].switchings.removeFirst(states[index].switchings.count - kept)
            }
        }
        states[index].position = position
        states[index].movedAt = now
    }

    /// Where it shall be, when nothing stands against it.
    private func goal(_ index: Int) -> Goal? {
        states[index].override.map { Goal(position: $0.position, by: "override by \($0.who)") } ?? states[index].wanted
    }

    // MARK: - Limits

    /// Until when the position must wait, and why.
    func wait(
        _ index: Int, _ position: ReadingValue, _ now: MonotonicInstant
    ) -> (until: MonotonicInstant, reason: String)? {
        guard let current = states[index].position, current.isOn != position.isOn else { return nil }
        let actuator = actuators[index]
        let least = current.isOn ? actuator.onTimeMin : actuator.offTimeMin
        if let last = states[index].switchings.last, now < last + least {
            return (
                last + least,
                "it stays \(current.isOn ? "on" : "off") for at least \(DurationText.format(least)); "
                    + "\(Self.seconds(last + least - now)) are left"
            )
        }
        let limit = actuator.switchingsMax
        if limit > 0, states[index].switchings.count >= limit {
            let until = states[index].switchings[states[index].switchings.count - limit] + actuator.switchingsPer
            if now < until {
                return (
                    until,
                    "it switches at most \(limit) times in \(DurationText.format(actuator.switchingsPer)); "
                        + "\(Self.seconds(until - now)) are left"
                )
            }
        }
        return nil
    }

    /// The position, or how far towards it the actuator may go now; `nil` when there is no such limit.
    func slewed(_ index: Int, _ position: ReadingValue, _ now: MonotonicInstant) -> ReadingValue? {
        guard let slew = actuators[index].slew, let current = states[index].position?.double,
            let wanted = position.double
        else { return nil }
        let elapsed = states[index].movedAt.map { Self.seconds($0, now) } ?? slew.per.inSeconds
        let most = slew.change * min(1, max(elapsed, Self.rampInterval.inSeconds) / slew.per.inSeconds)
        guard (wanted - current).magnitude > most else { return position }
        return DecimalText(current + (wanted > current ? most : -most)).map(ReadingValue.number)
    }

    // MARK: - What must hold

    /// Why the actuator may not leave its fail-safe position; `nil` when it may.
    func problem(_ index: Int, _ now: MonotonicInstant) -> String? {
        interlockProblem(index, now) ?? sensorProblem(index, now)
    }

    func interlockProblem(_ index: Int, _ now: MonotonicInstant) -> String? {
        let actuator = actuators[index]
        for interlock in actuator.interlocks {
            switch interlock.truth({ value(of: interlock.signals[$0], actuator.interlockAgeMax, now) }) {
            case true?: continue
            case false?: return "the interlock \(interlock.text) does not hold"
            case nil: return "the interlock \(interlock.text) is not known to hold"
            }
        }
        return nil
    }

    private func value(of signal: SignalName, _ ageMax: Duration, _ now: MonotonicInstant) -> Double? {
        guard let device = signal.device,
            let input = inputs[Actuator.Sensor(device: device, metric: signal.metric)], let heardAt = input.heardAt,
            ageMax == .zero || now - heardAt <= ageMax
        else { return nil }
        return input.value
    }

    func sensorProblem(_ index: Int, _ now: MonotonicInstant) -> String? {
        let actuator = actuators[index]
        for sensor in actuator.sensors where now - (inputs[sensor]?.heardAt ?? begunAt) >= actuator.sensorTimeout {
            return "\(sensor.device)/\(sensor.metric) was not heard for \(DurationText.format(actuator.sensorTimeout))"
        }
        return nil
    }

    func isFailSafe(_ position: ReadingValue, _ index: Int) -> Bool {
        actuators[index].failSafe.map { $0.isSamePosition(as: position) } ?? false
    }

    /// Notices what was lost or has come back, and goes to the fail-safe position where that is asked for.
    mutating func look(_ index: Int, _ now: MonotonicInstant, _ effects: inout [ActuationEffect]) {
        states[index].lookedAt = now
        lookAtInterlock(index, now, &effects)
        let lost = sensorProblem(index, now)
        if let lost, !states[index].isSensorLost {
            states[index].isSensorLost = true
            note(index, .sensorLost, lost, &effects)
            goSafe(index, by: "sensor", now, &effects)
        } else if lost == nil, states[index].isSensorLost {
            states[index].isSensorLost = false
            note(index, .sensorBack, "", &effects)
            drive(index, now, &effects)
        }
    }

    private mutating func lookAtInterlock(
        _ index: Int, _ now: MonotonicInstant, _ effects: inout [ActuationEffect]
    ) {
        let lost = interlockProblem(index, now)
        if let lost, !states[index].isInterlockLost {
            guard !isAwaited(index, now) else { return }
            states[index].isInterlockLost = true
            note(index, .interlockLost, lost, &effects)
            if states[index].override != nil { endOverride(index, by: "interlock", &effects) }
            if !actuators[index].resumesAfterInterlock { states[index].wanted = nil }
            goSafe(index, by: "interlock", now, &effects)
        } else if lost == nil, states[index].isInterlockLost {
            states[index].isInterlockLost = false
            note(index, .interlockHolds, "", &effects)
            drive(index, now, &effects)
        } else if lost == nil, states[index].wanted != nil, !actuators[index].interlocks.isEmpty {
            // What was asked for before the first word of an input.
            if states[index].waitsUntil == nil { drive(index, now, &effects) }
        }
    }

    /// Just started, and an input of an interlock was not heard yet: what a rule asks for waits for it, so that a restart
    /// does not undo what a fault that is still open has done. Nothing moves meanwhile.
    func isAwaited(_ index: Int, _ now: MonotonicInstant) -> Bool {
        now - begunAt < Self.startTime && actuators[index].interlockSensors.contains { inputs[$0]?.heardAt == nil }
    }

    private mutating func goSafe(
        _ index: Int, by: String, _ now: MonotonicInstant, _ effects: inout [ActuationEffect]
    ) {
        states[index].waitsUntil = nil
        guard let safe = actuators[index].failSafe, !(states[index].position?.isSamePosition(as: safe) ?? false) else {
            return
        }
        move(index, safe, by: by, now, &effects)
    }

    mutating func endOverride(_ index: Int, by: String, _ effects: inout [ActuationEffect]) {
        states[index].override = nil
        effects.append(.log(ActuationEntry(actuators[index].name, .overrideEnded, by: by)))
    }

    // MARK: - Deadlines

    func deadline(of index: Int, _ now: MonotonicInstant) -> MonotonicInstant? {
        let actuator = actuators[index]
        let state = states[index]
        var dates = [state.waitsUntil, state.override?.until]
        if !state.isSensorLost {
            dates += actuator.sensors.map { (inputs[$0]?.heardAt ?? begunAt) + actuator.sensorTimeout }
        }
        if !state.isInterlockLost, !actuator.interlocks.isEmpty {
            if now < begunAt + Self.startTime { dates.append(begunAt + Self.startTime) }
            if actuator.interlockAgeMax > .zero {
                // An input that is too old need not make the interlock unknown; then it is looked at once.
                dates += actuator.interlockSensors.compactMap { inputs[$0]?.heardAt }
                    .map { $0 + actuator.interlockAgeMax + .nanoseconds(1) }
                    .filter { date in state.lookedAt.map { date > $0 } ?? true }
            }
        }
        return dates.compactMap(\.self).min()
    }

    // MARK: - Words

    func log(
        _ index: Int, _ event: ActuationEntry.Event, _ goal: Goal, _ reason: String,
        _ effects: inout [ActuationEffect]
    ) {
        var entry = ActuationEntry(actuators[index].name, event, by: goal.by)
        entry.to = goal.position
        entry.from = states[index].position
        entry.reason = reason
        effects.append(.log(entry))
    }

    private func note(
        _ index: Int, _ event: ActuationEntry.Event, _ reason: String, _ effects: inout [ActuationEffect]
    ) {
        var entry = ActuationEntry(actuators[index].name, event, by: event == .interlockLost ? "interlock" : "sensor")
        if event == .interlockHolds { entry.by = "interlock" }
        entry.reason = reason
        effects.append(.log(entry))
    }

    static func words(_ override: Override, _ now: MonotonicInstant) -> String {
        "\(override.who) overrides it for another \(seconds(override.until - now))"
    }

    static func text(_ number: Double) -> String { DecimalText(number)?.text ?? "\(number)" }

    /// Whole seconds, rounded up.
    private static func seconds(_ duration: Duration) -> String {
        DurationText.format(.seconds(Int64(max(0, duration.inSeconds).rounded(.up))))
    }

    private static func seconds(_ from: MonotonicInstant, _ to: MonotonicInstant) -> Double { (to - from).inSeconds }
}

extension Duration {
    var inSeconds: Double { Double(nanosecondsClamped) / 1e9 }
}

extension Actuator {
    /// What its interlocks read. The configuration has checked that every signal names its device.
    var interlockSensors: [Sensor] {
        interlocks.flatMap(\.signals).compactMap { signal in
            signal.device.map { Sensor(device: $0, metric: signal.metric) }
        }
    }
}

/// What is known of an actuator from an earlier run.
public struct KnownActuator: Sendable, Equatable {
    public var position: ReadingValue?
    /// How long ago it switched; 0 when the clock could not tell, so that a least time is rather kept twice.
    public var switchedAgo: Duration?
    public var override: (position: ReadingValue, who: String, lasts: Duration)?

    public init() {}

    public static func == (left: Self, right: Self) -> Bool {
        left.position == right.position && left.switchedAgo == right.switchedAgo
            && left.override?.position == right.override?.position && left.override?.who == right.override?.who
            && left.override?.lasts == right.override?.lasts
    }
}
