public import Expressions
public import Primitives
public import Telemetry

/// How the readings of one signal, or of many, are treated: one `[[signal]]` of the configuration.
///
/// A signal is one metric of one device. The first settings that select it count.
public struct SignalSettings: Sendable, Equatable {
    /// Windows of one signal: 4.
    public static let windowsMax = 4

    /// `nil` is every device.
    public var device: DeviceID?
    /// `nil` is every metric.
    public var metric: String?
    public var conversion = Conversion()
    public var plausibility = PlausibleRange()
    public var reduction = Reduction.all
    /// Longest time between two kept readings, as long as the sensor speaks. Default 15 min. Range 1 s … 24 h. Not asked
    /// where everything is kept, or nothing.
    public var heartbeat = Duration.seconds(900)
    /// Shortest time between two kept readings. Default 0. Range 0 … 24 h. Not together with a swinging door.
    public var intervalMin = Duration.zero
    /// Left-out readings that wait for a fault, at most; those of the last minute do. Default 120. Range 1 … 6,000.
    public var contextMax = 120
    /// At most `windowsMax`.
    public var windows: [WindowSettings] = []
    /// The signal counts up: `rate` knows when it begins anew.
    public var counter: Counter? {
        get { windows.lazy.compactMap(\.counter).first }
        set { for index in windows.indices { windows[index].counter = newValue } }
    }
    /// The signal is no sensor's: it is worked out from others whenever one of them speaks. Then `metric` is its name.
    public var expression: SignalExpression?
    /// Age beyond which an input of the expression is missing. Default 5 min. Range 1 s … 24 h.
    public var inputAgeMax = Duration.seconds(300)
    /// Of what is kept and of what its windows give: who goes first when the outbox is full, and how long it is worth
    /// sending.
    public var retention = Retention.standard

    public init(device: DeviceID? = nil, metric: String? = nil) {
        self.device = device
        self.metric = metric
    }

    func selects(_ key: SignalKey) -> Bool {
        expression == nil && (metric.map { $0 == key.metric } ?? true) && (device.map { $0 == key.device } ?? true)
    }

    /// What can be wrong with one table: the keys of the configuration and what is wrong with them.
    public var problems: [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        if case .swingingDoor = reduction, intervalMin > .zero {
            found.append(("interval_min", "does not go with swinging_door: its error bound would not hold"))
        }
        if let low = plausibility.low, let high = plausibility.high, low > high {
            found.append(("low", "is above high"))
        }
        if let problem = conversion.problem { found.append(("unit", problem)) }
        if expression != nil, metric == nil { found.append(("metric", "is needed: the name of what is worked out")) }
        if let expression, device == nil, expression.signals.allSatisfy({ $0.device != nil }) {
            found.append(("device", "is needed: the expression reads no metric of the own device"))
        }
        var names: Set<String> = []
        for window in windows {
            for aggregate in window.aggregates where !names.insert(window.suffix(aggregate)).inserted {
                found.append(("window", "two windows give \(window.suffix(aggregate)); give one of them a name"))
            }
        }
        return found
    }
}

/// Which readings of a signal are kept.
public enum Reduction: Sendable, Equatable {
    case all
    /// Only its windows and what is worked out from it.
    case none
    /// Those that differ from the last kept one.
    case changes
    /// Those that differ from the last kept one by more than `absolute`, and by more than `percent` of it.
    case deadband(absolute: Double, percent: Double)
    /// Those from which straight lines pass every other one at a distance of at most `errorMax`.
    case swingingDoor(errorMax: Double)

    /// The largest error of what is left out, for people; `nil` when nothing is, or nothing is promised.
    public var boundText: String? {
        switch self {
        case .all, .none: nil
        case .changes: "0 (last value holds)"
        case .deadband(let absolute, let percent) where percent == 0: "\(Rounding.text(absolute)) (last value holds)"
        case .deadband(let absolute, let percent):
            "\(Rounding.text(absolute)) or \(Rounding.text(percent)) % (last value holds)"
        case .swingingDoor(let errorMax): "\(Rounding.text(errorMax)) (straight lines)"
        }
    }
}

/// What a window gives.
public struct WindowSettings: Sendable, Equatable {
    /// Steps of a hopping window in its length: 60.
    public static let panesMax = 60
    /// Results of one window: 16.
    public static let aggregatesMax = 16

    /// Stands between metric and aggregate when it is not empty: `temperature.1h.mean`.
    public var name: String
    /// Range 1 s … 24 h.
    public var length: Duration
    /// How often a window ends. The length for one that tumbles; a whole part of it for one that hops.
    public var every: Duration
    public var aggregates: [Aggregate]
    /// The relative error of percentiles that is aimed at. Default 0.01. Range 0.001 … 0.1.
    public var percentileErrorMax = 0.01
    /// The signal's; set there.
    var counter: Counter?

    public init(name: String = "", length: Duration, every: Duration? = nil, aggregates: [Aggregate]) {
        self.name = name
        self.length = length
        self.every = every ?? length
        self.aggregates = aggregates
    }

    /// 1 for a window that tumbles.
    var paneCount: Int { max(Int(length.nanosecondsClamped / max(every.nanosecondsClamped, 1)), 1) }

    var hasPercentiles: Bool {
        aggregates.contains { if case .percentile = $0 { true } else { false } }
    }

    /// What follows the signal's metric in the name of a result.
    func suffix(_ aggregate: Aggregate) -> String { (name.isEmpty ? "" : "." + name) + "." + aggregate.text }
}

/// One result of a window.
public enum Aggregate: Sendable, Hashable {
    case min, max, mean, count, sum
    /// Of a sample: divided by one less than the count. From two readings on.
    case standardDeviation
    case first, last
    /// From the first to the last reading, a second. From two readings on.
    case rate
    /// 0 … 100, as its text has it.
    case percentile(Double)

    /// `p` and the percentile, else the aggregate's name. `nil` for anything else.
    public init?(_ text: String) {
        switch text {
        case "min": self = .min
        case "max": self = .max
        case "mean": self = .mean
        case "count": self = .count
        case "sum": self = .sum
        case "stddev": self = .standardDeviation
        case "first": self = .first
        case "last": self = .last
        case "rate": self = .rate
        default:
            guard text.first == "p", let percent = DecimalText(text.dropFirst()).map(\.double), percent >= 0,
                percent <= 100, Aggregate.percentile(percent).text == text
            else { return nil }
            self = .percentile(percent)
        }
    }

    /// As the configuration and the derived metric's name have it.
    public var text: String {
        switch self {
        case .min: "min"
        case .max: "max"
        case .mean: "mean"
        case .count: "count"
        case .sum: "sum"
        case .standardDeviation: "stddev"
        case .first: "first"
        case .last: "last"
        case .rate: "rate"
        case .percentile(let percent): "p" + Rounding.text(percent)
        }
    }
}
