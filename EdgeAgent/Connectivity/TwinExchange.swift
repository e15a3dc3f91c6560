public import Primitives

/// Decides when the gateway asks for its twin and when it tells about itself there: one request at a time, the twin
/// first, then a report at once and again whenever it would say something new.
public struct TwinExchange: Sendable {
    /// Between two looks at whether there is something new to tell; also the wait after a request that failed.
    public static let pause = Duration.seconds(60)
    /// A request without an answer for this long has failed.
    public static let answerTimeMax = Duration.seconds(30)

    private enum State: Sendable {
        /// Nothing can be asked. Exits: `idle`.
        case offline
        /// The next request is made at `until`. Exits: `waiting`, `offline`.
        case idle(until: MonotonicInstant)
        /// A request is on its way. Exits: `idle`, `offline`.
        case waiting(Request, until: MonotonicInstant)
    }

    public enum Request: Equatable, Sendable {
        case get(rid: String)
        case report(rid: String, [UInt8])

        var rid: String {
            switch self {
            case .get(let rid): rid
            case .report(let rid, _): rid
            }
        }
    }

    public enum Answer: Equatable, Sendable {
        /// To a request that nobody waits for any more.
        case ignore
        /// The payload is the twin.
        case twin
        case reported
        case refused(status: Int)
    }

    private var state = State.offline
    /// The twin was not fetched yet, or has changed since it was asked for.
    private var isStale = true
    /// There may be something new to tell since the last look.
    private var hasNews = false
    private var reported: [UInt8]?
    private var nextNumber: UInt64 = 1

    public init() {}

    /// Answers can come: the subscriptions are granted.
    public mutating func linkCameUp(now: MonotonicInstant) {
        state = .idle(until: now)
        isStale = true
        hasNews = false
        reported = nil
    }

    public mutating func linkLost() { state = .offline }

    /// There may be something new to tell.
    public mutating func changed(now: MonotonicInstant) {
        hasNews = true
        if case .idle = state { state = .idle(until: now) }
    }

    /// The desired properties have changed: the whole twin is fetched again, because what the hub sends with that does
    /// not tell a change of some properties from a replacement of all.
    public mutating func desiredChanged(now: MonotonicInstant) {
        isStale = true
        changed(now: now)
    }

    /// The request to make now.
    ///
    /// - Parameter report: what would be told; asked only when it may be time to.
    public mutating func nextRequest(now: MonotonicInstant, report: () -> [UInt8]) -> Request? {
        switch state {
        case .offline: return nil
        case .idle(let until): guard now >= until else { return nil }
        case .waiting(let request, let until):
            guard now >= until else { return nil }
            if case .get = request { isStale = true }
        }
        if isStale {
            isStale = false
            return sent(.get(rid: nextRID()), now)
        }
        hasNews = false
        let bytes = report()
        guard bytes != reported else {
            state = .idle(until: now + Self.pause)
            return nil
        }
        return sent(.report(rid: nextRID(), bytes), now)
    }

    /// The hub answered the request with this id, 2xx for done.
    public mutating func answered(rid: String, status: Int, now: MonotonicInstant) -> Answer {
        guard case .waiting(let request, _) = state, request.rid == rid else { return .ignore }
        guard (200..<300).contains(status) else {
            if case .get = request { isStale = true }
            state = .idle(until: now + Self.pause)
            return .refused(status: status)
        }
        switch request {
        case .get:
            state = .idle(until: now)
            return .twin
        case .report(_, let bytes):
            reported = bytes
            state = .idle(until: isStale || hasNews ? now : now + Self.pause)
            return .reported
        }
    }

    private mutating func sent(_ request: Request, _ now: MonotonicInstant) -> Request {
        state = .waiting(request, until: now + Self.answerTimeMax)
        return request
    }

    private mutating func nextRID() -> String {
        defer { nextNumber += 1 }
        return "twin-\(nextNumber)"
    }
}
