public import Expressions
public import Primitives
public import Telemetry

/// One checked rule.
public struct Rule: Hashable, Sendable {
    public enum Place: String, Sendable, CaseIterable { case edge, hub }

    public enum DeviceSelector: Hashable, Sendable {
        case any
        case one(DeviceID)

        func selects(_ device: DeviceID) -> Bool {
            switch self {
            case .any: true
            case .one(let wanted): wanted == device
            }
        }
    }

    /// Longest time a rule may wait: 30 days.
    public static let holdTimeMax = Duration.seconds(30 * 86_400)

    /// Unique where it runs; letters, digits, `-`, `_` and `.`; 1 to 100 bytes.
    public let name: String
    public let runs: Place
    public let device: DeviceSelector
    /// `nil` means any metric, which only silence can watch; and an expression, which names its metrics itself.
    public let metric: String?
    public let condition: Condition
    /// Of an expression: what must hold before the fault is over, as `hysteresis` is for a limit; `nil`: that the
    /// expression does not hold any more.
    public let clearCondition: SignalExpression?
    /// How long the condition must hold without a break before the rule fires; 0 … 30 days. `silent`: how long nothing
    /// may be heard; `stuck`: how long the value must stand still.
    public let holdTime: Duration
    /// How far a value must come back beyond the limit to end the fault. Unit of the metric, or standard deviations for
    /// a deviation; 0 or more.
    public let hysteresis: Double
    public let severity: Severity
    public let message: MessageTemplate
    /// When the rule is in force; `nil` for always.
    public let schedule: Schedule?
    /// An input of an expression counts as missing when it is older than this; 0 … 30 days. Default 0: it holds until the
    /// next one, as the state of a door contact does.
    public let inputAgeMax: Duration

    /// - Throws: every problem at once.
    public init(
        name: String, runs: Place = .edge, device: DeviceSelector = .any, metric: String?, condition: Condition,
        holdTime: Duration = .zero, clearCondition: SignalExpression? = nil, hysteresis: Double = 0,
        severity: Severity = .warning,
        message: MessageTemplate? = nil, schedule: Schedule? = nil, inputAgeMax: Duration = .zero
    ) throws(RuleError) {
        self.name = name
        self.runs = runs
        self.device = device
        self.metric = metric
        self.condition = condition
        self.clearCondition = clearCondition
        self.holdTime = holdTime
        self.hysteresis = hysteresis
        self.severity = severity
        self.schedule = schedule
        self.inputAgeMax = inputAgeMax
        self.message = message ?? .standard(for: condition)
        let problems = self.problems
        guard problems.isEmpty else { throw RuleError(rule: name, problems: problems) }
    }

    /// What the value is held against, for messages: `70`, `2..8`, or the time of silence or standing still.
    public var limitText: String {
        switch condition {
        case .silent: Self.text(holdTime)
        case .stuck:
            condition.limitText.isEmpty ? Self.text(holdTime) : "\(condition.limitText) for \(Self.text(holdTime))"
        default: condition.limitText
        }
    }

    /// The expression's signals, and those of what ends its fault; empty for other conditions.
    var signals: [SignalName] {
        guard case .expression(let expression) = condition else { return [] }
        return expression.signals + (clearCondition?.signals ?? []).filter { !expression.signals.contains($0) }
    }

    /// The devices that are named in the rule, its own and those of its expression.
    public var devicesNamed: [DeviceID] {
        let others = signals.compactMap(\.device)
        if case .one(let device) = device { return [device] + others }
        return others
    }

    /// Whether numbers decide: for rules about silence, being heard is enough.
    public var readsNumbers: Bool { condition != .silent }

    private var problems: [RuleError.Problem] {
        var found: [RuleError.Problem] = []
        if !Self.isName(name) {
            found.append(.init(.name, "needs 1 to 100 letters, digits, - _ or ."))
        }
        if let metric, !(1...TelemetryLimits.metricBytesMax).contains(metric.utf8.count) {
            found.append(.init(.metric, "needs 1 to \(TelemetryLimits.metricBytesMax) bytes"))
        }
        if let problem = metricProblem { found.append(.init(.metric, problem)) }
        if case .expression(let expression) = condition, device == .any,
            !expression.signals.contains(where: { $0.device == nil })
        {
            found.append(
                .init(.device, "is needed: the expression names no metric of its own device; say whose fault it is"))
        }
        if inputAgeMax < .zero || inputAgeMax > Self.holdTimeMax {
            found.append(.init(.inputAgeMax, "needs 0s to 30d"))
        }
        if holdTime < .zero || holdTime > Self.holdTimeMax { found.append(.init(.holdTime, "needs 0s to 30d")) }
        if condition == .silent, holdTime == .zero {
            found.append(.init(.holdTime, "is needed: how long nothing may be heard, 1ms to 30d"))
        }
        if case .stuck = condition, holdTime == .zero {
            found.append(.init(.holdTime, "is needed: how long the value must stand still, 1ms to 30d"))
        }
        if let problem = hysteresisProblem { found.append(.init(.hysteresis, problem)) }
        return found
    }

    private var metricProblem: String? {
        if case .expression = condition {
            return metric == nil ? nil : "has no meaning here: the expression names its metrics"
        }
        return metric == nil && condition != .silent
            ? "is needed: only a rule about silence can watch any metric" : nil
    }

    private var hysteresisProblem: String? {
        guard hysteresis.isFinite, hysteresis >= 0 else { return "needs a number of 0 or more" }
        switch condition {
        case .above, .atLeast, .below, .atMost, .inside: return nil
        case .changing(_, let limit, _):
            return hysteresis < limit ? nil : "needs less than the change itself, or the fault could never end"
        case .deviating(let deviation):
            return hysteresis < deviation.sigmas
                ? nil : "needs less than \(Condition.text(deviation.sigmas)) sigma, or the fault could never end"
        case .equal, .notEqual, .silent, .stuck: return hysteresis == 0 ? nil : "has no meaning for \(condition.text)"
        case .expression: return hysteresis == 0 ? nil : "has no meaning for an expression; use clear_when"
        case .outside(let band):
            // More than half the band, and no value could ever end the fault.
            return hysteresis <= (band.upperBound - band.lowerBound) / 2
                ? nil : "needs at most half the band \(condition.limitText), or the fault could never end"
        }
    }

    /// Whether the text may name a rule, or an actuator.
    public static func isName(_ text: String) -> Bool {
        (1...100).contains(text.utf8.count) && text.utf8.allSatisfy(isNameByte)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// The largest unit that gives a whole number: `90s`, `5m`, `250ms`.
    static func text(_ duration: Duration) -> String {
        let nanoseconds = duration.nanosecondsClamped
        let units: [(String, Int64)] = [
            ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
            ("ms", 1_000_000), ("us", 1000),
        ]
        for (unit, size) in units where nanoseconds % size == 0 && nanoseconds != 0 {
            return "\(nanoseconds / size)\(unit)"
        }
        return nanoseconds == 0 ? "0s" : "\(nanoseconds)ns"
    }

    /// Changes when what the rule decides does: state kept for another definition is worth nothing. Severity and
    /// message are left out, because a fault that is open stays open when only its wording changes.
    var fingerprint: UInt64 {
        let selector =
            switch device {
            case .any: "*"
            case .one(let device): device.text
            }
        var parts = [
            name, runs.rawValue, selector, metric ?? "*", condition.text, "\(holdTime.nanosecondsClamped)",
            "\(hysteresis)",
        ]
        // Only where there is one: rules without keep the fingerprint, and so the state, that they had before.
        if let clearCondition { parts.append("clear \(clearCondition.text)") }
        if let schedule { parts.append(schedule.text) }
        if inputAgeMax != .zero { parts.append("\(inputAgeMax.nanosecondsClamped)") }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in parts.joined(separator: "\u{0}").utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return hash
    }
}

/// Everything that is wrong with a rule's fields.
public struct RuleError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Field: String, Sendable {
        case name, device, metric, holdTime = "for", hysteresis, inputAgeMax = "max_age"
    }

    public struct Problem: Hashable, Sendable {
        public let field: Field
        public let sentence: String

        init(_ field: Field, _ sentence: String) {
            self.field = field
            self.sentence = sentence
        }
    }

    public let rule: String
    public let problems: [Problem]

    public var description: String {
        "rule \"\(rule)\": " + problems.map { "\($0.field.rawValue) \($0.sentence)" }.joined(separator: "; ")
    }
}
