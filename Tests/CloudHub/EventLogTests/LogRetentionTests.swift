import EventLog
import Foundation
import HubTestSupport
import Logging
import NIOCore
import Primitives
import SQLiteHubStore
import Synchronization
import Telemetry
import Testing

/// What keeps the log within its limits.
extension SQLiteEventLogTests {
    /// Runs Python with `db` open on the log; what it prints.
    private func python(_ script: String) throws -> String {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        let head = "import sqlite3, sys, time\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        process.arguments = ["python3", "-c", head + script, folder.file("log.sqlite")]
        process.standardOutput = output
        try process.run()
        let bytes = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Waits until the log has looked twice, so once from its beginning to its end, at what is to be deleted.
    private func waitForALook(_ log: SQLiteEventLog) async throws {
        let looks = Mutex(0)
        log.watchConsumers {
            looks.withLock { $0 += 1 }
            return [:]
        }
        while looks.withLock({ $0 }) < 3 { try await Task.sleep(for: .milliseconds(5)) }
    }

    private func rows(_ count: Int, of device: DeviceID, in log: SQLiteEventLog) async throws {
        let gateway = EventChunkTests.gateway
        let origin = EventOrigin(
            device: device, module: nil, authGeneration: gateway.authGeneration, authScope: gateway.authScope,
            authType: gateway.authType)
        for _ in 0..<count {
            var builder = GroupBuilder(partitionCount: log.partitionCount)
            var stamp = EventStamp(origin: origin, partitionCount: log.partitionCount)
            builder.add(&stamp, bag: "", body: String(repeating: "x", count: 30_000))
            _ = try await log.append(builder.seal())
        }
    }

    @Test func theBytesAllowedAreThoseOfAllPartitionsAndTheOldestGoFirst() async throws {
        let log = try open {
            $0.partitionCount = 4
            $0.bytesMax = 400_000
            $0.retentionInterval = .milliseconds(10)
        }
        let devices = try (0..<16).map { try #require(DeviceID("device-\($0)")) }
        let first = devices[0]
        let home = EventStamp.partition(of: first, count: 4)
        let second = try #require(devices.first { EventStamp.partition(of: $0, count: 4) != home })
        let other = EventStamp.partition(of: second, count: 4)
        try await rows(10, of: first, in: log)
        try await waitForALook(log)
        #expect(log.partitions[home].firstOffset == 0, "300 of 400 kB, all in one partition")
        clock.advance(by: .seconds(1))
        try await rows(8, of: second, in: log)
        try await waitForALook(log)
        #expect(log.partitions[home].firstOffset == 5, "the oldest of both")
        #expect(log.partitions[other].firstOffset == 0)
        #expect(log.partitions.reduce(0) { $0 + $1.bytes } <= 400_000)
        log.close()
    }

    @Test func aDeleteThatFailsHalfwayDoesNotMakeTheNextOneTakeMore() async throws {
        let first = try open()
        try await rows(200, of: EventChunkTests.gateway.device, in: first)
        first.close()
        _ = try python(
            "db.execute('CREATE TRIGGER failing BEFORE DELETE ON event WHEN old.position >= 64 "
                + "BEGIN SELECT RAISE(ABORT, \"disk\"); END')")
        let log = try open {
            $0.bytesMax = 30_000 * 50
            $0.retentionInterval = .milliseconds(10)
        }
        _ = try python(
            """
            while db.execute('SELECT count(*) FROM event').fetchone()[0] > 136: time.sleep(0.01)
            db.execute('DROP TRIGGER failing')
            """)
        while log.partitions[0].firstOffset <= 64 { try await Task.sleep(for: .milliseconds(5)) }
        try await waitForALook(log)
        // A row is somewhat more than its body, so that 49 fit.
        #expect(log.partitions[0].firstOffset == 151)
        log.close()
    }

    @Test func timeDoesNotGoBackInAPartitionAfterARestartWithTheClockSetBack() async throws {
        let first = try open()
        _ = try await first.append(group(["before"]))
        first.close()
        clock.advance(by: .seconds(-3600))
        let log = try open()
        _ = try await log.append(group(["after"]))
        let times = try log.all().map(\.header.enqueuedAt)
        #expect(times.count == 2 && times[1] >= times[0])
        log.close()
    }

    @Test func aDeclaredDropClosesItsHoleSoThatTheGatewayIsHeardAgain() async throws {
        let log = try open()
        let islands = (0..<UInt64(IntervalSet.intervalCountMaxDefault)).map { Run(start: 2 * $0 + 1, count: 1) }
        let end = 2 * UInt64(islands.count)
        let stamp = EventStamp(origin: EventChunkTests.gateway, partitionCount: 1)
        var builder = GroupBuilder(partitionCount: 1)
        builder.appendEmptyBatch(
            stamp,
            batch: BatchMark(
                gateway: EventChunkTests.gateway.device, epoch: Epoch(value: 9), runs: islands, dropped: [],
                quarantined: []))
        _ = try await log.append(builder.seal())

        let refused = try await log.append(try batch([end + 10]))
        #expect(refused.eventsStored == 0 && refused.recordsRepeated == 0 && refused.recordsQuarantined == 1)
        let receipt = try #require(refused.receipts.first)
        #expect(refused.receipts.count == 1 && receipt.gateway == EventChunkTests.gateway.device)
        let entries = try #require(Receipt(parsing: receipt.bytes)).entries
        #expect(entries.map(\.run) == [Run(start: end + 10, count: 1)] && entries.map(\.code) == [.tooManyGaps])
        #expect(entries.first?.first != nil, "it says which sensor's")
        #expect(try log.quarantine(gateway: nil, countMax: 1).first?.record.code == "tooManyGaps")
        let declaring = try await log.append(try batch([end + 12], dropped: [Run(start: 2, count: 9)]))
        #expect(declaring.eventsStored == 1)
        let heard = try await log.append(try batch([end + 14, end + 16]))
        #expect(heard.eventsStored == 1)
        log.close()
    }

    @Test func lossesBeyondThoseThatAreRememberedAreToldOnceForEachOutbox() async throws {
        let warnings = Warnings()
        let log = try open(logger: Logger(label: "test") { _ in warnings })
        let count = UInt64(IntervalSet.intervalCountMaxDefault)
        let stamp = EventStamp(origin: EventChunkTests.gateway, partitionCount: 1)
        // Every other one came, all between were lost.
        for (runs, dropped) in [
            ((0..<count).map { Run(start: 2 * $0 + 1, count: 1) }, []),
            ([], (0..<count).map { Run(start: 2 * $0 + 2, count: 1) }),
        ] as [([Run], [Run])] {
            var builder = GroupBuilder(partitionCount: 1)
            builder.appendEmptyBatch(
                stamp,
                batch: BatchMark(
                    gateway: EventChunkTests.gateway.device, epoch: Epoch(value: 9), runs: runs, dropped: dropped,
                    quarantined: []))
            _ = try await log.append(builder.seal())
        }
        #expect(warnings.all.isEmpty)
        for sequence in [2 * count + 1, 2 * count + 3] {
            _ = try await log.append(try batch([sequence], dropped: [Run(start: sequence + 1, count: 1)]))
        }
        let told = try #require(warnings.all.first)
        #expect(warnings.all.count == 1)
        #expect(told["gateway"] == "\(EventChunkTests.gateway.device)" && told["epoch"] == "\(Epoch(value: 9).text)")
        let book = try #require(try log.sequences(gateway: EventChunkTests.gateway.device).first)
        #expect((book.gaps, book.lostCount) == ([], count))
        log.close()
    }

    @Test func theQuarantineKeepsTheNewestOfAGatewayAndNothingPastItsAge() async throws {
        let log = try open { $0.retentionInterval = .milliseconds(10) }
        let device = EventChunkTests.gateway.device
        _ = try await log.append(try batch([], quarantined: Array(1...1500)))
        while try log.quarantine(gateway: device, countMax: .max).count > 1000 {
            try await Task.sleep(for: .milliseconds(5))
        }
        try await waitForALook(log)
        let kept = try log.quarantine(gateway: device, countMax: .max).compactMap(\.record.sequence)
        #expect(kept == (501...1500).reversed())
        clock.advance(by: .seconds(8 * 86_400))
        while try !log.quarantine(gateway: nil, countMax: 1).isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        log.close()
    }

    @Test func ofAGatewayTheOutboxesItUsedLastAreRemembered() async throws {
        let log = try open { $0.retentionInterval = .milliseconds(10) }
        for epoch in 1...70 {
            clock.advance(by: .milliseconds(1))
            _ = try await log.append(try batch([1], epoch: UInt64(epoch)))
        }
        try await waitForALook(log)
        #expect(try python("print(db.execute('SELECT count(*) FROM sequence').fetchone()[0])") == "64")
        let kept = try log.sequences(gateway: EventChunkTests.gateway.device).map(\.epoch)
        #expect(kept == (7...70).reversed().map { Epoch(value: $0) })
        log.close()
    }

    @Test func aLogOfTheFirstSchemaIsBroughtToThisOneWithWhatItHolds() async throws {
        let first = try open()
        _ = try await first.append(group(["kept"]))
        _ = try await first.append(try batch([1], quarantined: Array(2...1500)))
        first.close()
        _ = try python("db.execute('DROP INDEX IF EXISTS quarantine_gateway'); db.execute('PRAGMA user_version = 1')")
        let log = try open()
        #expect(try log.all().first?.text == "kept")
        #expect(try python("print(db.execute('PRAGMA user_version').fetchone()[0])") == "2")
        while try log.quarantine(gateway: nil, countMax: .max).count > 1000 {
            try await Task.sleep(for: .milliseconds(5))
        }
        log.close()
    }
}
