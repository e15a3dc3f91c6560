public import Primitives

/// Keeps to one rate: a bucket of tokens, written as the time at which it will be full again. Pure.
///
/// Invariant: what was taken by `now` is at most the rate's count and what has flowed in since the first, as long as
/// `take` is used; `spend` may go into debt, and says until when.
/// Source: ITU-T I.371, generic cell rate algorithm, virtual scheduling.
public struct Pace: Hashable, Sendable {
    /// Nanoseconds that one token takes to flow in; 0 is no limit.
    public let interval: Int64
    /// How far ahead of now the bucket's end may lie before it is empty.
    private let depth: Int64
    /// When the bucket is full again; in the past when it is.
    private(set) var fullAt: Int64 = .min

    /// - Parameter rate: `nil` is no limit.
    public init(_ rate: Rate?) {
        guard let rate else {
            interval = 0
            depth = 0
            return
        }
        interval = max(1, rate.period.nanoseconds / Int64(rate.count))
        depth = interval * Int64(rate.count)
    }

    /// Takes so many tokens.
    /// - Returns: `nil` when they were there; else how long until they will be, and nothing was taken.
    public mutating func take(_ count: Int = 1, now: MonotonicInstant) -> Duration? {
        if let wait = wait(for: count, now: now) { return wait }
        _ = spend(count, now: now)
        return nil
    }

    /// How long until so many tokens are there; `nil` when they are. More than the bucket holds count as all of it.
    public func wait(for count: Int = 1, now: MonotonicInstant) -> Duration? {
        let wanted = min(interval * Int64(count), depth)
        let over = max(fullAt, now.nanoseconds) + wanted - depth - now.nanoseconds
        return over > 0 ? .nanoseconds(over) : nil
    }

    /// Takes tokens that may not be there yet.
    /// - Returns: until when nothing more may be taken; not after `now` when there is no debt. A few integer operations.
    @inline(__always)
    public mutating func spend(_ count: Int = 1, now: MonotonicInstant) -> MonotonicInstant {
        fullAt = max(fullAt, now.nanoseconds) + interval * Int64(count)
        return MonotonicInstant(nanoseconds: fullAt - depth)
    }

    /// Whether it has forgotten everything: a new one would do the same.
    func isFull(now: MonotonicInstant) -> Bool { fullAt <= now.nanoseconds }
}
