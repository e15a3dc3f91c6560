import EventLog
import Foundation
import Logging
import Primitives
import Telemetry

@testable import SQLiteHubStore

/// The event log with its writer on the simulation's thread instead of one of its own.
final class SteppedLog: EventLog, @unchecked Sendable {
    let partitionCount: Int
    private let shared: LogShared
    private var writer: LogWriter?
    private let readers: LogReaders
    var onWork: () -> Void = {}

    init(
        path: String, options: SQLiteEventLog.Options, now: @escaping @Sendable () -> WallInstant
    ) throws(EventLogError) {
        let connection = try LogConnection(path: path, isReadOnly: false)
        partitionCount = try LogSchema.prepare(connection, options: options)
        shared = LogShared(statuses: try LogRetention.measure(connection, partitionCount: partitionCount))
        readers = try LogReaders(path: path)
        writer = try LogWriter(
            connection: connection, shared: shared, options: options,
            environment: LogWriter.Environment(path: path, logger: silent, now: now))
    }

    var isStalled: Bool { writer?.isStalled ?? false }

    func step() {
        guard let writer, !writer.isStalled, let waiting = shared.take(until: .distantPast) else { return }
        writer.store(waiting)
        writer.checkpointWhenLong()
    }

    func retry() { writer?.storeRest() }
    func maintain() { writer?.maintain() }

    func end() {
        shared.close()
        writer?.end()
    }

    /// Its files are closed; nothing is written.
    func abandon() { close() }

    func close() {
        readers.close()
        writer = nil
    }

    func append(
        _ group: AppendGroup, completion: @escaping @Sendable (Result<AppendOutcome, EventLogError>) -> Void
    ) {
        shared.add(LogShared.Waiting(group: group, completion: completion))
        onWork()
    }

    func read(
        partition: Int, from offset: Int64, limits: EventChunk.ReadLimits, selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) -> EventRun {
        var run = EventRun(from: offset)
        guard offset < nextOffset(partition: partition) else { return run }
        try readers.read(partition: partition, limits: limits, into: &run, selecting: isWanted)
        return run
    }

    func nextOffset(partition: Int) -> Int64 { shared.status(of: partition).nextOffset }
    var partitions: [PartitionStatus] { shared.statuses }
    var counters: SQLiteEventLog.Counters { shared.counters }
    func onAppend(_ wake: @escaping @Sendable () -> Void) -> WakeToken { shared.onAppend(wake) }
    func onCondition(_ changed: @escaping @Sendable (LogCondition) -> Void) -> WakeToken {
        shared.onCondition(changed)
    }
    func sequences(gateway: DeviceID) throws(EventLogError) -> [OutboxSequences] {
        try readers.sequences(gateway: gateway)
    }
    func sequences(changedFrom time: WallInstant, countMax: Int) throws(EventLogError) -> [OutboxSequences] {
        try readers.sequences(changedFrom: time, countMax: countMax)
    }
    func quarantine(gateway: DeviceID?, countMax: Int) throws(EventLogError) -> [StoredQuarantine] {
        try readers.quarantine(gateway: gateway, countMax: countMax)
    }
}
