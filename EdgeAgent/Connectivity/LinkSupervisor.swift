public import Primitives

/// Decides when to connect, when to wait, and when to reconnect with a new token.
///
///     idle ──started──► connecting ──accepted──► connected ──lost──► waiting(until)
///                        ▲      └──failed──► waiting(until)              │
///                        └────────────── time ◄──────────────────────────┘
public struct LinkSupervisor: Sendable {
    private enum State: Sendable {
        /// Not started. Exits: `connecting`.
        case idle
        /// A connection attempt runs; given up at `deadline`. Exits: `connected`, `waiting`.
        case connecting(deadline: MonotonicInstant)
        /// The hub has accepted us. Exits: `connecting` (new token), `waiting`.
        case connected(since: MonotonicInstant, renewAt: MonotonicInstant?)
        /// The next attempt is at `until`. Exits: `connecting`.
        case waiting(until: MonotonicInstant)
    }

    public struct Limits: Sendable, Equatable {
        /// The waits between attempts. Default 1 s to 60 s.
        public var backoff: Backoff
        /// From the first byte to CONNACK. Default 30 s.
        public var connectTimeMax: Duration
        /// A connection that held for this long resets the backoff: one that is accepted and dropped at once (two
        /// gateways with one id take each other over) keeps backing off. Default 10 s.
        public var stableAfter: Duration

        public init(
            backoff: Backoff = Backoff(first: .seconds(1), most: .seconds(60)),
            connectTimeMax: Duration = .seconds(30), stableAfter: Duration = .seconds(10)
        ) {
            self.backoff = backoff
            self.connectTimeMax = connectTimeMax
            self.stableAfter = stableAfter
        }
    }

    public enum FailureAction: Equatable, Sendable {
        /// Drop the client and wait. `isNews` is false when the reason is the same as the last time.
        case wait(until: MonotonicInstant, isNews: Bool)
        /// Nobody is waiting for a link any more.
        case ignore
    }

    public enum TimerAction: Equatable, Sendable {
        case connect
        /// The token ends soon: disconnect politely and connect again with a new one.
        case renewToken
        /// The hub did not answer CONNECT in time: report `.silent` as a failure.
        case giveUpAttempt
        case rearm(at: MonotonicInstant?)
    }

    private let limits: Limits
    private var backoff: Backoff
    private var state = State.idle
    private var lastProblem: LinkProblem?

    public init(limits: Limits = Limits()) {
        self.limits = limits
        backoff = limits.backoff
    }

    public var isConnected: Bool {
        switch state {
        case .connected: true
        case .idle, .connecting, .waiting: false
        }
    }

    /// What keeps the link down, as far as known; `nil` when it is up.
    public var problem: LinkProblem? { isConnected ? nil : lastProblem }

    /// When `timerFired` wants to be called next.
    public var deadline: MonotonicInstant? {
        switch state {
        case .idle: nil
        case .connecting(let deadline): deadline
        case .connected(_, let renewAt): renewAt
        case .waiting(let until): until
        }
    }

    /// The shell is about to make an attempt.
    public mutating func attemptStarted(now: MonotonicInstant) {
        state = .connecting(deadline: now + limits.connectTimeMax)
    }

    /// CONNACK 0.
    ///
    /// - Parameter tokenLifetime: how long the token is valid from now; `nil` with a certificate.
    public mutating func accepted(tokenLifetime: Duration?, now: MonotonicInstant) {
        let renewAt = tokenLifetime.map { now + Self.renewal(of: $0) }
        state = .connected(since: now, renewAt: renewAt)
        lastProblem = nil
    }

    /// An attempt failed, or the connection was lost.
    public mutating func failed(
        _ problem: LinkProblem, now: MonotonicInstant, using random: inout some RandomNumberGenerator
    ) -> FailureAction {
        switch state {
        case .idle, .waiting: return .ignore
        case .connected(let since, _) where now - since >= limits.stableAfter: backoff.reset()
        case .connected, .connecting: break
        }
        let isNews = lastProblem != problem
        lastProblem = problem
        let until = now + backoff.next(using: &random)
        state = .waiting(until: until)
        return .wait(until: until, isNews: isNews)
    }

    /// No attempt is made before `retryAtOnce`.
    public mutating func pause() { state = .waiting(until: MonotonicInstant(nanoseconds: .max)) }

    /// What kept the link down is mended: the next attempt need not wait.
    public mutating func retryAtOnce(now: MonotonicInstant) {
        if case .waiting = state { state = .waiting(until: now) }
    }

    /// Our clock was behind by this when the token was made: the token ends so much earlier than was thought.
    public mutating func tokenShortened(by missing: Duration) {
        guard case .connected(let since, let renewAt?) = state, missing > .zero else { return }
        state = .connected(since: since, renewAt: renewAt + (.zero - missing))
    }

    public mutating func timerFired(now: MonotonicInstant) -> TimerAction {
        guard let deadline, now >= deadline else { return .rearm(at: deadline) }
        switch state {
        case .idle: return .rearm(at: nil)
        case .connecting: return .giveUpAttempt
        case .connected: return .renewToken
        case .waiting: return .connect
        }
    }

    /// Two minutes before its end, or at four fifths of a shorter life, so that a slow handshake still fits.
    public static func renewal(of lifetime: Duration) -> Duration {
        max(lifetime - .seconds(120), lifetime * 4 / 5)
    }
}
