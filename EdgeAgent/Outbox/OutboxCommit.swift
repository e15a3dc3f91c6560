public import Primitives
public import Telemetry

/// What one commit keeps.
public struct OutboxCommit: Sendable {
    /// Consecutive sequences, the first one being `OutboxStatus.nextSequence`. May be empty.
    public let records: [SequencedRecord]
    /// One a record, or none at all: then all have the standard retention. What is said of a fault is ignored.
    public let retentions: [Retention]
    /// What the records of this commit report: taken off `OutboxStore.losses`.
    public let reported: [SensorLoss]
    /// Pipeline state, driver marks: replaced by key.
    public let kept: [KeptState]
    /// The wall clock now: certificates are never checked at an earlier time while the clock is unset.
    public let wallTime: WallInstant
    /// How far `wallTime` can be trusted.
    public let clock: ClockQuality

    public init(
        records: [SequencedRecord], retentions: [Retention] = [], reported: [SensorLoss] = [],
        kept: [KeptState] = [], wallTime: WallInstant, clock: ClockQuality
    ) {
        precondition(retentions.isEmpty || retentions.count == records.count, "every record has a retention, or none")
        self.records = records
        self.retentions = retentions
        self.reported = reported
        self.kept = kept
        self.wallTime = wallTime
        self.clock = clock
    }

    /// The last known wall time once this commit is kept. A clock that was never set knows no time: a board without a
    /// battery starts in 1970, and that must not take the place of what was known before the power went.
    public func lastWallTime(after known: WallInstant?) -> WallInstant? {
        switch clock {
        case .synchronised, .guessed: wallTime
        case .unset: known
        }
    }
}

/// Bytes that mean something to whoever kept them.
public struct KeptState: Sendable, Equatable {
    public let key: String
    /// At most 1 MiB.
    public let bytes: [UInt8]

    public init(key: String, bytes: [UInt8]) {
        self.key = key
        self.bytes = bytes
    }
}

/// Records of one sensor that never reached the hub.
public struct SensorLoss: Hashable, Sendable {
    public enum Reason: Int, Sendable, CaseIterable {
        /// The outbox was full.
        case dropped = 0
        /// Their time to live was over.
        case expired = 1
    }

    public let sensor: SensorName
    public let reason: Reason
    public let count: UInt64

    public init(sensor: SensorName, reason: Reason, count: UInt64) {
        self.sensor = sensor
        self.reason = reason
        self.count = count
    }
}
