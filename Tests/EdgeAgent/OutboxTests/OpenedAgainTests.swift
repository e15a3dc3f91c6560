import Foundation
import Outbox
import Primitives
import Telemetry
import Testing

@testable import EdgeStore

/// A file that failed for so long that it is opened again: what was confirmed counts, and nothing else.
@Suite struct OpenedAgainTests {
    private let folder: TemporaryFolder
    private let store: SQLiteOutbox
    private let clocks = TestClocks()

    init() throws {
        folder = try TemporaryFolder()
        store = try SQLiteOutbox(path: folder.path + "/outbox.sqlite", clock: clocks.clock)
        for first in stride(from: UInt64(1), through: 9, by: 3) {
            _ = try store.append(commit(readings(from: first, count: 3)))
        }
    }

    /// As after a disk that failed for a while.
    private func fail(_ change: (inout SQLiteOutbox.Contents) -> Void = { _ in }) {
        store.contents.withLock {
            $0.connection.close()
            change(&$0)
            let reason = OutboxError(.diskFailed, doing: "test", which: store.path)
            $0.disk.isClosed(because: reason, now: clocks.now.monotonic)
        }
        clocks.pass(.seconds(2))
    }

    @Test func everythingIsThereAgain() throws {
        fail()
        #expect(try store.take(everything(.readings))?.runs == [Run(start: 1, count: 9)])
        _ = try store.append(commit(readings(from: 10, count: 1)))
        #expect(try store.status().recordCount == 10)
    }

    @Test func nothingIsTriedTwiceInASecond() throws {
        fail()
        try FileManager.default.moveItem(atPath: store.path, toPath: store.path + ".away")
        for _ in 0..<2 {
            let error = try #require(throws: OutboxError.self) { try store.status() }
            #expect(error.problem == .away && error.isRetryable)
        }
        try FileManager.default.moveItem(atPath: store.path + ".away", toPath: store.path)
        #expect(throws: OutboxError.self) { try store.status() }
        clocks.pass(.seconds(2))
        #expect(try store.status().recordCount == 9)
    }

    /// The disk wrote a commit whose sync it had reported as failed.
    @Test func aCommitThatWasRefusedIsNotThere() throws {
        fail { $0.state.nextSequence = 7 }
        #expect(try store.status().nextSequence == 7)
        #expect(try store.status().recordCount == 6)
        #expect(try store.take(everything(.readings))?.runs == [Run(start: 1, count: 6)])
        _ = try store.append(commit(readings(from: 7, count: 1)))
        #expect(try store.status().undeclaredCount == 0)
    }

    /// A mark that says of a message that it is kept would let its repetition be dropped.
    @Test func marksOfACommitThatWasRefusedAreAsBefore() throws {
        let loss = SensorLoss(sensor: SensorName(device: "d", metric: "m"), reason: .dropped, count: 3)
        let before = [KeptState(key: "mark", bytes: [1])]
        _ = try store.append(commit(readings(from: 10, count: 1), kept: before))
        try store.contents.withLock { try LossTable.add(loss, $0.connection) }
        let next = commit(
            readings(from: 11, count: 2),
            kept: [KeptState(key: "mark", bytes: [2]), KeptState(key: "new", bytes: [3])], reported: [loss])
        try store.contents.withLock { try $0.connection.execute("PRAGMA query_only = ON", doing: "test") }
        #expect(throws: OutboxError.self) { try store.append(next) }
        let refused = try store.contents.withLock {
            try $0.connection.execute("PRAGMA query_only = OFF", doing: "test")
            return $0.refused
        }
        // The disk has kept it all the same.
        _ = try store.append(next)
        #expect(try store.kept("mark") == [2] && store.losses() == [])
        fail {
            $0.state.nextSequence = 11
            $0.refused = refused
        }
        #expect(try store.kept("mark") == [1])
        #expect(try store.kept("new") == nil)
        #expect(try store.losses() == [loss])
        _ = try store.append(next)
        #expect(try store.kept("mark") == [2] && store.kept("new") == [3] && store.losses() == [])
    }

    /// The disk has forgotten what it had confirmed: the numbers are not given twice, and the hub is told.
    @Test func aCommitThatTheDiskForgotIsDeclaredAndItsNumbersAreNotGivenAgain() throws {
        fail { $0.state.nextSequence = 15 }
        #expect(try store.status().nextSequence == 15)
        _ = try store.append(commit(readings(from: 15, count: 1)))
        let batch = try #require(try store.take(everything(.readings)))
        #expect(batch.runs == [Run(start: 1, count: 9), Run(start: 15, count: 1)])
        #expect(batch.dropped == [Run(start: 10, count: 5)])
    }

    @Test func anotherOutboxInItsPlaceIsLeftAlone() throws {
        let other = folder.path + "/other.sqlite"
        _ = try SQLiteOutbox(path: other).append(commit(readings(from: 1, count: 20)))
        fail()
        for suffix in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: store.path + suffix)
            try? FileManager.default.moveItem(atPath: other + suffix, toPath: store.path + suffix)
        }
        let error = try #require(throws: OutboxError.self) { try store.append(commit(readings(from: 10, count: 1))) }
        #expect(error.problem == .replaced)
        #expect(try OutboxInspection(path: store.path).status.recordCount == 20)
    }

    /// A copy is renamed into place, and the log of the file that is open stays beside it.
    @Test(arguments: [false, true])
    func olderCopyBesideOurLogIsLeftAloneAndNothingIsLost(isFailing: Bool) throws {
        let (copy, ours) = (folder.path + "/copy.sqlite", folder.path + "/ours.sqlite")
        // Not by another program: between fork and exec that would hold the locks of the tests that run beside this one.
        try store.contents.withLock { try $0.connection.execute("VACUUM INTO '\(copy)'", doing: "test") }
        _ = try store.append(commit(readings(from: 10, count: 3)))
        let bytes = try Data(contentsOf: URL(fileURLWithPath: copy))
        try FileManager.default.linkItem(atPath: store.path, toPath: ours)
        try #require(rename(copy, store.path) == 0)
        if isFailing { fail() }
        for _ in 0..<2 {
            let error = try #require(throws: OutboxError.self) {
                try store.append(commit(readings(from: 13, count: 1)))
            }
            #expect(error.problem == .replaced)
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: store.path)) == bytes, "nothing is written into the copy")
        if !isFailing { #expect(try store.take(everything(.readings))?.runs == [Run(start: 1, count: 12)]) }
        try #require(rename(ours, store.path) == 0)
        _ = try store.append(commit(readings(from: 13, count: 1)))
        #expect(try store.take(everything(.readings))?.runs == [Run(start: 1, count: 13)])
    }
}
