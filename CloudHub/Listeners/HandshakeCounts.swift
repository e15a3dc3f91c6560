import Synchronization

/// What became of TLS handshakes since the start, over all ports and event loops.
public struct HandshakeCounts: Sendable, Hashable {
    /// Now in progress, of `HandshakeLimits.inProgressMax` a loop.
    public internal(set) var inProgress = 0
    /// The most that were in progress at once, over all loops together.
    public internal(set) var inProgressPeak = 0
    /// Now begun, and left waiting by their peers.
    public internal(set) var slow = 0
    /// Now accepted, and not begun.
    public internal(set) var waiting = 0
    public internal(set) var completed: UInt64 = 0
    /// Failed by what peer or hub said of the other.
    public internal(set) var failed: UInt64 = 0
    /// Closed because too many were waiting, or too many were slow.
    public internal(set) var refused: UInt64 = 0
    public internal(set) var timedOut: UInt64 = 0
    /// Peers that left before their turn; nothing was done for them.
    public internal(set) var gone: UInt64 = 0

    public init() {}
}

/// How many connections of a loop are where.
struct HandshakeLevels: Equatable {
    var inProgress = 0
    var slow = 0
    var waiting = 0
}

/// Gathers what all loops count. Any thread.
final class HandshakeLedger: Sendable {
    private let collected = Mutex(HandshakeCounts())

    var counts: HandshakeCounts { collected.withLock { $0 } }

    func tell(from old: HandshakeLevels, to new: HandshakeLevels, _ change: (inout HandshakeCounts) -> Void) {
        collected.withLock { counts in
            counts.inProgress += new.inProgress - old.inProgress
            counts.slow += new.slow - old.slow
            counts.waiting += new.waiting - old.waiting
            counts.inProgressPeak = max(counts.inProgressPeak, counts.inProgress)
            change(&counts)
        }
    }
}
