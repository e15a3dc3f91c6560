import Synchronization

/// What a listener has done since it started.
public struct ListenerCounts: Sendable, Hashable {
    public internal(set) var connectionsOpened: UInt64 = 0
    public internal(set) var connectionsClosed: UInt64 = 0
    public internal(set) var connectsAccepted: UInt64 = 0
    public internal(set) var connectsRefused: UInt64 = 0
    public internal(set) var messagesReceived: UInt64 = 0
    public internal(set) var bytesReceived: UInt64 = 0
    public internal(set) var acknowledgementsSent: UInt64 = 0
    public internal(set) var groups: UInt64 = 0
    /// Why connections were closed by the hub, by `DisconnectReason.label`.
    public internal(set) var closesByReason: [String: UInt64] = [:]

    public init() {}

    mutating func add(_ other: Self) {
        connectionsOpened += other.connectionsOpened
        connectionsClosed += other.connectionsClosed
        connectsAccepted += other.connectsAccepted
        connectsRefused += other.connectsRefused
        messagesReceived += other.messagesReceived
        bytesReceived += other.bytesReceived
        acknowledgementsSent += other.acknowledgementsSent
        groups += other.groups
        closesByReason.merge(other.closesByReason) { $0 + $1 }
    }
}

/// Gathers the counts of all loops. Any thread.
final class ListenerMetrics: Sendable {
    private let counts = Mutex(ListenerCounts())

    var total: ListenerCounts { counts.withLock { $0 } }

    /// Takes what a loop counted since the last time.
    func add(_ part: inout ListenerCounts) {
        let taken = part
        part = ListenerCounts()
        counts.withLock { $0.add(taken) }
    }
}
