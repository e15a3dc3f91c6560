import EventLog
import Foundation
import Logging
import NIOCore
import Primitives
import Telemetry

/// The thread that stores: everything here runs on it alone.
final class LogWriter {
    struct Environment {
        let path: String
        let logger: Logger
        let now: @Sendable () -> WallInstant
    }

    /// What a transaction has put together, taken over only after its commit.
    private struct Staged {
        var statuses: [PartitionStatus]
        var outcomes: [AppendOutcome] = []
        var bytes = 0
    }

    private let connection: LogConnection
    private let shared: LogShared
    private let options: SQLiteEventLog.Options
    private let environment: Environment
    private let sequences: LogSequences
    private let retention: LogRetention
    private let caps: LogCaps
    private let reserve: LogReserve
    private var insertEvent: LogStatement?
    private var insertQuarantine: LogStatement?
    private var statuses: [PartitionStatus]
    private var lastEnqueued: Int64
    /// Groups that could not be stored, oldest first.
    private var rest: ArraySlice<LogShared.Waiting> = []
    private var isStallTold = false

    init(
        connection: LogConnection, shared: LogShared, options: SQLiteEventLog.Options, environment: Environment
    ) throws(EventLogError) {
        self.connection = connection
        self.shared = shared
        self.options = options
        self.environment = environment
        sequences = LogSequences(connection: connection, logger: environment.logger)
        retention = LogRetention(connection: connection, options: options, logger: environment.logger)
        caps = LogCaps(connection: connection)
        reserve = LogReserve(path: environment.path + ".reserve", bytes: options.reserveBytes)
        statuses = shared.statuses
        // After a restart, too, time does not go back in a partition, whatever happened to the clock in between.
        lastEnqueued =
            try LogRetention.newestEnqueued(connection, partitionCount: shared.statuses.count) ?? .min
    }

    func run() {
        reserve.restore()
        var nextMaintenance = Date()
        while true {
            if isStalled {
                if shared.sleep(until: Date(timeIntervalSinceNow: options.probeInterval / .seconds(1))) { break }
                storeRest()
                continue
            }
            guard let waiting = shared.take(until: nextMaintenance) else { break }
            store(waiting)
            if waiting.isEmpty || Date() >= nextMaintenance {
                maintain()
                nextMaintenance = Date(timeIntervalSinceNow: options.retentionInterval / .seconds(1))
            } else {
                checkpointWhenLong()
            }
        }
        end()
    }

    /// What waits is refused, and the file is as short as it can be.
    func end() {
        refuse(rest, detail: "the log was closed while it could not store")
        rest = []
        refuseRest()
        _ = try? connection.checkpoint(.truncate)  // the log is whole without it; only the file is longer
        shared.closed()
    }

    /// Whether groups wait that could not be stored; `storeRest` tries again.
    var isStalled: Bool { !rest.isEmpty }

    func store(_ waiting: [LogShared.Waiting]) {
        rest += waiting
        guard !rest.isEmpty else { return }
        let all = Array(rest)
        do throws(EventLogError) {
            let staged = try commit(all)
            rest = []
            answer(all, staged)
        } catch {
            failed(error)
        }
    }

    /// One group at a time: what fits goes, though all together might never.
    func storeRest() {
        while let next = rest.first {
            do throws(EventLogError) {
                let staged = try commit([next])
                rest = rest.dropFirst()
                answer([next], staged)
                if rest.isEmpty { resume() }
            } catch {
                return failed(error)
            }
        }
    }

    private func failed(_ error: EventLogError) {
        takeBack()
        shared.count { $0.failedCommits += 1 }
        if !isStallTold { stall(error) }
        // What is past its age makes room; nothing younger is given up for it.
        if error.problem == .full { maintain() }
    }

    private func refuse(_ waiting: some Sequence<LogShared.Waiting>, detail: String) {
        for one in waiting {
            let doing = "append \(one.group.eventCount) events"
            one.completion(.failure(EventLogError(.closed, doing: doing, detail: detail)))
        }
    }

    private func answer(_ waiting: [LogShared.Waiting], _ staged: Staged) {
        statuses = staged.statuses
        shared.publish(statuses)
        shared.count {
            for outcome in staged.outcomes {
                $0.events += UInt64(outcome.eventsStored)
                $0.repeatsDropped += UInt64(outcome.recordsRepeated)
                $0.quarantined += UInt64(outcome.recordsQuarantined)
            }
            $0.bytes += UInt64(staged.bytes)
        }
        for (one, outcome) in zip(waiting, staged.outcomes) { one.completion(.success(outcome)) }
        shared.wakeAll()
    }

    // MARK: - One transaction

    private func commit(_ waiting: [LogShared.Waiting]) throws(EventLogError) -> Staged {
        let started = ContinuousClock.now
        let doing = "append \(waiting.count) groups of events"
        try connection.execute("BEGIN IMMEDIATE", doing: doing)
        lastEnqueued = max(lastEnqueued, environment.now().milliseconds)
        var staged = Staged(statuses: statuses)
        for one in waiting { staged.outcomes.append(try insert(one.group, &staged)) }
        if PlantedBug.hubKeepsBooksApart.isPlanted {
            try connection.execute("COMMIT; BEGIN IMMEDIATE", doing: doing)
        }
        try sequences.store(at: lastEnqueued)
        try connection.execute("COMMIT", doing: doing)
        sequences.committed()
        let took = ContinuousClock.now - started
        shared.count {
            $0.commits += 1
            $0.commitSeconds += Double(took.nanosecondsClamped) / 1e9
        }
        return staged
    }

    private func insert(_ group: AppendGroup, _ staged: inout Staged) throws(EventLogError) -> AppendOutcome {
        var stored = 0
        var repeated = 0
        var quarantined = group.quarantined.count
        var receipts: [AppendOutcome.GatewayReceipt] = []
        for chunk in group.chunks {
            guard !chunk.batches.isEmpty else {
                try insert(chunk.bytes, count: chunk.eventCount, partition: chunk.partition, &staged)
                stored += chunk.eventCount
                continue
            }
            for batch in chunk.batches { caps.touch(batch.gateway) }
            let verdict = try sequences.settle(chunk)
            let (bytes, count) = chunk.applying(verdict.edits)
            try insert(bytes, count: count, partition: chunk.partition, &staged)
            stored += count
            repeated += verdict.repeatedCount
            quarantined += verdict.quarantined.count
            receipts += verdict.receipts
            for record in verdict.quarantined { try insert(record) }
        }
        for record in group.quarantined { try insert(record) }
        return AppendOutcome(
            eventsStored: stored, recordsRepeated: repeated, recordsQuarantined: quarantined, receipts: receipts)
    }

    private func insert(
        _ bytes: ByteBuffer, count: Int, partition: Int, _ staged: inout Staged
    ) throws(EventLogError) {
        guard count > 0 else { return }
        let statement = try connection.prepare("INSERT INTO event VALUES (?1, ?2, ?3, ?4)", keptIn: &insertEvent)
        let status = staged.statuses[partition]
        statement.bind(LogSchema.position(partition: partition, offset: status.nextOffset), 1)
        statement.bind(Int64(count), 2)
        statement.bind(lastEnqueued, 3)
        let result: Result<Void, EventLogError> = bytes.withUnsafeReadableBytes { pointer in
            statement.bind(inPlace: pointer, 4)
            return Result { () throws(EventLogError) in try connection.run(statement, doing: "append events") }
        }
        try result.get()
        staged.bytes += bytes.readableBytes
        staged.statuses[partition] = PartitionStatus(
            partition: partition, firstOffset: status.firstOffset, nextOffset: status.nextOffset + Int64(count),
            firstEnqueuedAt: status.firstEnqueuedAt ?? WallInstant(milliseconds: lastEnqueued),
            bytes: status.bytes + Int64(bytes.readableBytes))
    }

    private func insert(_ record: QuarantinedRecord) throws(EventLogError) {
        let statement = try connection.prepare(
            "INSERT INTO quarantine VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)", keptIn: &insertQuarantine)
        caps.touch(record.gateway)
        statement.bind(lastEnqueued, 1)
        statement.bind(record.gateway.text, 2)
        if let epoch = record.epoch { statement.bind(epoch.text, 3) } else { statement.bind(Int64?.none, 3) }
        if let sequence = record.sequence {
            statement.bind(String(sequence), 4)
        } else {
            statement.bind(Int64?.none, 4)
        }
        statement.bind(record.code, 5)
        statement.bind(record.reason, 6)
        statement.bind(copying: record.body, 7)
        try connection.run(statement, doing: "quarantine a record")
    }

    private func takeBack() {
        if connection.isInTransaction { try? connection.execute("ROLLBACK", doing: "take back a failed append") }
        sequences.tookBack()
    }

    // MARK: - When it cannot store, and house-keeping

    private func stall(_ error: EventLogError) {
        isStallTold = true
        environment.logger.error(
            "the event log cannot store; acknowledgements are withheld until it can",
            metadata: ["reason": "\(error)"])
        shared.tell(.stalled(error))
        if error.problem == .full { reserve.giveUp() }
    }

    private func resume() {
        isStallTold = false
        environment.logger.notice("the event log stores again")
        reserve.restore()
        shared.tell(.storing)
    }

    func maintain() {
        do throws(EventLogError) {
            try retention.trim(&statuses, now: environment.now(), consumers: shared.consumers)
            try caps.trim(olderThan: environment.now().milliseconds - options.ageMax.millisecondsClamped)
        } catch {
            if connection.isInTransaction { try? connection.execute("ROLLBACK", doing: "take back a failed delete") }
            environment.logger.warning("old events could not be deleted", metadata: ["reason": "\(error)"])
        }
        shared.publish(statuses, atRisk: retention.named)
        checkpoint(abovePages: 0)
    }

    func checkpointWhenLong() { checkpoint(abovePages: options.walBytesMax / options.pageBytes) }

    /// Readers hold their snapshot only for one read, so what one leaves behind the next call takes.
    private func checkpoint(abovePages pages: Int) {
        guard connection.walPageCount > pages else { return }
        do throws(EventLogError) {
            let result = try connection.checkpoint(.passive)
            if result.frames > 0 { shared.count { $0.checkpoints += 1 } }
        } catch {
            environment.logger.warning("the event log could not be checkpointed", metadata: ["reason": "\(error)"])
        }
    }

    private func refuseRest() {
        while let rest = shared.take(until: Date()), !rest.isEmpty { refuse(rest, detail: "the log was closed") }
    }
}

extension PlantedBug {
    /// The hub notes what it has in another transaction than the one that appends it.
    static var hubKeepsBooksApart: PlantedBug { PlantedBug("hubKeepsBooksApart") }
}
