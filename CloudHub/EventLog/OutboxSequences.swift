public import Primitives
public import Telemetry

/// What the log knows of the sequence numbers of one outbox of a gateway.
public struct OutboxSequences: Sendable, Equatable {
    public let gateway: DeviceID
    public let epoch: Epoch
    /// Appended, quarantined, or declared by the gateway as never to come.
    public let seen: IntervalSet
    /// What the gateway declared, also what `seen` had no room for; when this set is full, the rest is only in `seen`.
    public let dropped: IntervalSet
    /// When either last changed, by the hub's clock.
    public let changedAt: WallInstant

    public init(gateway: DeviceID, epoch: Epoch, seen: IntervalSet, dropped: IntervalSet, changedAt: WallInstant) {
        self.gateway = gateway
        self.epoch = epoch
        self.seen = seen
        self.dropped = dropped
        self.changedAt = changedAt
    }

    /// What became of a sequence number, as far as its outbox's books tell.
    public enum Standing: Sendable, Equatable {
        /// It came: it is in the log, in the quarantine, or was taken by retention since. Or it was declared when
        /// `dropped` was full.
        case arrived
        /// The gateway declared that it never comes: dropped, expired, or not kept any more when it was asked for.
        case dropped
        /// Later ones came, and nobody declared it: a gap.
        case missing
        /// Beyond the highest that came.
        case notYet
    }

    public func standing(of sequence: UInt64) -> Standing {
        if dropped.contains(sequence) { return .dropped }
        if seen.contains(sequence) { return .arrived }
        return sequence < max(seen.last ?? 0, dropped.last ?? 0) ? .missing : .notYet
    }

    /// Neither seen nor declared, below the highest seen; rising. Sequences start at 1: what is missing before the first
    /// that came is a gap too.
    public var gaps: [Run] {
        guard let last = seen.last, last >= 1 else { return [] }
        return seen.missing(in: Run(start: 1, count: last)).flatMap { dropped.missing(in: $0) }
    }

    /// How many records the gateway declared as never to come.
    public var lostCount: UInt64 { dropped.runs.reduce(0) { $0 &+ $1.count } }
}
