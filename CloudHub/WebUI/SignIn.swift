import Primitives

/// Who may see the pages: one-time links and the sessions they open. Pure; the shell gives the time and the randomness.
///
///     link made ──(opened once, within 15 min)──► session ──(12 h, or signed out)──► gone
struct SignIn: ~Copyable {
    static let linkLifetime: Duration = .seconds(15 * 60)
    static let sessionLifetime: Duration = .seconds(12 * 3600)
    /// The oldest goes when one more is made.
    static let linkCountMax = 64
    static let sessionCountMax = 256

    struct Session: Equatable {
        let user: String
        /// Must come back with every form.
        let formToken: String
        let expiresAt: WallInstant
    }

    private struct Link {
        let user: String
        let expiresAt: WallInstant
    }

    private var links: [String: Link] = [:]
    private var sessions: [String: Session] = [:]

    init() {}

    /// A new one-time token for `user`.
    mutating func linkRequested(
        user: String, now: WallInstant, using random: inout some RandomNumberGenerator
    ) -> String {
        expire(now: now)
        if links.count >= Self.linkCountMax, let oldest = links.min(by: { $0.value.expiresAt < $1.value.expiresAt }) {
            links[oldest.key] = nil
        }
        // 128 bits: more than enough for one use within minutes, and the link still fits one line of a terminal.
        let token = String(Self.token(using: &random).prefix(32))
        links[token] = Link(user: user, expiresAt: now + Self.linkLifetime)
        return token
    }

    /// Turns a link into a session, once. `nil` when the token is unknown, used or too old.
    mutating func linkOpened(
        _ token: String, now: WallInstant, using random: inout some RandomNumberGenerator
    ) -> (id: String, session: Session)? {
        expire(now: now)
        guard let link = links.removeValue(forKey: token) else { return nil }
        if sessions.count >= Self.sessionCountMax,
            let oldest = sessions.min(by: { $0.value.expiresAt < $1.value.expiresAt })
        {
            sessions[oldest.key] = nil
        }
        let id = Self.token(using: &random)
        let session = Session(
            user: link.user, formToken: Self.token(using: &random), expiresAt: now + Self.sessionLifetime)
        sessions[id] = session
        return (id, session)
    }

    mutating func session(_ id: String, now: WallInstant) -> Session? {
        guard let session = sessions[id], session.expiresAt > now else { return nil }
        return session
    }

    mutating func signedOut(_ id: String) { sessions[id] = nil }

    private mutating func expire(now: WallInstant) {
        links = links.filter { $0.value.expiresAt > now }
        sessions = sessions.filter { $0.value.expiresAt > now }
    }

    /// 256 random bits as hex.
    private static func token(using random: inout some RandomNumberGenerator) -> String {
        Hex.encode((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) })
    }
}

/// The one owner of the sign-in state.
actor SignInDesk {
    private var machine = SignIn()
    private var random = SystemRandomNumberGenerator()
    private let now: @Sendable () -> WallInstant

    init(now: @escaping @Sendable () -> WallInstant) { self.now = now }

    func makeLink(user: String) -> String { machine.linkRequested(user: user, now: now(), using: &random) }

    func open(_ token: String) -> (id: String, session: SignIn.Session)? {
        machine.linkOpened(token, now: now(), using: &random)
    }

    func session(_ id: String) -> SignIn.Session? { machine.session(id, now: now()) }

    func signOut(_ id: String) { machine.signedOut(id) }
}
