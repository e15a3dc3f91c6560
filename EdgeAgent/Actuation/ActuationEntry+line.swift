import JSON
public import Primitives
public import Telemetry

/// A line of the log with the time at which it was written.
public struct ActuationLine: Sendable, Equatable {
    public let time: WallInstant
    public let clock: ClockQuality
    public let entry: ActuationEntry

    public init(time: WallInstant, clock: ClockQuality, entry: ActuationEntry) {
        self.time = time
        self.clock = clock
        self.entry = entry
    }

    /// One JSON object, without its line end.
    public var text: String {
        var object = JSONObject()
        object["time"] = .string(time.description)
        if clock != .synchronised { object["clock"] = .string(clock.rawValue) }
        object["actuator"] = .string(entry.actuator)
        object["event"] = .string(entry.event.rawValue)
        if let from = entry.from { object["from"] = from.json }
        if let to = entry.to { object["to"] = to.json }
        object["by"] = .string(entry.by)
        if !entry.reason.isEmpty { object["reason"] = .string(entry.reason) }
        if let lasts = entry.lasts { object["lasts"] = .string(DurationText.format(lasts)) }
        if let ago = entry.switchedAgo { object["switchedAgo"] = .string(DurationText.format(ago)) }
        return JSONValue.object(object).text
    }

    /// `nil` for what is no such line: one that a power cut has torn, for instance.
    public init?(parsing text: some StringProtocol) {
        guard let value = try? JSONValue(parsing: Array(text.utf8)), let time = value["time"]?.stringValue,
            let instant = WallInstant(time), let actuator = value["actuator"]?.stringValue,
            let event = value["event"]?.stringValue.flatMap({ ActuationEntry.Event(rawValue: $0) }),
            let by = value["by"]?.stringValue
        else { return nil }
        var entry = ActuationEntry(actuator, event, by: by)
        entry.from = value["from"].flatMap(ReadingValue.init(json:))
        entry.to = value["to"].flatMap(ReadingValue.init(json:))
        entry.reason = value["reason"]?.stringValue ?? ""
        entry.lasts = value["lasts"]?.stringValue.flatMap { DurationText.parse($0) }
        entry.switchedAgo = value["switchedAgo"]?.stringValue.flatMap { DurationText.parse($0) }
        self.time = instant
        clock = value["clock"]?.stringValue.flatMap({ ClockQuality(rawValue: $0) }) ?? .synchronised
        self.entry = entry
    }

    /// For people: `2026-11-21T08:53:00.250Z  fan  moved 0 -> 1  by rule overheat`.
    public var shown: String {
        var words = ["\(time)\(clock == .unset ? " (clock unset)" : "")", entry.actuator, entry.event.rawValue]
        if let to = entry.to { words.append((entry.from.map { "\($0) -> " } ?? "") + "\(to)") }
        words.append("by \(entry.by)")
        if let lasts = entry.lasts { words.append("for \(DurationText.format(lasts))") }
        if !entry.reason.isEmpty { words.append("(\(entry.reason))") }
        return words.joined(separator: "  ")
    }
}

extension ReadingValue {
    var json: JSONValue {
        switch self {
        case .number(let number): JSONNumber(text: number.text).map(JSONValue.number) ?? .null
        case .boolean(let flag): .bool(flag)
        case .text(let text): .string(text)
        }
    }

    init?(json: JSONValue) {
        switch json {
        case .number(let number):
            guard let text = DecimalText(number.text) else { return nil }
            self = .number(text)
        case .bool(let flag): self = .boolean(flag)
        case .string(let text): self = .text(text)
        case .null, .array, .object: return nil
        }
    }
}

extension KnownActuator {
    /// What the lines of the log, oldest first, leave known of each actuator.
    ///
    /// - Parameter now: `nil` while the clock is unset: then no time is known to have passed, and a least time or an
    ///   override rather lasts longer.
    public static func reading(_ lines: [ActuationLine], now: WallInstant?) -> [String: KnownActuator] {
        var known: [String: KnownActuator] = [:]
        for line in lines {
            let age = now.flatMap { line.clock == .unset ? nil : $0 - line.time }.map { max($0, .zero) } ?? .zero
            known[line.entry.actuator, default: KnownActuator()].take(line.entry, age: age)
        }
        return known
    }

    private mutating func take(_ entry: ActuationEntry, age: Duration) {
        switch entry.event {
        case .moved, .ramping:
            if let to = entry.to {
                if position.map({ $0.isOn != to.isOn }) ?? true { switchedAgo = age }
                position = to
            }
        case .known:
            position = entry.to
            switchedAgo = entry.switchedAgo.map { $0 + age }
        case .failed: position = nil
        case .overrideBegan:
            guard let to = entry.to, let lasts = entry.lasts, lasts > age else { return override = nil }
            let who = entry.by.hasPrefix(Self.overridePrefix) ? entry.by.dropFirst(Self.overridePrefix.count) : ""
            override = (to, String(who), lasts - age)
        case .overrideEnded: override = nil
        case .waits, .refused, .interlockLost, .interlockHolds, .sensorLost, .sensorBack: break
        }
    }

    private static let overridePrefix = "override by "
}

extension ActuationDesk {
    /// What is known of every actuator, as lines for the head of a new file.
    func known(at now: MonotonicInstant) -> [ActuationEntry] {
        actuators.indices.flatMap { index -> [ActuationEntry] in
            let state = states[index]
            var entry = ActuationEntry(actuators[index].name, .known, by: "rotation")
            entry.to = state.position
            entry.switchedAgo = state.switchings.last.map { max(now - $0, .zero) }
            guard let override = state.override else { return [entry] }
            var taken = ActuationEntry(actuators[index].name, .overrideBegan, by: "override by \(override.who)")
            taken.to = override.position
            taken.lasts = override.until - now
            return [entry, taken]
        }
    }
}
