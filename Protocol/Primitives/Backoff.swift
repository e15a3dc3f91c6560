/// How long to wait before trying again: doubles from `first` to `most`, with full jitter.
///
/// Full jitter (anything from half the step to the whole step) keeps a city of gateways from knocking at once after a
/// power cut.
public struct Backoff: Sendable, Equatable {
    public let first: Duration
    public let most: Duration
    private var step: Duration?

    public init(first: Duration, most: Duration) {
        precondition(first > .zero && most >= first, "a backoff needs 0 < first <= most")
        self.first = first
        self.most = most
    }

    /// The next wait; each call without a `reset()` in between doubles the bound.
    public mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        let bound = step.map { min($0 * 2, most) } ?? first
        step = bound
        let nanoseconds = bound.nanosecondsClamped
        return .nanoseconds(Int64.random(in: nanoseconds / 2...nanoseconds, using: &random))
    }

    /// Call it when the thing worked.
    public mutating func reset() { step = nil }
}
