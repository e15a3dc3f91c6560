internal import Primitives

/// What one record may hold. The gateway keeps to it before it stores, the hub checks it when it reads.
public enum TelemetryLimits {
    public static let metricBytesMax = 128
    public static let unitBytesMax = 32
    public static let valueTextBytesMax = 4096
    public static let ruleBytesMax = 128
    public static let messageBytesMax = 1024
    public static let limitBytesMax = 128
    /// A receipt's sentence.
    public static let reasonBytesMax = 1024
    /// The largest encoded record: everything at its limit, every byte an escape of six, and the fixed text.
    public static let fragmentBytesMax = 6 * (valueTextBytesMax + messageBytesMax + 600) + 1024
}

extension Record {
    /// The first thing that is beyond the limits, as member name and sentence; `nil` when it may be sent.
    public var problem: (member: String, rule: String)? {
        guard (Self.yearOne...Self.year9999).contains(time.milliseconds) else {
            return ("time", "needs a year from 1 to 9999")
        }
        switch self {
        case .reading(let reading):
            return Self.lengthProblem("metric", reading.metric, 1...TelemetryLimits.metricBytesMax)
                ?? reading.unit.flatMap { Self.lengthProblem("unit", $0, 1...TelemetryLimits.unitBytesMax) }
                ?? Self.valueProblem(reading.value)
        case .fault(let fault):
            return Self.lengthProblem("rule", fault.rule, 1...TelemetryLimits.ruleBytesMax)
                ?? Self.lengthProblem("message", fault.message, 0...TelemetryLimits.messageBytesMax)
                ?? fault.metric.flatMap { Self.lengthProblem("metric", $0, 1...TelemetryLimits.metricBytesMax) }
                ?? fault.value.flatMap(Self.valueProblem)
                ?? fault.limit.flatMap { Self.lengthProblem("limit", $0, 0...TelemetryLimits.limitBytesMax) }
        }
    }

    private static let yearOne: Int64 = -62_135_596_800_000
    private static let year9999: Int64 = 253_402_300_799_999

    private static func valueProblem(_ value: ReadingValue) -> (member: String, rule: String)? {
        guard case .text(let text) = value else { return nil }
        return lengthProblem("value", text, 0...TelemetryLimits.valueTextBytesMax)
    }

    private static func lengthProblem(
        _ member: String, _ text: String, _ range: ClosedRange<Int>
    ) -> (member: String, rule: String)? {
        guard !range.contains(text.utf8.count) else { return nil }
        return (member, "needs \(range.lowerBound) to \(range.upperBound) bytes, has \(text.utf8.count)")
    }
}
