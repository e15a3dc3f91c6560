public import Primitives

/// Decides when the gateway asks its hub what time it is: with every connection, and now and then while it stands. A
/// hub that does not grant the subscription is never asked.
public struct TimeExchange: Sendable {
    /// Between two questions on one connection: at a hundred millionths a clock is two seconds off by then.
    public static let interval = Duration.seconds(6 * 3600)
    /// A question without an answer for this long has failed; the next one is asked after `interval`.
    public static let answerTimeMax = Duration.seconds(30)
    /// What waits for the first answer does not wait for longer: a server that grants every subscription may know
    /// nothing about the time.
    public static let patience = Duration.seconds(1)

    private enum State: Sendable {
        /// Exits: `subscribing`, `idle`.
        case offline
        /// The hub is yet to grant the subscription. Exits: `idle`, `offline`.
        case subscribing(since: MonotonicInstant)
        /// The next question is due at `until`. Exits: `waiting`, `offline`.
        case idle(until: MonotonicInstant)
        /// Exits: `idle`, `offline`.
        case waiting(rid: String, sent: MonotonicInstant)
    }

    private var state = State.offline
    private var isFirst = true
    /// It granted the subscription and then said nothing: it is asked again, and not waited for before it answers once.
    private var isUnanswered = false
    private var nextNumber: UInt64 = 1

    public init() {}

    /// The subscription for the answers was asked for.
    public mutating func linkCameUp(now: MonotonicInstant) {
        isFirst = true
        state = .subscribing(since: now)
    }

    /// The hub has granted the subscription for the answers.
    public mutating func granted(now: MonotonicInstant) {
        isFirst = true
        state = .idle(until: now)
    }

    public mutating func linkLost() {
        if isFirst, case .waiting = state { isUnanswered = true }
        state = .offline
    }

    /// Whether the first answer of this connection may still come soon.
    public func isAnswerNear(now: MonotonicInstant) -> Bool {
        guard isFirst, !isUnanswered else { return false }
        switch state {
        case .offline: return false
        case .idle: return true
        case .subscribing(let since): return now - since < Self.patience
        case .waiting(_, let sent): return now - sent < Self.patience
        }
    }

    /// Whether the hub, with a connection that stands, does not say what time it is.
    public func isSilent(now: MonotonicInstant) -> Bool {
        switch state {
        case .offline: true
        case .subscribing(let since): now - since >= Self.patience
        case .idle: isUnanswered
        case .waiting(_, let sent): now - sent >= Self.patience
        }
    }

    /// The request id of the question to ask now.
    public mutating func nextRequest(now: MonotonicInstant) -> String? {
        switch state {
        case .offline, .subscribing: return nil
        case .idle(let until): guard now >= until else { return nil }
        case .waiting(_, let sent):
            if now - sent >= Self.answerTimeMax {
                isFirst = false
                isUnanswered = true
                state = .idle(until: sent + Self.interval)
            }
            return nil
        }
        let rid = String(nextNumber)
        nextNumber += 1
        state = .waiting(rid: rid, sent: now)
        return rid
    }

    /// The hub has answered.
    ///
    /// - Returns: how long that took; `nil` when nobody waits for this answer any more.
    public mutating func answered(rid: String, now: MonotonicInstant) -> Duration? {
        guard case .waiting(rid, let sent) = state else { return nil }
        isFirst = false
        isUnanswered = false
        state = .idle(until: now + Self.interval)
        return now - sent
    }
}
