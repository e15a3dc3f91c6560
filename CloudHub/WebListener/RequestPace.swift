import Primitives

/// Decides when a peer of an HTTP connection is too slow, so that nobody can hold a connection for nothing.
struct RequestPace {
    struct Limits: Sendable, Equatable {
        /// From one answer to the next whole request head.
        var idle = Duration.seconds(60)
        /// How often the pace of a body is looked at.
        var bodyPeriod = Duration.seconds(30)
        /// What a body must bring in that time. Unit: bytes.
        var bodyBytesMin = 4096
        /// How long a peer may take nothing of its answer.
        var unread = Duration.seconds(60)
        /// How long a peer may leave its half open when everything is said.
        var linger = Duration.seconds(5)
    }

    enum TimerAction: Equatable {
        case rearm(at: MonotonicInstant)
        /// Close; `isAnswered` tells whether there is a request that a 408 can answer.
        case timedOut(beforeFirstRequest: Bool)
        case ignore
    }

    private let limits: Limits
    private var hasRequest = false
    private(set) var isRequestOpen = false
    private var pendingAnswers = 0
    private var bodyBytes = 0
    private var headBy: MonotonicInstant
    private var bodyBy: MonotonicInstant
    private var readBy: MonotonicInstant?
    private var goneBy: MonotonicInstant?

    /// - Parameter headBy: when the first request head must be whole.
    init(limits: Limits, headBy: MonotonicInstant) {
        self.limits = limits
        self.headBy = headBy
        bodyBy = headBy
    }

    /// What the peer must have done next, and by when; `nil` while it is the hub's turn.
    var deadline: MonotonicInstant? {
        if let goneBy { return goneBy }
        if let readBy { return readBy }
        if isRequestOpen { return bodyBy }
        return pendingAnswers == 0 ? headBy : nil
    }

    /// Whether no answer is on its way, so that an error can be answered.
    var isBetweenAnswers: Bool { pendingAnswers == 0 }

    mutating func headReceived(now: MonotonicInstant) {
        hasRequest = true
        isRequestOpen = true
        pendingAnswers += 1
        bodyBytes = 0
        bodyBy = now + limits.bodyPeriod
    }

    mutating func bodyReceived(_ count: Int) { bodyBytes += count }

    mutating func requestEnded() { isRequestOpen = false }

    mutating func answerEnded(now: MonotonicInstant) {
        pendingAnswers = max(0, pendingAnswers - 1)
        headBy = now + limits.idle
    }

    mutating func writabilityChanged(_ isWritable: Bool, now: MonotonicInstant) {
        readBy = isWritable ? nil : now + limits.unread
    }

    /// The hub has said everything on this connection.
    mutating func outputClosed(now: MonotonicInstant) { goneBy = now + limits.linger }

    /// - Parameter isReading: whether the hub wants to read; a peer that is not read cannot be blamed.
    mutating func timerFired(now: MonotonicInstant, isReading: Bool) -> TimerAction {
        guard let deadline else { return .ignore }
        guard now >= deadline else { return .rearm(at: deadline) }
        guard goneBy == nil, readBy == nil, isRequestOpen, bodyBytes >= limits.bodyBytesMin || !isReading else {
            return .timedOut(beforeFirstRequest: !hasRequest)
        }
        bodyBytes = 0
        bodyBy = now + limits.bodyPeriod
        return .rearm(at: bodyBy)
    }
}
