import EventLog
import Foundation
import Logging
import HubTestSupport
import NIOCore
import Primitives
import SQLiteHubStore
import Synchronization
import Telemetry
import Testing

@Suite(.timeLimit(.minutes(1))) struct SQLiteEventLogTests {
    let folder: TemporaryFolder
    let clock = ManualClock()

    init() throws { folder = try TemporaryFolder() }

    func open(
        logger: Logger = silent, _ change: (inout SQLiteEventLog.Options) -> Void = { _ in }
    ) throws -> SQLiteEventLog {
        var options = SQLiteEventLog.Options()
        options.partitionCount = 1
        options.reserveBytes = 0
        options.probeInterval = .milliseconds(20)
        change(&options)
        let clock = clock
        return try SQLiteEventLog(
            path: folder.file("log.sqlite"), options: options, logger: logger, now: { clock.now })
    }

    func group(_ bodies: [String]) -> AppendGroup {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: EventChunkTests.gateway, partitionCount: 1)
        for body in bodies { builder.add(&stamp, bag: "", body: body) }
        return builder.seal()
    }

    func batch(
        _ sequences: [UInt64], epoch: UInt64 = 9, dropped: [Run] = [], quarantined: [UInt64] = []
    ) throws -> AppendGroup {
        let device = EventChunkTests.gateway.device
        let records = try sequences.map { sequence in
            let reading = Reading(
                device: device, metric: "temperature", value: .number(try #require(DecimalText(Double(sequence)))),
                unit: nil, time: WallInstant(milliseconds: 0), quality: .good, clock: .synchronised)
            return SequencedRecord(sequence: sequence, record: .reading(reading))
        }
        let whole = Batch(epoch: Epoch(value: epoch), records: records, dropped: dropped)
        let mark = BatchMark(
            gateway: device, epoch: whole.epoch, runs: Run.joining((sequences + quarantined).sorted()),
            dropped: dropped,
            quarantined: quarantined.map {
                QuarantinedRecord(
                    gateway: device, epoch: whole.epoch, sequence: $0, code: "childNotInScope", reason: "test",
                    body: [1])
            })
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: EventChunkTests.gateway, partitionCount: 1)
        builder.add(&stamp, bag: "", bytes: whole.encoded(), batch: mark)
        return builder.seal()
    }

    func sequences(_ log: SQLiteEventLog) throws -> [[UInt64]] {
        try log.all().map { try Batch(parsing: $0.body).records.map(\.sequence) }
    }

    @Test func whatIsAcknowledgedIsReadBackInOrderAfterReopening() async throws {
        let first = try open()
        for number in 0..<20 { _ = try await first.append(group(["a\(number)", "b\(number)"])) }
        #expect(first.nextOffset(partition: 0) == 40)
        first.close()
        let second = try open()
        #expect(second.nextOffset(partition: 0) == 40)
        let events = try second.all()
        #expect(events.map(\.offset) == Array(0..<40))
        #expect(events.map(\.text) == (0..<20).flatMap { ["a\($0)", "b\($0)"] })
        #expect(try second.read(partition: 0, from: 7, eventsMax: 3, bytesMax: .max).map(\.offset) == [7, 8, 9])
        #expect(try second.all(from: 40).isEmpty)
        second.close()
    }

    @Test func anAppendWakesReaders() async throws {
        let log = try open()
        let (wakes, continuation) = AsyncStream.makeStream(of: Void.self)
        let token = log.onAppend { continuation.yield() }
        _ = try await log.append(group(["x"]))
        var iterator = wakes.makeAsyncIterator()
        await iterator.next()
        #expect(try log.all().count == 1)
        withExtendedLifetime(token) {}
        log.close()
    }

    @Test func aRepeatedBatchIsAcknowledgedAndNotStored() async throws {
        let log = try open()
        let first = try await log.append(try batch([1, 2, 3]))
        #expect(first == AppendOutcome(eventsStored: 1, recordsRepeated: 0, recordsQuarantined: 0))
        let second = try await log.append(try batch([1, 2, 3]))
        #expect(second == AppendOutcome(eventsStored: 0, recordsRepeated: 3, recordsQuarantined: 0))
        #expect(try sequences(log) == [[1, 2, 3]])
        log.close()
        let reopened = try open()
        _ = try await reopened.append(try batch([2, 3]))
        _ = try await reopened.append(try batch([1, 2, 3], epoch: 10))
        #expect(try sequences(reopened) == [[1, 2, 3], [1, 2, 3]], "another epoch has other numbers")
        reopened.close()
    }

    @Test func ofAMixedBatchOnlyTheNewReadingsAreStored() async throws {
        let log = try open()
        _ = try await log.append(try batch([1, 2, 3, 7]))
        let mixed = try await log.append(try batch([2, 3, 4, 5, 7, 8]))
        #expect(mixed == AppendOutcome(eventsStored: 1, recordsRepeated: 3, recordsQuarantined: 0))
        #expect(try sequences(log) == [[1, 2, 3, 7], [4, 5, 8]])
        let holes = try log.sequences(gateway: EventChunkTests.gateway.device)
        #expect(holes.map(\.gaps) == [[Run(start: 6, count: 1)]])
        _ = try await log.append(try batch([9], dropped: [Run(start: 6, count: 1)]))
        #expect(try log.sequences(gateway: EventChunkTests.gateway.device).map(\.gaps) == [[]], "declared is no gap")
        log.close()
    }

    @Test func repeatsWithinOneTransactionAreSeen() async throws {
        let log = try open()
        let one = try batch([1, 2])
        async let first = log.append(one)
        async let second = log.append(one)
        let outcomes = try await [first, second]
        #expect(outcomes.map(\.eventsStored).sorted() == [0, 1])
        #expect(try sequences(log) == [[1, 2]])
        log.close()
    }

    @Test func quarantinedRecordsAreKeptOnceWithTheirReason() async throws {
        let log = try open()
        _ = try await log.append(try batch([1, 3], quarantined: [2]))
        let again = try await log.append(try batch([1, 3], quarantined: [2]))
        #expect(again.recordsRepeated == 3)
        let kept = try log.quarantine(gateway: nil, countMax: 10)
        #expect(kept.map(\.record.sequence) == [2])
        #expect(kept.first?.record.code == "childNotInScope")
        #expect(try log.quarantine(gateway: .anyone, countMax: 10).isEmpty)
        log.close()
    }

    @Test func aFullLogWithholdsAndResumesWhenRetentionMadeRoom() async throws {
        let log = try open {
            $0.pageBytes = 4096
            $0.pageCountMax = 60
        }
        let body = String(repeating: "x", count: 20_000)
        let (stalls, stalled) = AsyncStream.makeStream(of: LogCondition.self)
        let mayAge = Mutex(false)
        let token = log.onCondition { [clock] condition in
            // From then on everything stored so far is past its age whenever the log is full.
            if condition != .storing, mayAge.withLock({ $0 }) { clock.advance(by: .seconds(8 * 86_400)) }
            stalled.yield(condition)
        }
        let answered = Mutex(0)
        let one = group([body])
        let appends = Task {
            for _ in 0..<20 {
                _ = try await log.append(one)
                answered.withLock { $0 += 1 }
            }
        }
        for await condition in stalls where condition != .storing { break }
        let before = answered.withLock { $0 }
        #expect(before > 0 && before < 20, "what does not fit is not acknowledged")
        #expect(log.nextOffset(partition: 0) == Int64(before))
        #expect(log.counters.failedCommits > 0)

        // Older events pass their age; what waits is stored by the log itself.
        mayAge.withLock { $0 = true }
        clock.advance(by: .seconds(8 * 86_400))
        try await appends.value
        #expect(log.nextOffset(partition: 0) == 20)
        withExtendedLifetime(token) {}
        log.close()
    }

    @Test func groupsThatFitOnlyOneByOneAreStoredAllTheSame() async throws {
        let log = try open {
            $0.pageBytes = 4096
            $0.pageCountMax = 60
        }
        let (stalls, stalled) = AsyncStream.makeStream(of: LogCondition.self)
        let mayAge = Mutex(false)
        let token = log.onCondition { [clock] condition in
            if condition != .storing, mayAge.withLock({ $0 }) { clock.advance(by: .seconds(8 * 86_400)) }
            stalled.yield(condition)
        }
        // Together they are larger than the file may ever be.
        let one = group([String(repeating: "x", count: 20_000)])
        let appends = Task {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for _ in 0..<40 { tasks.addTask { _ = try await log.append(one) } }
                try await tasks.waitForAll()
            }
        }
        for await condition in stalls where condition != .storing { break }
        mayAge.withLock { $0 = true }
        while log.nextOffset(partition: 0) < 40 {
            clock.advance(by: .seconds(8 * 86_400))
            try await Task.sleep(for: .milliseconds(5))
        }
        try await appends.value
        withExtendedLifetime(token) {}
        log.close()
    }

    @Test func closingAnswersWhatCouldNotBeStored() async throws {
        let log = try open {
            $0.pageBytes = 4096
            $0.pageCountMax = 20
        }
        let body = String(repeating: "x", count: 200_000)
        let outcome = Task { try await log.append(group([body])) }
        while log.counters.failedCommits == 0 { await Task.yield() }
        log.close()
        await #expect(throws: EventLogError.self) { _ = try await outcome.value }
        await #expect(throws: EventLogError.self) { _ = try await log.append(group(["late"])) }
    }

    @Test func aConsumerThatRetentionIsAboutToOvertakeIsNamedUntilItHasCaughtUp() async throws {
        let log = try open {
            $0.bytesMax = 100_000
            $0.retentionInterval = .milliseconds(10)
        }
        let checkpoint = Mutex<Int64>(0)
        log.watchConsumers { ["faults": [checkpoint.withLock { $0 }], "other": [1]] }
        let body = String(repeating: "x", count: 30_000)
        for _ in 0..<2 { _ = try await log.append(group([body])) }
        try await Task.sleep(for: .milliseconds(100))
        #expect(log.consumersAtRisk.isEmpty, "60 of 100 kB")
        _ = try await log.append(group([body]))
        while log.consumersAtRisk != ["faults"] { try await Task.sleep(for: .milliseconds(5)) }
        checkpoint.withLock { $0 = 3 }
        while !log.consumersAtRisk.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        log.close()
    }

    @Test func retentionDeletesByBytesButNeverTheNewestRow() async throws {
        let log = try open { $0.bytesMax = 100_000 }
        let body = String(repeating: "x", count: 30_000)
        for _ in 0..<10 { _ = try await log.append(group([body])) }
        log.close()
        let reopened = try open { $0.bytesMax = 100_000 }
        while reopened.partitions[0].firstOffset == 0 { await Task.yield() }
        let status = reopened.partitions[0]
        #expect(status.nextOffset == 10 && status.bytes <= 100_000)
        #expect(try reopened.all().map(\.offset) == Array(status.firstOffset..<10))
        #expect(status.lost(checkpoint: 2) == status.firstOffset - 2)
        #expect(status.lag(checkpoint: 2) == 10 - status.firstOffset)
        clock.advance(by: .seconds(30 * 86_400))
        reopened.close()
        let aged = try open()
        while aged.partitions[0].firstOffset < 9 { await Task.yield() }
        #expect(aged.partitions[0].nextOffset == 10)
        _ = try await aged.append(group(["next"]))
        #expect(try aged.all(from: 10).map(\.text) == ["next"])
        aged.close()
    }

    @Test func aNewerSchemaIsRefusedByName() throws {
        try open().close()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c", "import sqlite3,sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version=99')",
            folder.file("log.sqlite"),
        ]
        try process.run()
        process.waitUntilExit()
        #expect {
            _ = try open()
        } throws: { error in
            (error as? EventLogError)?.problem == .newerSchema && "\(error)".contains("version 99")
        }
    }

    @Test func theFileIsPrivate() throws {
        try open().close()
        let mode = try FileManager.default.attributesOfItem(atPath: folder.file("log.sqlite"))[.posixPermissions]
        #expect(mode as? Int == 0o600)
    }
}
