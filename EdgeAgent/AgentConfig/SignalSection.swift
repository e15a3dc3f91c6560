import ConfigText
import Expressions
import Primitives
import Signals
import Telemetry

/// Reads `[[signal]]`.
enum SignalSection {
    private static let expectedDevice = "a device id, or \"*\" for any"
    private static let number = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    private static let day = Duration.seconds(86_400)

    static func read(_ root: ConfigSection) -> [SignalSettings] {
        let sections = root.sections("signal", countMax: Signals.settingsMax)
        let all = sections.map(settings)
        for (index, section) in sections.enumerated() {
            for (key, problem) in all[index].problems { section.problem(key, expected: problem) }
            if let problem = circle(all, index) { section.problem("expression", expected: problem) }
        }
        return all
    }

    private static func settings(_ section: ConfigSection) -> SignalSettings {
        let device = section.parsed("device", default: DeviceID?.none, expected: expectedDevice) { text in
            text == "*" ? .some(nil) : DeviceID(text).map { .some($0) }
        }
        let limit = 1...TelemetryLimits.metricBytesMax
        let metric = section.parsed(
            "metric", default: String?.none, expected: "the name of a metric of at most 128 bytes, or \"*\" for any"
        ) { text in text == "*" ? .some(nil) : limit.contains(text.utf8.count) ? .some(text) : nil }
        var settings = SignalSettings(device: device, metric: metric)
        settings.expression = expression(section)
        settings.inputAgeMax = section.duration(
            "input_age_max", default: settings.inputAgeMax, in: .seconds(1)...day)
        readValue(section, &settings)
        settings.reduction = reduction(section)
        settings.heartbeat = section.duration("heartbeat", default: settings.heartbeat, in: .seconds(1)...day)
        settings.intervalMin = section.duration("interval_min", default: settings.intervalMin, in: .zero...day)
        settings.contextMax = section.integer("context_max", default: settings.contextMax, in: 1...6000)
        settings.retention.priority = section.choice(
            "priority", default: settings.retention.priority, ["low": .low, "normal": .normal, "high": .high])
        if section.take("time_to_live") != nil {
            settings.retention.timeToLive = section.duration(
                "time_to_live", default: day, in: .seconds(1) ... .seconds(31_536_000))
        }
        settings.windows = section.sections("window", countMax: SignalSettings.windowsMax).compactMap(window)
        readCounter(section, &settings)
        return settings
    }

    private static func readCounter(_ section: ConfigSection, _ settings: inout SignalSettings) {
        let isCounter = section.flag("counter", default: false)
        let wrap = optional("counter_wrap", section, Double.leastNormalMagnitude...number.upperBound)
        if wrap != nil, !isCounter {
            section.problem("counter_wrap", expected: "has no meaning without counter = true")
        }
        guard isCounter else { return }
        if !settings.windows.contains(where: { $0.aggregates.contains(.rate) }) {
            section.problem("counter", expected: "has no meaning without a [[signal.window]] that gives \"rate\"")
        }
        settings.counter = Counter(wrap: wrap)
    }

    private static func readValue(_ section: ConfigSection, _ settings: inout SignalSettings) {
        settings.conversion.scale = ConfigValue.decimal("scale", in: section)
        settings.conversion.offset = ConfigValue.decimal("offset", in: section)
        settings.conversion.fromUnit = unit("from_unit", section)
        settings.conversion.unit = unit("unit", section)
        settings.plausibility.low = optional("low", section, number)
        settings.plausibility.high = optional("high", section, number)
        settings.plausibility.stepMax = optional("step_max", section, 0...number.upperBound)
        settings.plausibility.rateMax = optional("rate_max", section, 0...number.upperBound)
    }

    private static func unit(_ key: String, _ section: ConfigSection) -> String? {
        section.optional(key, expected: "a UCUM unit of at most 32 bytes, such as \"Cel\"") { text in
            (1...TelemetryLimits.unitBytesMax).contains(text.utf8.count) ? text : nil
        }
    }

    private static func optional(_ key: String, _ section: ConfigSection, _ range: ClosedRange<Double>) -> Double? {
        guard section.take(key) != nil else { return nil }
        return section.decimal(key, default: range.upperBound, in: range)
    }

    private static func reduction(_ section: ConfigSection) -> Reduction {
        let keep = section.choice("keep", default: Reduction.all, ["all": .all, "none": .none, "changes": .changes])
        let deadband = optional("deadband", section, 0...number.upperBound)
        let percent = optional("deadband_percent", section, 0...100)
        let door = optional("swinging_door", section, 0...number.upperBound)
        let given = [section.has("keep"), deadband != nil || percent != nil, door != nil].count { $0 }
        if given > 1 { section.problem("choose one of keep, deadband (with deadband_percent) and swinging_door") }
        if let door { return .swingingDoor(errorMax: door) }
        if deadband != nil || percent != nil { return .deadband(absolute: deadband ?? 0, percent: percent ?? 0) }
        return keep
    }

    private static func expression(_ section: ConfigSection) -> SignalExpression? {
        guard let text = section.optionalText("expression", expected: "an expression, such as \"[a/t] - [b/t]\"") else {
            return nil
        }
        do { return try SignalExpression(parsing: text) } catch {
            for problem in error.problems { section.problem("expression", expected: problem.description) }
            return nil
        }
    }

    /// An expression may read what tables before it work out: so there can be no circle.
    private static func circle(_ all: [SignalSettings], _ index: Int) -> String? {
        for name in all[index].expression?.signals ?? [] {
            let device = name.device ?? all[index].device
            let later = all[index...].first { other in
                guard other.expression != nil, let metric = other.metric else { return false }
                let isSame = name.metric == metric || name.metric.hasPrefix(metric + ".")
                return isSame && (device == nil || other.device == nil || device == other.device)
            }
            if later != nil { return "\(name) is worked out here or further down; move its [[signal]] before this one" }
        }
        return nil
    }

    private static func window(_ section: ConfigSection) -> WindowSettings? {
        let range = Duration.seconds(1)...day
        let length = section.duration("length", default: .seconds(300), in: range)
        let every = section.duration("every", default: length, in: range)
        if !section.has("length") {
            section.problem("length", expected: "is missing; expected a duration, such as \"5m\"")
        }
        let name = section.parsed("name", default: "", expected: "1 to 32 letters, digits, - and _") { text in
            let isGood = text.utf8.allSatisfy { byte in
                byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
                    || Unicode.Scalar(byte).properties.isAlphabetic && byte < 128
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            }
            return isGood && (1...32).contains(text.utf8.count) ? text : nil
        }
        let aggregates = aggregates(section)
        let percentileError = section.decimal("percentile_error", default: 0.01, in: 0.001...0.1)
        let parts = length.nanosecondsClamped / max(every.nanosecondsClamped, 1)
        if every > length || length.nanosecondsClamped % every.nanosecondsClamped != 0
            || parts > WindowSettings.panesMax
        {
            section.problem(
                "every", expected: "must be a whole part of length, at most \(WindowSettings.panesMax) of them")
            return nil
        }
        var window = WindowSettings(name: name, length: length, every: every, aggregates: aggregates)
        window.percentileErrorMax = percentileError
        return window
    }

    private static func aggregates(_ section: ConfigSection) -> [Aggregate] {
        let names = section.texts("aggregates", default: ["mean"], countMax: WindowSettings.aggregatesMax)
        var aggregates: [Aggregate] = []
        for name in names {
            guard let aggregate = Aggregate(name), !aggregates.contains(aggregate) else {
                section.problem(
                    "aggregates",
                    expected:
                        "\"\(name.prefix(40))\" is none or comes twice; there are min, max, mean, count, sum, stddev, "
                        + "first, last, rate, and percentiles such as p95")
                continue
            }
            aggregates.append(aggregate)
        }
        return aggregates
    }
}
