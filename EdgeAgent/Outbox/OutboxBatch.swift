public import Primitives
public import Telemetry

/// Faults travel before readings and are dropped after them.
public enum OutboxLane: Int, Sendable, Hashable, CaseIterable {
    case readings = 0
    case faults = 1
    /// Acknowledged before, and asked for again.
    case replays = 2
}

/// Which records to read.
public struct TakeRequest: Sendable, Equatable {
    public let lane: OutboxLane
    /// Only records with a sequence greater than this.
    public let after: UInt64
    /// Only rows that begin before this sequence; `nil` for no bound.
    public let before: UInt64?
    /// Joined fragments up to this size; a first row is taken whatever its size. At most `OutboxLimits.rowBytesMax`
    /// below the batch limit, so that one row always fits.
    public let bytesMax: Int

    public init(lane: OutboxLane, after: UInt64, before: UInt64? = nil, bytesMax: Int) {
        self.lane = lane
        self.after = after
        self.before = before
        self.bytesMax = bytesMax
    }
}

/// What goes out in one PUBLISH.
public struct OutboxBatch: Sendable, Equatable {
    /// First sequences of the stored rows in it, rising.
    public let rows: [UInt64]
    /// The records in it, rising; neighbours are joined.
    public let runs: [Run]
    /// Encoded records joined with commas, in the order of `runs`.
    public let fragments: [UInt8]
    /// Records that were dropped unsent, declared with this batch.
    public let dropped: [Run]

    public init(rows: [UInt64], runs: [Run], fragments: [UInt8], dropped: [Run]) {
        self.rows = rows
        self.runs = runs
        self.fragments = fragments
        self.dropped = dropped
    }

    public var recordCount: UInt64 { runs.reduce(0) { $0 + $1.count } }

    /// The last sequence in it.
    public var lastSequence: UInt64 { runs.last.map { $0.start + $0.count - 1 } ?? 0 }
}

/// A receipt as it came, with the time at which it did.
public struct StoredReceipt: Sendable, Equatable {
    public let time: WallInstant
    public let bytes: [UInt8]

    public init(time: WallInstant, bytes: [UInt8]) {
        self.time = time
        self.bytes = bytes
    }
}

/// A cloud-to-device message that asks for a command.
public struct QueuedCommand: Sendable, Equatable {
    /// The hub's message id; a message without one gets a name made of its content.
    public let messageID: String
    public let device: DeviceID
    public let name: String
    public let payload: [UInt8]
    /// Not to be executed after this; `nil` for no limit.
    public let expiresAt: WallInstant?

    public init(messageID: String, device: DeviceID, name: String, payload: [UInt8], expiresAt: WallInstant?) {
        self.messageID = messageID
        self.device = device
        self.name = name
        self.payload = payload
        self.expiresAt = expiresAt
    }
}

/// What became of a command.
public struct EndedCommand: Sendable, Equatable {
    public let device: DeviceID
    public let name: String
    /// `executed`, `expired`, or what went wrong.
    public let outcome: String

    public init(device: DeviceID, name: String, outcome: String) {
        self.device = device
        self.name = name
        self.outcome = outcome
    }
}

/// What became of a wish to see records again.
public struct ReplayOutcome: Sendable, Equatable {
    /// On their way again.
    public let restored: [Run]
    /// Not acknowledged yet: they come anyway.
    public let waiting: [Run]
    /// Neither: they will never be sent again, and a later batch declares them as dropped. Of the records made so far only.
    public let gone: [Run]
    /// Not looked at yet, so that nothing is said of it: ask again for it.
    public let rest: Run?

    public init(restored: [Run], waiting: [Run], gone: [Run], rest: Run?) {
        self.restored = restored
        self.waiting = waiting
        self.gone = gone
        self.rest = rest
    }
}
