import Glibc
import Outbox
import Primitives
import Telemetry
import Testing

@testable import EdgeStore

@Suite struct SQLiteOutboxTests {
    private let folder: TemporaryFolder
    private var path: String { folder.path + "/outbox.sqlite" }

    init() throws { folder = try TemporaryFolder() }

    private let all = TakeRequest(lane: .readings, after: 0, bytesMax: 1_000_000)

    @Test func everythingIsThereAfterReopening() throws {
        let epoch: Epoch
        do {
            let store = try SQLiteOutbox(path: path)
            epoch = store.epoch
            _ = try store.append(commit(readings(from: 1, count: 5), kept: [KeptState(key: "pipeline", bytes: [7])]))
            try store.keepReceipt([1], at: someTime)
        }
        let store = try SQLiteOutbox(path: path)
        #expect(store.epoch == epoch)
        #expect(try store.status().nextSequence == 6)
        #expect(try store.take(all)?.fragments == joined(readings(from: 1, count: 5)))
        #expect(try store.kept("pipeline") == [7])
        #expect(try store.receipts(countMax: 5) == [StoredReceipt(time: someTime, bytes: [1])])
    }

    /// The machine was off for an hour, which becomes known only after the first reading of the new run.
    @Test func pauseThatBecomesKnownLaterAgesWhatWasThereAndNothingElse() throws {
        let clocks = TestClocks()
        let fleeting = Retention(timeToLive: .seconds(600))
        do {
            let store = try SQLiteOutbox(path: path, clock: clocks.clock)
            _ = try store.append(commit(readings(from: 1, count: 1), fleeting))
        }
        clocks.change {
            $0.boot = [2]
            $0.monotonic = MonotonicInstant(nanoseconds: 5_000_000_000)
            $0.wall = WallInstant(milliseconds: 0)
            $0.quality = .unset
        }
        let store = try SQLiteOutbox(path: path, clock: clocks.clock)
        _ = try store.append(commit(readings(from: 2, count: 1), fleeting))
        clocks.change {
            $0.wall = someTime + .seconds(3600)
            $0.quality = .synchronised
        }
        _ = try store.append(commit(readings(from: 3, count: 1), fleeting))
        clocks.pass(.seconds(2))
        #expect(try store.tidy() == [Run(start: 1, count: 1)])
        clocks.pass(.seconds(590))
        #expect(try store.tidy() == [])
        clocks.pass(.seconds(10))
        #expect(try store.tidy() == [Run(start: 2, count: 2)])
    }

    /// One record of a kept row was asked for when there was room, the others when there is none.
    @Test func replayWithoutRoomPutsNoRecordBackTwice() throws {
        let store = try SQLiteOutbox(path: path, limits: OutboxLimits(quotaBytes: 256 * 1024))
        _ = try store.append(commit(readings(from: 1, count: 14, padding: 4000)))
        try store.acknowledge([try #require(try store.take(all))])
        #expect(try store.replay(Run(start: 1, count: 1)).restored == [Run(start: 1, count: 1)])
        var next: UInt64 = 15
        while try room(store) > 40_000 {
            _ = try store.append(commit(readings(from: next, count: 1, padding: 2000)))
            next += 1
        }
        try #require(try store.status().replayable.records == 14)
        #expect(try store.replay(Run(start: 3, count: 12)).restored == [Run(start: 3, count: 12)])
        let replays = TakeRequest(lane: .replays, after: 0, bytesMax: 1_000_000)
        #expect(try store.take(replays)?.runs == [Run(start: 1, count: 14)])
        #expect(try store.status().undeclaredCount == 0)
    }

    private func room(_ store: SQLiteOutbox) throws -> Int {
        try store.contents.withLock {
            -(try Draft($0, now: store.clock.now(), limits: store.limits).excess(0))
        }
    }

    @Test func twoOutboxesHaveDifferentEpochs() throws {
        let one = try SQLiteOutbox(path: path)
        let other = try SQLiteOutbox(path: folder.path + "/other.sqlite")
        #expect(one.epoch != other.epoch)
    }

    /// What a power cut leaves: the files as they are, with the log not merged and nothing closed.
    @Test func copyOfTheFilesTakenInMidLifeHoldsEveryCommit() throws {
        let store = try SQLiteOutbox(path: path)
        for first in stride(from: UInt64(1), to: 400, by: 4) {
            _ = try store.append(commit(readings(from: first, count: 4, padding: 50)))
            if first % 40 == 1, let batch = try store.take(all) { try store.acknowledge([batch]) }
        }
        let status = try store.status()
        let copy = folder.path + "/copy.sqlite"
        for suffix in ["", "-wal"] { try copyFile(path + suffix, copy + suffix) }
        let reopened = try SQLiteOutbox(path: copy)
        let all = try reopened.take(self.all)?.runs
        #expect(try reopened.status().nextSequence == status.nextSequence)
        #expect(
            try all?.last == store.take(self.all)?.runs.last, "an acknowledgement may be forgotten, a record may not")
        #expect(reopened.epoch == store.epoch)
    }

    @Test func secondAgentIsRefusedNamingPathAndProcess() throws {
        let first = try SQLiteOutbox(path: path)
        let error = try #require(throws: OutboxError.self) { try SQLiteOutbox(path: path) }
        #expect(error.problem == .heldByAnother(pid: getpid()))
        #expect(
            error.description
                == "cannot take the lock in outbox \(path): another agent, process \(getpid()), is running on it; "
                + "stop that one or give this one a file of its own")
        withExtendedLifetime(first) {}
    }

    @Test func newerSchemaIsRefusedByNumber() throws {
        do { _ = try SQLiteOutbox(path: path) }
        try sqlite("PRAGMA user_version = 9")
        let error = try #require(throws: OutboxError.self) { try SQLiteOutbox(path: path) }
        #expect(error.problem == .newerSchema(found: 9, known: 2))
        #expect(error.description.contains("schema version 9"))
    }

    @Test(arguments: ["CREATE TABLE other(x)", "CREATE TABLE other(x); PRAGMA user_version = 1"])
    func otherPeoplesDatabaseIsRefusedAndLeftAlone(sql: String) throws {
        try sqlite(sql)
        let error = try #require(throws: OutboxError.self) { try SQLiteOutbox(path: path) }
        #expect(error.problem == .damaged)
    }

    @Test func fileThatIsNoDatabaseIsNamedDamaged() throws {
        let junk = (0..<4096).map { UInt8(truncatingIfNeeded: $0 * 7) }
        try write(junk, to: path)
        let error = try #require(throws: OutboxError.self) { try SQLiteOutbox(path: path) }
        #expect(error.problem == .damaged)
    }

    @Test func missingFolderIsNamed() throws {
        let error = try #require(throws: OutboxError.self) { try SQLiteOutbox(path: folder.path + "/no/outbox") }
        #expect(error.problem == .cannotOpen)
        #expect(error.description.contains("check that its folder exists"))
    }

    @Test func filesAreForTheirOwnerOnly() throws {
        let store = try SQLiteOutbox(path: path)
        _ = try store.append(commit(readings(from: 1, count: 1)))
        for suffix in ["", "-wal", ".lock", ".reserve"] {
            var status = stat()
            try #require(stat(path + suffix, &status) == 0)
            #expect(status.st_mode & 0o077 == 0, "\(suffix)")
        }
    }

    @Test func acknowledgedSpaceIsUsedAgain() throws {
        var limits = OutboxLimits()
        limits.replayKeep = .zero
        let store = try SQLiteOutbox(path: path, limits: limits)
        var next: UInt64 = 1
        // 12 rounds of 200 KB would be 2.4 MB in a file that only grows.
        for _ in 0..<12 {
            for _ in 0..<20 {
                _ = try store.append(commit(readings(from: next, count: 10, padding: 1000)))
                next += 10
            }
            while let batch = try store.take(all) { try store.acknowledge([batch]) }
        }
        #expect(try size(path) < 500_000)
        // The log is checkpointed at 256 pages and cut to 1 MiB; one commit comes on top.
        #expect(try size(path + "-wal") <= 1_300_000)
    }

    @Test func commandBegunBeforeACrashIsNotBegunAgain() throws {
        let command = QueuedCommand(
            messageID: "m", device: device("thermostat-1"), name: "Reset", payload: [], expiresAt: nil)
        do {
            let store = try SQLiteOutbox(path: path)
            #expect(try store.keepCommand(command))
            #expect(try store.beginCommand() == command)
        }
        let store = try SQLiteOutbox(path: path)
        #expect(try store.beginCommand() == nil)
        #expect(try !store.keepCommand(command))
        #expect(
            try store.endedCommands(countMax: 5) == [
                EndedCommand(
                    device: command.device, name: "Reset", outcome: "interrupted: the agent ended while it ran")
            ])
    }

    @Test func inspectionSeesARunningOutbox() throws {
        let store = try SQLiteOutbox(path: path)
        _ = try store.append(commit(readings(from: 1, count: 3)))
        let seen = try OutboxInspection(path: path)
        #expect(seen.epoch == store.epoch)
        var (one, other) = (seen.status, try store.status())
        // Time goes on.
        (one.account.running, other.account.running) = (.zero, .zero)
        #expect(one == other)
        #expect(seen.words.isEmpty)
        store.note("degraded: the disk is full")
        #expect(try OutboxInspection(path: path).words == "degraded: the disk is full")
    }

    @Test func fileNeverGrowsPastTheQuotaWhateverIsInIt() throws {
        let quota = 512 * 1024
        var limits = OutboxLimits(quotaBytes: quota)
        limits.replayBytes = quota / 4
        let store = try SQLiteOutbox(path: path, limits: limits)
        var random = SeededRandom(seed: 4)
        var next: UInt64 = 1
        let kinds = Retention.Priority.allCases.map { Retention(priority: $0) }
        while next < 8_000 {
            let count = UInt64.random(in: 1...40, using: &random)
            let padding = Int.random(in: 0...600, using: &random)
            let state = KeptState(
                key: "pipeline", bytes: Array(noise(Int.random(in: 1...9000, using: &random), seed: next).utf8))
            let kind = kinds[Int.random(in: 0..<3, using: &random)]
            _ = try store.append(
                commit(readings(from: next, count: count, padding: padding, metric: "x"), kind, kept: [state]))
            next += count
            if next < 2_000, next % 7 == 0, let batch = try store.take(all) { try store.acknowledge([batch]) }
            #expect(try size(path) <= quota)
        }
        let status = try store.status()
        #expect(status.account.droppedCount > 1000 && status.recordCount > 100)
        let lost = try store.losses().reduce(0) { $0 + $1.count }
        #expect(lost == status.account.droppedCount, "every loss is counted for its sensor")
    }

    private func sqlite(_ sql: String) throws {
        let status = system("sqlite3 \(path) '\(sql)' > /dev/null")
        try #require(status == 0)
    }

    private func size(_ path: String) throws -> Int {
        var status = stat()
        try #require(stat(path, &status) == 0)
        return Int(status.st_size)
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        try #require(file >= 0)
        defer { close(file) }
        try #require(Glibc.write(file, bytes, bytes.count) == bytes.count)
    }

    private func copyFile(_ from: String, _ to: String) throws {
        let file = open(from, O_RDONLY)
        try #require(file >= 0)
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: try size(from))
        try #require(read(file, &bytes, bytes.count) == bytes.count)
        try write(bytes, to: to)
    }
}
