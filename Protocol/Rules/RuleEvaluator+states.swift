public import Primitives

/// What happens to one state.
extension RuleEvaluator {
    /// What `stuck` holds values against.
    struct Anchor: Sendable {
        /// The first of the values that stand still; `nil` before there is one.
        var value: Double?
        var since: Int64
    }

    mutating func makeMemory(_ rule: Int, _ state: State) -> Int32 {
        switch compiled[rule].judge.memory {
        case .none: return -1
        case .program: return makeProgram(rule, devices[Int(state.device)], state: states.count)
        case .window:
            windows.append(ChangeWindow())
            return Int32(windows.count - 1)
        case .average:
            averages.append(MovingAverage())
            return Int32(averages.count - 1)
        case .anchor:
            // A fault that is open knows what the value stood at; it is over when the value leaves that.
            let isOpen = state.phase == .breached
            anchors.append(Anchor(value: isOpen ? state.value : nil, since: isOpen ? .min : state.since))
            return Int32(anchors.count - 1)
        }
    }

    mutating func step(_ index: Int, _ value: Double?, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        let rule = Int(states[index].rule)
        // Of an expression each input has its own order; together they are as late as the latest.
        let now = compiled[rule].isExpression ? max(now, states[index].lastSeen) : now
        guard now >= states[index].lastSeen else { return }
        if compiled[rule].zone >= 0 { followSchedule(index, now, &outcomes) }
        if compiled[rule].isSilence { return heard(index, value, now, &outcomes) }
        if compiled[rule].isExpression { return combine(index, now, &outcomes) }
        guard let value else { return }
        states[index].lastSeen = now
        states[index].last = value
        // Averages and windows go on outside the schedule, so that they are right when it begins.
        let verdict = verdict(index, value, now)
        guard states[index].isActive else { return }
        settle(index, verdict, value, now, &outcomes)
    }

    private mutating func heard(_ index: Int, _ value: Double?, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        states[index].lastSeen = now
        if states[index].phase == .breached {
            enter(.clear, index, now)
            outcomes.append(outcome(index, .recovered, value, now))
        }
        arm(index)
    }

    private mutating func verdict(_ index: Int, _ value: Double, _ now: Int64) -> Judge.Verdict {
        let rule = Int(states[index].rule)
        let memory = Int(states[index].memory)
        let hysteresis = compiled[rule].hysteresis
        switch compiled[rule].judge {
        case .changing(let direction, let limit, let window):
            let change = windows[memory].observe(value, at: now, window: window)
            let size =
                switch direction {
                case .rises: change.rise
                case .falls: change.fall
                case .changes: max(change.rise, change.fall)
                }
            if size >= limit { return .breached }
            // After a restart the window is empty; it says nothing about the end of a fault until it has filled.
            if size >= limit - hysteresis || now &- windows[memory].startedAt < window { return .between }
            return .good
        case .stuck(let tolerance, let time):
            guard let anchor = anchors[memory].value, (value - anchor).magnitude <= tolerance else {
                anchors[memory] = Anchor(value: value, since: now)
                return .good
            }
            return anchors[memory].since == .min || now &- anchors[memory].since >= time ? .breached : .between
        case .deviating(let gauge):
            guard let score = averages[memory].observe(value, at: now, gauge) else { return .undecided }
            if score > gauge.sigmas { return .breached }
            return score > gauge.sigmas - hysteresis ? .between : .good
        case .expression(let maxAge): return truth(index, now, maxAge)
        case .above, .atLeast, .below, .atMost, .equal, .notEqual, .inside, .outside, .silent:
            return compiled[rule].judge.verdict(on: value, hysteresis: hysteresis)
        }
    }

    mutating func settle(
        _ index: Int, _ verdict: Judge.Verdict, _ value: Double?, _ now: Int64, _ outcomes: inout [RuleOutcome]
    ) {
        switch (states[index].phase, verdict) {
        case (.clear, .breached):
            states[index].value = value
            enter(.pending, index, now)
            fireOrWait(index, now, &outcomes)
        case (.pending, .breached):
            states[index].value = value
            fireOrWait(index, now, &outcomes)
        case (.pending, .between), (.pending, .good), (.pending, .undecided): enter(.clear, index, now)
        case (.breached, .good):
            states[index].value = value
            enter(.clear, index, now)
            outcomes.append(outcome(index, .recovered, value, now))
        case (.clear, _), (.breached, _): break
        }
    }

    private mutating func fireOrWait(_ index: Int, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        if let due = phaseDeadline(of: index), due > now { return arm(index) }
        fire(index, now, &outcomes)
    }

    private mutating func fire(_ index: Int, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        enter(.breached, index, now)
        let value = compiled[Int(states[index].rule)].isSilence ? nil : states[index].value
        outcomes.append(outcome(index, .breached, value, now))
    }

    /// A deadline of the state has come.
    mutating func timePassed(_ index: Int, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        if compiled[Int(states[index].rule)].zone >= 0 { followSchedule(index, now, &outcomes) }
        guard let due = phaseDeadline(of: index), due <= now else { return }
        // An input may have grown too old while the breach was pending.
        if case .expression(let maxAge) = compiled[Int(states[index].rule)].judge,
            truth(index, now, maxAge) != .breached
        {
            return enter(.clear, index, now)
        }
        fire(index, now, &outcomes)
    }

    /// When time alone will change the state.
    func deadline(of index: Int) -> Int64? {
        guard compiled[Int(states[index].rule)].zone >= 0 else { return phaseDeadline(of: index) }
        guard let change = scheduleChange(of: index) else { return phaseDeadline(of: index) }
        return min(change, phaseDeadline(of: index) ?? change)
    }

    private func phaseDeadline(of index: Int) -> Int64? {
        let rule = Int(states[index].rule)
        guard states[index].isActive else { return nil }
        switch states[index].phase {
        case .clear where compiled[rule].isSilence:
            return Self.later(max(states[index].lastSeen, states[index].since), by: compiled[rule].hold)
        case .pending: return Self.later(states[index].since, by: compiled[rule].hold)
        case .clear, .breached: return nil
        }
    }

    private static func later(_ instant: Int64, by nanoseconds: Int64) -> Int64 {
        let (sum, overflow) = instant.addingReportingOverflow(nanoseconds)
        return overflow ? .max : sum
    }
}

/// Schedules.
extension RuleEvaluator {
    /// Says how the axis is told as time of day. Rules with a schedule follow it from the next input on.
    public mutating func clockIs(_ clock: RuleClock?, at now: MonotonicInstant) {
        guard !zones.isEmpty, clock != self.clock else { return }
        precondition(clock.map { $0.zoneOffsets.count == zones.count } ?? true, "an offset for each zone is needed")
        // A clock that is disciplined drifts by little all the time; only what moves a boundary by a second counts.
        let isStep = self.clock.map { old in clock.map { !$0.isNear(old) } ?? true } ?? true
        self.clock = clock
        if isStep { noteDeadline(now.nanoseconds) }
    }

    /// Brings the state up to date with its rule's schedule.
    mutating func followSchedule(_ index: Int, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        let isActive = isInForce(Int(states[index].rule), at: now)
        states[index].checkedAt = now
        guard isActive != states[index].isActive else { return }
        states[index].isActive = isActive
        guard isActive else { return suspend(index, now, &outcomes) }
        // What lasts counts from here: nobody watched before.
        states[index].since = now
        if case .stuck = compiled[Int(states[index].rule)].judge { anchors[Int(states[index].memory)].since = now }
        if compiled[Int(states[index].rule)].isExpression {
            combine(index, now, &outcomes)
        } else if let last = states[index].last, compiled[Int(states[index].rule)].judge.memory == .none {
            let rule = compiled[Int(states[index].rule)]
            settle(index, rule.judge.verdict(on: last, hysteresis: rule.hysteresis), last, now, &outcomes)
        }
        arm(index)
    }

    private mutating func suspend(_ index: Int, _ now: Int64, _ outcomes: inout [RuleOutcome]) {
        let wasBreached = states[index].phase == .breached
        if states[index].phase != .clear { enter(.clear, index, now) }
        if wasBreached { outcomes.append(outcome(index, .suspended, nil, now)) }
        arm(index)
    }

    func isInForce(_ rule: Int, at now: Int64) -> Bool {
        guard let schedule = rules[rule].schedule else { return true }
        guard let clock else { return schedule.isActiveWithoutClock }
        return schedule.contains(minuteOfWeek: clock.minuteOfWeek(at: now, zone: compiled[rule].zone))
    }

    private func scheduleChange(of index: Int) -> Int64? {
        let rule = Int(states[index].rule)
        guard let schedule = rules[rule].schedule else { return nil }
        let seen = states[index].checkedAt
        guard let clock else { return schedule.isActiveWithoutClock == states[index].isActive ? nil : seen }
        let minute = clock.minuteOfWeek(at: seen, zone: compiled[rule].zone)
        // The clock may have been set since: then it is looked at again at once.
        guard schedule.contains(minuteOfWeek: minute) == states[index].isActive else { return seen }
        return schedule.minutesToChange(from: minute).map {
            clock.startOfMinute(at: seen, zone: compiled[rule].zone, minutesOn: $0)
        }
    }
}

/// How instants on an evaluator's axis are told as time of day.
public struct RuleClock: Hashable, Sendable {
    /// Milliseconds since 1970 minus milliseconds on the axis.
    public let wallOffset: Int64
    /// Seconds east of Greenwich, for each of the evaluator's `zones`.
    public let zoneOffsets: [Int]

    public init(wallOffset: Int64, zoneOffsets: [Int]) {
        self.wallOffset = wallOffset
        self.zoneOffsets = zoneOffsets
    }

    func isNear(_ other: RuleClock) -> Bool {
        zoneOffsets == other.zoneOffsets && (wallOffset - other.wallOffset).magnitude < 1000
    }

    /// 0 is Monday 00:00.
    func minuteOfWeek(at instant: Int64, zone: Int) -> Int {
        // 1970 began on a Thursday.
        let minutes = Self.floor(localMilliseconds(instant, zone), 60_000) + 3 * 1440
        let week = Int64(Schedule.minutesPerWeek)
        return Int(minutes - Self.floor(minutes, week) * week)
    }

    /// The instant at which the minute begins that is so many minutes after the one of `instant`.
    func startOfMinute(at instant: Int64, zone: Int, minutesOn: Int) -> Int64 {
        let local = localMilliseconds(instant, zone)
        let next = (Self.floor(local, 60_000) + Int64(minutesOn)) * 60_000
        return instant &+ (next - local) &* 1_000_000
    }

    private func localMilliseconds(_ instant: Int64, _ zone: Int) -> Int64 {
        instant / 1_000_000 &+ wallOffset &+ Int64(zoneOffsets[zone]) * 1000
    }

    private static func floor(_ value: Int64, _ unit: Int64) -> Int64 {
        value >= 0 ? value / unit : -((-value + unit - 1) / unit)
    }
}
