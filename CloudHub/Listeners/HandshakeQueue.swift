import Primitives

/// Decides whose TLS handshake begins, and who has had time enough. One for each event loop.
///
/// The newest goes first: after a power cut thousands come at once, and those that have waited longest have probably given
/// up. A peer that lets the hub wait keeps its handshake but not its place, so that nobody holds the others up by silence.
///
/// Every connection is in one of four lists, each in the order of its instants, and each with one length of time for all: what
/// is due is always at an oldest end.
struct HandshakeQueue: ~Copyable {
    /// A connection, until it has ended; then the number is used again.
    typealias Ticket = Int

    enum Expiry: Equatable, Sendable {
        /// It has sent nothing.
        case silent
        /// Its turn did not come.
        case waited
        /// Its handshake has taken too long.
        case unfinished
        /// Too many handshakes are as slow as this one.
        case crowdedOut
    }

    struct Expired: Equatable, Sendable {
        let ticket: Ticket
        let why: Expiry
    }

    private enum List: Int, CaseIterable {
        /// Nothing came yet. Exits: `waiting`, out.
        case silent
        /// The first bytes are here. Exits: `inProgress`, out.
        case waiting
        /// Exits: `slow`, out.
        case inProgress
        /// Begun long ago. Exit: out.
        case slow
    }

    private struct Entry {
        var list: List
        var since: MonotonicInstant
        var older: Ticket?
        var newer: Ticket?
    }

    private struct Ends {
        var oldest: Ticket?
        var newest: Ticket?
        var count = 0
    }

    private let limits: HandshakeLimits
    private var entries: [Entry?] = []
    private var free: [Ticket] = []
    private var lists = [Ends](repeating: Ends(), count: List.allCases.count)

    init(limits: HandshakeLimits) {
        precondition(limits.isSound, "limits of handshakes are positive, and patience is no longer than the time-out")
        self.limits = limits
    }

    var inProgressCount: Int { lists[List.inProgress.rawValue].count }
    var slowCount: Int { lists[List.slow.rawValue].count }
    /// Whose turn has not come, the silent ones too.
    var waitingCount: Int { lists[List.silent.rawValue].count + lists[List.waiting.rawValue].count }

    /// Whether `next` has one.
    var hasNext: Bool {
        inProgressCount < limits.inProgressMax && lists[List.waiting.rawValue].count > 0
    }

    /// When `timerFired` has something to do at the earliest.
    var deadline: MonotonicInstant? {
        List.allCases.compactMap { list in oldest(list).map { $0.since + time(list) } }.min()
    }

    /// A connection was accepted.
    /// - Returns: its ticket, and who has to be closed for it.
    mutating func arrived(now: MonotonicInstant) -> (ticket: Ticket, closes: Ticket?) {
        let closed = waitingCount >= limits.waitingMax ? oldestWaiting : nil
        if let closed { ended(closed) }
        let ticket = free.popLast() ?? entries.count
        if ticket == entries.count { entries.append(nil) }
        enter(ticket, .silent, now)
        return (ticket, closed)
    }

    /// The first bytes of a connection are here: it may be the `next`.
    mutating func helloReceived(_ ticket: Ticket, now: MonotonicInstant) {
        guard leave(ticket)?.list == .silent else { preconditionFailure("a connection says its hello once") }
        enter(ticket, .waiting, now)
    }

    /// The next that begins; ask until there is none.
    mutating func next(now: MonotonicInstant) -> Ticket? {
        guard inProgressCount < limits.inProgressMax, let newest = lists[List.waiting.rawValue].newest else {
            return nil
        }
        _ = leave(newest)
        enter(newest, .inProgress, now)
        return newest
    }

    /// The handshake is done or has failed, or the peer has gone; a ticket that has ended already is no mistake.
    /// - Returns: whether it was still waiting for its turn.
    @discardableResult mutating func ended(_ ticket: Ticket) -> Bool {
        guard let entry = leave(ticket) else { return false }
        free.append(ticket)
        return entry.list == .silent || entry.list == .waiting
    }

    /// Who is out of time; they have ended. Afterwards there may be room for a `next`.
    mutating func timerFired(now: MonotonicInstant) -> [Expired] {
        var expired: [Expired] = []
        while let ticket = due(.inProgress, now) {
            let begun = leave(ticket)?.since ?? now
            if slowCount >= limits.slowMax, let slowest = lists[List.slow.rawValue].oldest {
                ended(slowest)
                expired.append(Expired(ticket: slowest, why: .crowdedOut))
            }
            enter(ticket, .slow, begun)
        }
        for (list, why) in [(List.silent, Expiry.silent), (.waiting, .waited), (.slow, .unfinished)] {
            while let ticket = due(list, now) {
                ended(ticket)
                expired.append(Expired(ticket: ticket, why: why))
            }
        }
        return expired
    }

    // MARK: - The lists

    private func time(_ list: List) -> Duration {
        switch list {
        case .silent, .slow: limits.timeout
        case .waiting: limits.waitMax
        case .inProgress: limits.patience
        }
    }

    private func oldest(_ list: List) -> Entry? { lists[list.rawValue].oldest.flatMap { entries[$0] } }

    private var oldestWaiting: Ticket? {
        guard let silent = oldest(.silent) else { return lists[List.waiting.rawValue].oldest }
        guard let waiting = oldest(.waiting) else { return lists[List.silent.rawValue].oldest }
        return lists[(silent.since <= waiting.since ? List.silent : .waiting).rawValue].oldest
    }

    private func due(_ list: List, _ now: MonotonicInstant) -> Ticket? {
        guard let entry = oldest(list), entry.since + time(list) <= now else { return nil }
        return lists[list.rawValue].oldest
    }

    private mutating func enter(_ ticket: Ticket, _ list: List, _ since: MonotonicInstant) {
        let newest = lists[list.rawValue].newest
        entries[ticket] = Entry(list: list, since: since, older: newest, newer: nil)
        if let newest { entries[newest]?.newer = ticket }
        lists[list.rawValue].newest = ticket
        if newest == nil { lists[list.rawValue].oldest = ticket }
        lists[list.rawValue].count += 1
    }

    private mutating func leave(_ ticket: Ticket) -> Entry? {
        guard entries.indices.contains(ticket), let entry = entries[ticket] else { return nil }
        entries[ticket] = nil
        let index = entry.list.rawValue
        if let older = entry.older { entries[older]?.newer = entry.newer } else { lists[index].oldest = entry.newer }
        if let newer = entry.newer { entries[newer]?.older = entry.older } else { lists[index].newest = entry.older }
        lists[index].count -= 1
        return entry
    }
}
