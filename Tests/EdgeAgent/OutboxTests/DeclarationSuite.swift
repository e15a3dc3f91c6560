import EdgeStore
import Foundation
import Outbox
import Primitives
import Telemetry
import Testing

/// Whatever happens between a gateway and its hub: a record that waits, travels or is kept is never declared as dropped,
/// and every gap closes in the end.
@Suite struct DeclarationSuite {
    @Test(arguments: StoreKind.allCases, [1, 2, 3] as [UInt64])
    func randomWorldDeclaresNothingThatStillComesAndEverythingThatIsGone(kind: StoreKind, seed: UInt64) throws {
        let steps = ProcessInfo.processInfo.environment["DECLARATION_STEPS"].flatMap { Int($0) } ?? 600
        var world = try World(kind, seed: seed)
        for _ in 0..<steps { try world.step() }
        try world.comeToRest()
        #expect(world.hub.gaps == [], "every hole is closed")
        #expect(world.counts.gone > 0 && world.counts.crashes > 0)
        #expect(world.counts.restored > 0 || seed == World.seedThatKeepsNothing)
    }

    /// What an older program could leave: a row that begins far before its last record.
    @Test func recordsOfARowThatIsTooWideAreFoundAndNotDeclared() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/outbox.sqlite"
        let store = try SQLiteOutbox(path: path)
        let far: UInt64 = 300_001
        for first in stride(from: UInt64(1), to: far, by: 3000) {
            _ = try store.append(commit(readings(from: first, count: 3000, metric: "m")))
        }
        _ = try store.append(commit([fault(far)]))
        var after: UInt64 = 0
        while let batch = try store.take(TakeRequest(lane: .readings, after: after, bytesMax: 200_000)) {
            after = batch.lastSequence
            try store.acknowledge([batch])
        }
        try store.flush()
        // One wide row of two records, as joined by the program before.
        let records = readings(from: 5, count: 1, metric: "m") + [fault(far - 1)]
        try Shell.sqlite(
            path,
            """
            DELETE FROM sent; DROP INDEX sent_wide; DROP INDEX row_wide;
            INSERT INTO sent(first, count, lane, last, acknowledged, encoding, bytes, fragments)
            VALUES(5, 2, 0, \(far - 1), 0, 0, \(joined(records).count), CAST('\(String(decoding: joined(records), as: UTF8.self))' AS BLOB));
            """)
        let again = try reopened(store, path)
        let outcome = try again.replay(Run(start: far - 2, count: 3))
        #expect(outcome.restored == [Run(start: far - 1, count: 1)])
        #expect(outcome.waiting == [Run(start: far, count: 1)])
        #expect(outcome.gone == [Run(start: far - 2, count: 1)])
    }

    /// More rows than one search reads: what lies behind its end is not declared.
    @Test func searchThatEndsEarlySaysWhereAndDeclaresNothingBeyond() throws {
        let folder = try TemporaryFolder()
        let store = try SQLiteOutbox(path: folder.path + "/outbox.sqlite")
        let count: UInt64 = 1200
        // Rows with a hole, where a fault is.
        for first in stride(from: UInt64(1), to: count, by: 3) {
            let sides = [first, first + 2].flatMap { readings(from: $0, count: 1, metric: "m") }
            _ = try store.append(commit([sides[0], fault(first + 1), sides[1]]))
        }
        var (left, waiting, parts): (Run?, [Run], Int) = (Run(start: 1, count: 100_000), [], 0)
        while let asked = left {
            let outcome = try store.replay(asked)
            #expect(outcome.gone == [])
            waiting += outcome.waiting
            left = outcome.rest
            parts += 1
        }
        #expect(Run.joined(waiting) == [Run(start: 1, count: count)] && parts > 1)
        #expect(try store.status().undeclaredCount == 0)
    }

    private func reopened(_ store: consuming SQLiteOutbox, _ path: String) throws -> SQLiteOutbox {
        let copy = path + ".copy"
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        if FileManager.default.fileExists(atPath: path + "-wal") {
            try FileManager.default.copyItem(atPath: path + "-wal", toPath: copy + "-wal")
        }
        return try SQLiteOutbox(path: copy)
    }
}

/// The command line of SQLite, for what no program of ours writes any more.
enum Shell {
    static func sqlite(_ path: String, _ sql: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2])", path,
            sql,
        ]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }
}
