public import Primitives
import Synchronization

/// Why devices were refused, disconnected, throttled …: the newest of it, in memory. Any thread.
public final class DeviceJournal: Sendable {
    /// Readers that follow at a time.
    public static let followersMax = 64
    /// Entries that wait for one reader; the oldest are left out when it is slower.
    static let waitingMax = 256

    private struct Follower {
        let name: String?
        let continuation: AsyncStream<JournalEntry>.Continuation
    }

    private struct State {
        var book = JournalBook()
        var followers: [UInt64: Follower] = [:]
        var lastFollower: UInt64 = 0
    }

    private let state = Mutex(State())
    private let clock: @Sendable () -> WallInstant
    private let isRegistered: @Sendable (DeviceID) -> Bool

    /// - Parameter isRegistered: from memory, at once; called outside the lock.
    public init(clock: @escaping @Sendable () -> WallInstant, isRegistered: @escaping @Sendable (DeviceID) -> Bool) {
        self.clock = clock
        self.isRegistered = isRegistered
    }

    /// Notes an event.
    ///
    /// - Parameters:
    ///   - name: the id that somebody gave: `device` or `device/module`; what is none counts as a stranger's.
    ///   - isProven: whether it is certain that the name is its own; what is not has a small share of the device's entries.
    /// - Returns: whether it is news; `false` when the same happened within the last ten seconds, or too much of what
    ///   anybody may have caused, so that a log need not say it.
    @discardableResult
    public func note(
        _ kind: JournalEntry.Kind, of name: String, _ sentence: String, address: String? = nil, isProven: Bool = true
    ) -> Bool {
        let device = DeviceID(name.prefix { $0 != "/" })
        let isKnown = device.map(isRegistered) ?? false
        let now = clock()
        return state.withLock { state in
            let news = state.book.note(
                kind, of: name, isRegistered: isKnown, isProven: isProven, sentence, address: address, at: now)
            guard let news else { return false }
            for follower in state.followers.values where follower.name.map({ news.isOf($0) }) ?? true {
                follower.continuation.yield(news)
            }
            return true
        }
    }

    /// What happened to it and its modules, oldest first.
    public func entries(of device: DeviceID, modules: [String] = []) -> [JournalEntry] {
        let names = [device.text] + modules.map { "\(device)/\($0)" }
        return state.withLock { state in
            names.flatMap { state.book.entries(of: $0) }.sorted { $0.number < $1.number }
        }
    }

    /// What happened to everybody, oldest first.
    public func newest(_ most: Int) -> [JournalEntry] { state.withLock { $0.book.newest(most) } }

    /// What happens from now on, to one device or to all; an event that repeats comes again every ten seconds.
    /// - Returns: `nil` when too many follow already.
    public func follow(_ device: DeviceID?) -> AsyncStream<JournalEntry>? {
        let (stream, continuation) = AsyncStream<JournalEntry>.makeStream(
            bufferingPolicy: .bufferingNewest(Self.waitingMax))
        let number: UInt64? = state.withLock { state in
            guard state.followers.count < Self.followersMax else { return nil }
            state.lastFollower += 1
            state.followers[state.lastFollower] = Follower(name: device?.text, continuation: continuation)
            return state.lastFollower
        }
        guard let number else { return nil }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.followers.removeValue(forKey: number) }
        }
        return stream
    }
}

extension JournalEntry {
    /// The device itself or a module of it.
    fileprivate func isOf(_ device: String) -> Bool { name == device || name.hasPrefix(device + "/") }
}
