public import Primitives

/// Decides when to ask a unit again: one machine a unit, so that a dead one costs its neighbours next to nothing.
///
///     closed ──failed (limit reached)──► open(until) ──time──► may be asked once ──failed──► open(later)
///        ▲                                                          │
///        └───────────────────────── succeeded ──────────────────────┘
public struct UnitBreaker: Sendable {
    private enum State: Sendable {
        /// Asked whenever it is due. Exits: `open` after `failuresMax` failures in a row.
        case closed(failures: Int)
        /// Left alone until the instant, then asked once. Exits: `closed` at the first answer; itself, with a longer
        /// wait, at the next failure.
        case open(until: MonotonicInstant)
    }

    public enum Permission: Equatable, Sendable {
        case ask
        case leaveAlone(until: MonotonicInstant)
    }

    /// What the operator should hear about; nothing in between.
    public enum Change: Equatable, Sendable {
        case none
        case stoppedAnswering
        case answersAgain
    }

    private let failuresMax: Int
    private var backoff: Backoff
    private var state = State.closed(failures: 0)
    private var hasAnswered = false

    /// - Parameters:
    ///   - failuresMax: failures in a row until the unit counts as dead, 1 or more.
    ///   - backoff: the waits between two tries at a dead unit.
    public init(failuresMax: Int = 1, backoff: Backoff) {
        precondition(failuresMax >= 1, "a breaker that opens after no failure would never ask")
        self.failuresMax = failuresMax
        self.backoff = backoff
    }

    public var isOpen: Bool {
        switch state {
        case .closed: false
        case .open: true
        }
    }

    public func permission(now: MonotonicInstant) -> Permission {
        switch state {
        case .closed: .ask
        case .open(let until): now >= until ? .ask : .leaveAlone(until: until)
        }
    }

    /// The unit answered. The first answer of all is `.answersAgain` too: until then nobody knew.
    public mutating func succeeded() -> Change {
        let wasOpen = isOpen
        state = .closed(failures: 0)
        backoff.reset()
        defer { hasAnswered = true }
        return wasOpen || !hasAnswered ? .answersAgain : .none
    }

    /// The unit did not answer. `.stoppedAnswering` once, when the limit is reached.
    public mutating func failed(now: MonotonicInstant, using random: inout some RandomNumberGenerator) -> Change {
        switch state {
        case .closed(let failures) where failures + 1 < failuresMax:
            state = .closed(failures: failures + 1)
            return .none
        case .closed:
            state = .open(until: now + backoff.next(using: &random))
            return .stoppedAnswering
        case .open:
            state = .open(until: now + backoff.next(using: &random))
            return .none
        }
    }
}
