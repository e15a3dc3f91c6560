public import Primitives
public import Rules
public import Telemetry

/// Something that rules are tried on: values in, what would happen out. Time is counted from the beginning.
public protocol Trial {
    /// A value comes; a text is no number. What time alone does before it comes first. A time before the last one counts as
    /// the last one.
    mutating func take(_ value: TrialValue, at time: Duration) -> [RuleTrial.Event]

    /// Time passes.
    mutating func run(to time: Duration) -> [RuleTrial.Event]
}

/// What a sensor says.
public struct TrialValue: Sendable, Equatable {
    public let device: DeviceID
    public let metric: String
    public let value: ReadingValue
    public let unit: String?

    public init(device: DeviceID, metric: String, value: ReadingValue, unit: String? = nil) {
        self.device = device
        self.metric = metric
        self.value = value
        self.unit = unit
    }
}

/// Rules on a fake clock: the same evaluator as in the gateway, stepped through every deadline between two inputs.
public struct RuleTrial: Trial {
    /// What would have happened.
    public struct Event: Sendable, Equatable {
        /// Since the beginning.
        public let at: Duration
        public let rule: Rule
        public let device: DeviceID
        public let kind: RuleOutcome.Kind
        public let value: String?

        public init(at: Duration, rule: Rule, device: DeviceID, kind: RuleOutcome.Kind, value: String?) {
            self.at = at
            self.rule = rule
            self.device = device
            self.kind = kind
            self.value = value
        }

        /// `raised`, `cleared`, or `full` for a device that the rule has no room for.
        public var word: String {
            switch kind {
            case .breached: "raised"
            case .recovered, .suspended: "cleared"
            case .full: "full"
            }
        }

        /// The fault's message when it is raised.
        public var message: String { rule.message.message(rule: rule, device: device, value: value) }
    }

    private var evaluator: RuleEvaluator
    private var now = MonotonicInstant(nanoseconds: 0)

    /// - Parameters:
    ///   - start: the wall clock at the beginning; `nil` leaves schedules without a clock.
    ///   - zoneOffset: seconds east of Greenwich; asked for the beginning, so that a change to summer time is not seen.
    public init(rules: [Rule], start: WallInstant?, zoneOffset: (Schedule.Zone, WallInstant) -> Int) {
        evaluator = RuleEvaluator(rules: rules, statesMax: 100_000)
        if let start {
            let offsets = evaluator.zones.map { zoneOffset($0, start) }
            evaluator.clockIs(RuleClock(wallOffset: start.milliseconds, zoneOffsets: offsets), at: now)
        }
        evaluator.begin(at: now)
    }

    /// A value comes; `nil` is no number. What time alone does before it comes first. A time before the last one counts as
    /// the last one.
    public mutating func take(_ device: DeviceID, _ metric: String, _ value: Double?, at time: Duration) -> [Event] {
        var events = run(to: time)
        if let value {
            events += self.events(evaluator.observed(device: device, metric: metric, value: value, at: now))
        } else {
            events += self.events(evaluator.heard(device: device, metric: metric, at: now))
        }
        return events
    }

    public mutating func take(_ value: TrialValue, at time: Duration) -> [Event] {
        take(value.device, value.metric, value.value.double, at: time)
    }

    /// Time passes.
    public mutating func run(to time: Duration) -> [Event] {
        let end = max(now, MonotonicInstant(nanoseconds: 0) + time)
        var events: [Event] = []
        while let due = evaluator.nextDeadline, due <= end {
            now = max(now, due)
            events += self.events(evaluator.timeReached(now))
        }
        now = end
        return events
    }

    private func events(_ outcomes: [RuleOutcome]) -> [Event] {
        outcomes.map { outcome in
            Event(
                at: outcome.at - MonotonicInstant(nanoseconds: 0), rule: evaluator.rules[outcome.rule],
                device: outcome.device, kind: outcome.kind, value: outcome.value.flatMap { DecimalText($0)?.text })
        }
    }
}
