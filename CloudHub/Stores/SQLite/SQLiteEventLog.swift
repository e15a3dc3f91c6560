public import EventLog
import Foundation
public import Logging
public import Primitives
import Synchronization

/// The event log in one SQLite file: a row is what one event loop collected for one partition between two commits.
///
/// One thread writes, with `synchronous=FULL`: it takes every group that arrived while the last commit ran, and tells
/// them all after the sync of the next. While it cannot store, the groups wait, and it tries again by itself.
public final class SQLiteEventLog: EventLog {
    /// The newest schema of `log.sqlite` that this program knows.
    public static let schemaVersion = Int(LogSchema.version)

    public struct Options: Sendable, Hashable {
        /// Taken when the log is made; an existing log keeps its own. Default 4, range 1 … 32.
        public var partitionCount = 4
        /// Events older than this are deleted. Default 7 days.
        public var ageMax = Duration.seconds(7 * 86_400)
        /// The oldest events are deleted beyond this many bytes of events in all partitions together. Default 10 GB.
        public var bytesMax: Int64 = 10_000_000_000
        /// The write-ahead log is folded into the database at this size. Default 32 MiB.
        public var walBytesMax = 32 << 20
        /// Kept on disk to be given up when it is full, so that deletes can run. Default 8 MiB; 0 turns it off.
        public var reserveBytes = 8 << 20
        /// How long to wait before a failed commit is tried again. Default 1 s.
        public var probeInterval = Duration.seconds(1)
        /// Between two looks at what retention must delete, and at who has not read it yet. Default 10 s.
        public var retentionInterval = Duration.seconds(10)
        public var pageBytes = 16_384
        /// SQLite's page cache for the writer, which reads next to nothing: a small one stays in the processor's cache.
        public var cacheKiB = 1024
        /// SQLite's own limit of the file; `nil` is none.
        public var pageCountMax: Int?

        public init() {}
    }

    /// What the log has done since it was opened.
    public struct Counters: Sendable, Hashable {
        public internal(set) var commits: UInt64 = 0
        public internal(set) var commitSeconds: Double = 0
        public internal(set) var failedCommits: UInt64 = 0
        public internal(set) var events: UInt64 = 0
        public internal(set) var bytes: UInt64 = 0
        public internal(set) var repeatsDropped: UInt64 = 0
        public internal(set) var quarantined: UInt64 = 0
        public internal(set) var checkpoints: UInt64 = 0

        public init() {}
    }

    public let partitionCount: Int
    private let shared: LogShared
    private let readers: LogReaders

    /// Opens the log, or makes it. Blocks.
    ///
    /// - Parameters:
    ///   - now: the hub's clock; events of one partition never go back in it.
    ///   - logger: told once when the log stops storing, and once when it resumes.
    public init(
        path: String, options: Options = Options(), logger: Logger, now: @escaping @Sendable () -> WallInstant
    ) throws(EventLogError) {
        let connection = try LogConnection(path: path, isReadOnly: false)
        chmod(path, 0o600)
        partitionCount = try LogSchema.prepare(connection, options: options)
        let statuses = try LogRetention.measure(connection, partitionCount: partitionCount)
        shared = LogShared(statuses: statuses)
        readers = try LogReaders(path: path)
        let writer = try LogWriter(
            connection: connection, shared: shared, options: options,
            environment: LogWriter.Environment(path: path, logger: logger, now: now))
        let box = SendingBox(writer)
        let thread = Thread { box.value.run() }
        thread.name = "event-log"
        thread.start()
    }

    public func append(
        _ group: AppendGroup, completion: @escaping @Sendable (Result<AppendOutcome, EventLogError>) -> Void
    ) {
        shared.add(LogShared.Waiting(group: group, completion: completion))
    }

    public func read(
        partition: Int, from offset: Int64, limits: EventChunk.ReadLimits, selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) -> EventRun {
        var run = EventRun(from: offset)
        guard offset < nextOffset(partition: partition) else { return run }
        try readers.read(partition: partition, limits: limits, into: &run, selecting: isWanted)
        return run
    }

    public func nextOffset(partition: Int) -> Int64 { shared.status(of: partition).nextOffset }
    public var partitions: [PartitionStatus] { shared.statuses }
    public var counters: Counters { shared.counters }

    public func onAppend(_ wake: @escaping @Sendable () -> Void) -> WakeToken { shared.onAppend(wake) }
    public func onCondition(_ changed: @escaping @Sendable (LogCondition) -> Void) -> WakeToken {
        shared.onCondition(changed)
    }

    /// Calls `checkpoints` before retention deletes, to name in the log and in `consumersAtRisk` who is about to lose
    /// events: the next offsets of each consumer, by partition.
    public func watchConsumers(_ checkpoints: @escaping @Sendable () -> [String: [Int64]]) {
        shared.watchConsumers(checkpoints)
    }

    /// Consumers that retention is about to overtake, as of its last look.
    public var consumersAtRisk: Set<String> { shared.consumersAtRisk }

    public func sequences(gateway: DeviceID) throws(EventLogError) -> [OutboxSequences] {
        try readers.sequences(gateway: gateway)
    }

    public func sequences(changedFrom time: WallInstant, countMax: Int) throws(EventLogError) -> [OutboxSequences] {
        try readers.sequences(changedFrom: time, countMax: countMax)
    }

    public func quarantine(gateway: DeviceID?, countMax: Int) throws(EventLogError) -> [StoredQuarantine] {
        try readers.quarantine(gateway: gateway, countMax: countMax)
    }

    /// Stores what waits, then closes the file. Blocks; later appends and reads are answered `.closed`.
    public func close() {
        readers.close()
        shared.close()
        shared.waitUntilClosed()
    }
}

/// Hands the writer to its thread, which is the only one that ever touches it again.
private struct SendingBox: @unchecked Sendable {
    let value: LogWriter

    init(_ value: LogWriter) { self.value = value }
}
