internal import Primitives
internal import Telemetry

/// What a reading may be and how fast it may change. What is beyond is kept and marked: `bad` outside the range,
/// `uncertain` after a step or at a rate that cannot be.
public struct PlausibleRange: Sendable, Equatable {
    public var low: Double?
    public var high: Double?
    /// Largest difference from the reading before.
    public var stepMax: Double?
    /// Largest change a second from the reading before.
    public var rateMax: Double?

    public init() {}

    var isUnlimited: Bool { low == nil && high == nil && stepMax == nil && rateMax == nil }
}

/// Remembers the reading before, of those within the range.
struct PlausibilityState: Sendable {
    private var last: (value: Double, time: MonotonicInstant)?

    /// What the reading's quality is now; the worse of its own and what is found here.
    mutating func quality(
        of value: Double, _ own: ReadingQuality, at time: MonotonicInstant, _ range: PlausibleRange
    ) -> ReadingQuality {
        guard own != .bad else { return .bad }
        if let low = range.low, value < low { return .bad }
        if let high = range.high, value > high { return .bad }
        defer { last = (value, time) }
        guard let last else { return own }
        let step = (value - last.value).magnitude
        if let stepMax = range.stepMax, step > stepMax { return .uncertain }
        if let rateMax = range.rateMax, step > 0 {
            let seconds = Double((time - last.time).nanosecondsClamped) / 1e9
            // Two at the same instant: the second one cannot have taken any time.
            if seconds <= 0 || step / seconds > rateMax { return .uncertain }
        }
        return own
    }
}
