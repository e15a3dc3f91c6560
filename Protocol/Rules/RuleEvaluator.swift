public import Primitives

/// What a rule found about one device.
public struct RuleOutcome: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case breached
        case recovered
        /// It was in breach when its schedule ended: the fault is over, whatever the value is.
        case suspended
        /// There is no room to watch this device: the rule does not see it. Said once for each rule.
        case full
    }

    /// Index in the evaluator's `rules`.
    public let rule: Int
    public let device: DeviceID
    public let kind: Kind
    /// The value that decided; `nil` when silence or the schedule did.
    public let value: Double?
    public let at: MonotonicInstant
}

/// Holds values against rules: the same code at the edge and in the hub.
///
///                  breached                held for the rule's time
///     clear ───────────────► pending ───────────────────────────► breached
///       ▲   ◄─── good again ───┘                                     │
///       └── recovered, beyond the hysteresis; or its schedule ended ─┘
///
/// One state for each (rule, device). Time comes with every input; an observation older than the last one of its state
/// is left out, so that back-fill never reopens anything. Values that are not finite decide nothing.
public struct RuleEvaluator: Sendable {
    /// States that are kept at most: 2,560. A gateway's snapshot, with its open faults, then stays under 1 MiB.
    public static let statesMaxDefault = 2560

    struct State: Sendable {
        enum Phase: UInt8, Sendable { case clear = 0, pending = 1, breached = 2 }

        let rule: Int32
        /// Index in `devices`.
        let device: Int32
        /// Index in the table of its kind of memory; -1 without one.
        var memory: Int32 = -1
        var phase = Phase.clear
        /// Whether the rule's schedule, if it has one, is in force.
        var isActive = true
        /// When the phase began, and when the rule came into force. Nanoseconds, as all times here.
        var since: Int64
        /// The last observation, or when watching began.
        var lastSeen: Int64
        /// When the schedule was last looked at.
        var checkedAt: Int64
        /// What began the breach, or the last value of a pending one.
        var value: Double?
        /// The last value of all; not in a snapshot.
        var last: Double?
    }

    struct Key: Hashable, Sendable {
        let device: DeviceID
        let metric: String
    }

    struct StateKey: Hashable, Sendable {
        let rule: Int
        let device: DeviceID
    }

    /// What an observation concerns.
    private struct WatchList: Sendable {
        var states: [Int]
        /// Where expressions find the value; -1 when none reads it.
        let input: Int
    }

    public let rules: [Rule]
    public let statesMax: Int
    /// Changes with every change that a snapshot should keep; being heard is not one.
    public private(set) var revision: UInt64 = 0
    /// Observations that no state could be made for, since the start.
    public private(set) var unwatchedCount: UInt64 = 0
    /// The zones of the rules' schedules, each once; empty when no rule has one.
    public let zones: [Schedule.Zone]
    /// How time on the evaluator's axis is told as time of day; `nil` while nobody knows.
    var clock: RuleClock?

    let compiled: [CompiledRule]
    var states: [State] = []
    private(set) var devices: [DeviceID] = []
    private var deviceIndex: [DeviceID: Int32] = [:]
    private var stateIndex: [StateKey: Int] = [:]
    /// Which states an observation concerns: an index in `watchLists`; filled when a device and metric are first seen.
    private var watched: [Key: Int] = [:]
    private var watchedAnyMetric: [DeviceID: Int] = [:]
    /// The first is for what is not remembered.
    private var watchLists = [WatchList(states: [], input: -1)]
    private let namedRules: [Key: [Int]]
    private let anyDeviceRules: [String: [Int]]
    private let namedAnyMetricRules: [DeviceID: [Int]]
    private let openAnyMetricRules: [Int]
    private let hasAnyMetricRules: Bool
    private var saidFull: Set<Int> = []
    /// No deadline lies before it; it may be earlier than the first one.
    private var earliest: Int64?

    // The memory of the kinds that have one, by `State.memory`.
    var windows: [ChangeWindow] = []
    var averages: [MovingAverage] = []
    var anchors: [Anchor] = []
    var programs: [Program] = []
    /// What the programs read; each value once.
    var inputs: [Input] = []
    var inputIndex: [Key: Int] = [:]
    let expressions: ExpressionIndex

    /// - Parameter rules: names must differ; what runs elsewhere is the caller's to leave out.
    public init(rules: [Rule], statesMax: Int = Self.statesMaxDefault) {
        precondition(Set(rules.map(\.name)).count == rules.count, "two rules have the same name")
        self.rules = rules
        self.statesMax = statesMax
        var zones: [Schedule.Zone] = []
        for case let zone? in rules.map(\.schedule?.zone) where !zones.contains(zone) { zones.append(zone) }
        self.zones = zones
        compiled = rules.map { CompiledRule($0, zones: zones) }
        var named: [Key: [Int]] = [:]
        var anyDevice: [String: [Int]] = [:]
        var namedAny: [DeviceID: [Int]] = [:]
        var openAny: [Int] = []
        for (index, rule) in rules.enumerated() where rule.signals.isEmpty {
            switch (rule.device, rule.metric) {
            case (.any, let metric?): anyDevice[metric, default: []].append(index)
            case (.one(let device), let metric?):
                named[Key(device: device, metric: metric), default: []].append(index)
            case (.any, nil): openAny.append(index)
            case (.one(let device), nil): namedAny[device, default: []].append(index)
            }
        }
        namedRules = named
        anyDeviceRules = anyDevice
        namedAnyMetricRules = namedAny
        openAnyMetricRules = openAny
        expressions = ExpressionIndex(rules)
        hasAnyMetricRules = !openAny.isEmpty || !namedAny.isEmpty
    }

    /// Starts the clock of rules about the silence of a named device: it may never have spoken. Call once, after
    /// `restore` if there is something to restore.
    public mutating func begin(at now: MonotonicInstant) {
        for (index, rule) in rules.enumerated() {
            guard rule.condition == .silent, case .one(let device) = rule.device else { continue }
            guard let state = state(rule: index, device: device, at: now.nanoseconds) else { continue }
            arm(state)
        }
    }

    /// The earliest instant at which `timeReached` may have something to say; `nil` for never. Calling early is fine.
    public var nextDeadline: MonotonicInstant? { earliest.map(MonotonicInstant.init(nanoseconds:)) }

    /// Whether the rule is in breach for the device.
    public func isBreached(rule: String, device: DeviceID) -> Bool { breachedState(rule, device) != nil }

    /// The value that began the breach; `nil` when there is none, or silence began it.
    public func breachingValue(rule: String, device: DeviceID) -> Double? { breachedState(rule, device)?.value }

    private func breachedState(_ rule: String, _ device: DeviceID) -> State? {
        guard let index = rules.firstIndex(where: { $0.name == rule }),
            let state = stateIndex[StateKey(rule: index, device: device)], states[state].phase == .breached
        else { return nil }
        return states[state]
    }

    // MARK: - Inputs

    /// A value came in. Not finite: nothing happens. Cost: no allocation unless something fires or is seen first.
    public mutating func observed(
        device: DeviceID, metric: String, value: Double, at now: MonotonicInstant
    ) -> [RuleOutcome] {
        guard value.isFinite else { return [] }
        return visit(Key(device: device, metric: metric), value: value, at: now.nanoseconds)
    }

    /// Something came in that is no number, such as a text: it only ends silence.
    public mutating func heard(device: DeviceID, metric: String, at now: MonotonicInstant) -> [RuleOutcome] {
        visit(Key(device: device, metric: metric), value: nil, at: now.nanoseconds)
    }

    /// The clock has moved: fires what was waiting for time alone.
    public mutating func timeReached(_ now: MonotonicInstant) -> [RuleOutcome] {
        let now = now.nanoseconds
        guard let first = earliest, first <= now else { return [] }
        earliest = nil
        var outcomes: [RuleOutcome] = []
        for index in states.indices {
            guard let deadline = deadline(of: index) else { continue }
            if deadline <= now { timePassed(index, now, &outcomes) }
            arm(index)
        }
        return outcomes
    }

    private mutating func visit(_ key: Key, value: Double?, at now: Int64) -> [RuleOutcome] {
        var outcomes: [RuleOutcome] = []
        if let list = watched[key] ?? watch(key, now, &outcomes) {
            if watchLists[list].input >= 0 { take(value, into: watchLists[list].input, at: now) }
            for index in watchLists[list].states { step(index, value, now, &outcomes) }
        }
        guard hasAnyMetricRules else { return outcomes }
        if let list = watchedAnyMetric[key.device] ?? watchAnyMetric(of: key.device, now, &outcomes) {
            for index in watchLists[list].states { step(index, value, now, &outcomes) }
        }
        return outcomes
    }

    /// Makes the states of what is seen for the first time; `nil` when no rule wants it. When one of them finds no room,
    /// they are not remembered, and the next observation tries again.
    private mutating func watch(_ key: Key, _ now: Int64, _ outcomes: inout [RuleOutcome]) -> Int? {
        let named = namedRules[key]
        let open = anyDeviceRules[key.metric]
        let isRead = expressions.reads(key)
        guard named != nil || open != nil || isRead else { return nil }
        var (indices, isComplete) = makeStates(of: ((named ?? []) + (open ?? [])).sorted(), key.device, now, &outcomes)
        var input = -1
        if isRead {
            let found = programStates(reading: key, now, &outcomes)
            indices += found.indices
            isComplete = isComplete && found.isComplete
            input = inputPlace(of: key)
        }
        let list = remember(WatchList(states: indices, input: input), isComplete)
        if isComplete { watched[key] = list }
        return list
    }

    private mutating func remember(_ list: WatchList, _ isComplete: Bool) -> Int {
        guard isComplete else {
            watchLists[0] = list
            return 0
        }
        watchLists.append(list)
        return watchLists.count - 1
    }

    /// A state that reads a key which was watched before is one of its watchers from now on.
    mutating func joinWatchers(of key: Key, _ state: Int) {
        guard let list = watched[key], !watchLists[list].states.contains(state) else { return }
        watchLists[list].states.append(state)
    }

    private mutating func watchAnyMetric(
        of device: DeviceID, _ now: Int64, _ outcomes: inout [RuleOutcome]
    ) -> Int? {
        let named = namedAnyMetricRules[device]
        guard named != nil || !openAnyMetricRules.isEmpty else { return nil }
        let (indices, isComplete) = makeStates(
            of: ((named ?? []) + openAnyMetricRules).sorted(), device, now, &outcomes)
        let list = remember(WatchList(states: indices, input: -1), isComplete)
        if isComplete { watchedAnyMetric[device] = list }
        return list
    }

    mutating func makeStates(
        of candidates: [Int], _ device: DeviceID, _ now: Int64, _ outcomes: inout [RuleOutcome]
    ) -> (indices: [Int], isComplete: Bool) {
        var indices: [Int] = []
        var isComplete = true
        for rule in candidates where rules[rule].device.selects(device) {
            if let index = state(rule: rule, device: device, at: now) {
                indices.append(index)
            } else {
                isComplete = false
                unwatchedCount += 1
                if saidFull.insert(rule).inserted {
                    outcomes.append(
                        RuleOutcome(
                            rule: rule, device: device, kind: .full, value: nil,
                            at: MonotonicInstant(nanoseconds: now)))
                }
            }
        }
        return (indices, isComplete)
    }

    private mutating func state(rule: Int, device: DeviceID, at now: Int64) -> Int? {
        if let index = stateIndex[StateKey(rule: rule, device: device)] { return index }
        guard let place = place(of: device) else { return nil }
        var state = State(rule: Int32(rule), device: place, since: now, lastSeen: now, checkedAt: now)
        state.isActive = isInForce(rule, at: now)
        return add(state)
    }

    /// The device's index; a new one as long as there is room for states.
    mutating func place(of device: DeviceID) -> Int32? {
        if let known = deviceIndex[device] { return known }
        guard states.count < statesMax else { return nil }
        devices.append(device)
        deviceIndex[device] = Int32(devices.count - 1)
        return Int32(devices.count - 1)
    }

    mutating func add(_ state: State) -> Int? {
        let rule = Int(state.rule)
        let key = StateKey(rule: rule, device: devices[Int(state.device)])
        guard states.count < statesMax, stateIndex[key] == nil else { return nil }
        var state = state
        state.memory = makeMemory(rule, state)
        states.append(state)
        stateIndex[key] = states.count - 1
        // Silence of a device that nobody named must be watched after a restart too.
        if compiled[rule].isSilence { revision += 1 }
        arm(states.count - 1)
        return states.count - 1
    }

    // MARK: - Phases and deadlines

    mutating func enter(_ phase: State.Phase, _ index: Int, _ now: Int64) {
        states[index].phase = phase
        states[index].since = now
        revision += 1
    }

    func outcome(_ index: Int, _ kind: RuleOutcome.Kind, _ value: Double?, _ now: Int64) -> RuleOutcome {
        RuleOutcome(
            rule: Int(states[index].rule), device: devices[Int(states[index].device)], kind: kind, value: value,
            at: MonotonicInstant(nanoseconds: now))
    }

    mutating func arm(_ index: Int) {
        if let deadline = deadline(of: index) { noteDeadline(deadline) }
    }

    mutating func noteDeadline(_ deadline: Int64) {
        if let earliest, earliest <= deadline { return }
        earliest = deadline
    }
}
