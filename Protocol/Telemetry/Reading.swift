public import Primitives

/// How far the sensor, or the driver that read it, trusts the value.
public enum ReadingQuality: String, Sendable, CaseIterable { case good, uncertain, bad }

/// How far the gateway's wall clock was to be trusted when it stamped the record.
public enum ClockQuality: String, Sendable, CaseIterable {
    /// No time source since boot: the date may be years off.
    case unset
    /// From the last persisted time or a battery clock.
    case guessed
    case synchronised
}

/// What a sensor said: a number, a text or a state.
public enum ReadingValue: Hashable, Sendable, CustomStringConvertible {
    case number(DecimalText)
    /// At most `TelemetryLimits.valueTextBytesMax` bytes.
    case text(String)
    case boolean(Bool)

    /// The value as rules see it: a boolean is 1 or 0, a text is nothing.
    public var double: Double? {
        switch self {
        case .number(let number): number.double
        case .boolean(let flag): flag ? 1 : 0
        case .text: nil
        }
    }

    /// For messages: the number's own text, the text, `true` or `false`.
    public var description: String {
        switch self {
        case .number(let number): number.text
        case .text(let text): text
        case .boolean(let flag): flag ? "true" : "false"
        }
    }
}

/// One value of one metric of one device at one time.
public struct Reading: Hashable, Sendable {
    public var device: DeviceID
    /// 1 to `TelemetryLimits.metricBytesMax` bytes, such as `temperature` or `motor.current`.
    public var metric: String
    public var value: ReadingValue
    /// UCUM code, such as `Cel`; 1 to `TelemetryLimits.unitBytesMax` bytes.
    public var unit: String?
    /// When the gateway took it; order comes from the sequence, not from here.
    public var time: WallInstant
    public var quality: ReadingQuality
    public var clock: ClockQuality

    public init(
        device: DeviceID, metric: String, value: ReadingValue, unit: String? = nil, time: WallInstant,
        quality: ReadingQuality = .good, clock: ClockQuality = .synchronised
    ) {
        self.device = device
        self.metric = metric
        self.value = value
        self.unit = unit
        self.time = time
        self.quality = quality
        self.clock = clock
    }
}
