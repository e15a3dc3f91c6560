import Dispatch
import Foundation
import GRDB
import Glibc
import HubTestSupport
import SQLiteHubStore
import Testing

@Suite struct HubDatabaseTests {
    let folder: TemporaryFolder
    let database: HubDatabase

    static let steps = [Migration("numbers", sql: "CREATE TABLE number (value INTEGER PRIMARY KEY) STRICT")]

    init() throws {
        folder = try TemporaryFolder()
        database = try HubDatabase(path: folder.file("test.sqlite"), schema: Self.steps)
    }

    private func insert(_ value: Int) -> @Sendable (Database) throws -> Int {
        { database in
            try database.execute(sql: "INSERT INTO number VALUES (?)", arguments: [value])
            return value
        }
    }

    private func numbers(_ database: HubDatabase? = nil) throws -> [Int] {
        try (database ?? self.database).read { try Int.fetchAll($0, sql: "SELECT value FROM number ORDER BY value") }
    }

    @Test func writerRunsInWALWithFullSync() async throws {
        let (sync, journal) = try await database.write { database in
            (
                try Int.fetchOne(database, sql: "PRAGMA synchronous"),
                try String.fetchOne(database, sql: "PRAGMA journal_mode")
            )
        }
        #expect(sync == 2)
        #expect(journal == "wal")
    }

    @Test func filesAreForTheOwnerOnly() async throws {
        _ = try await database.write(insert(1))
        for name in ["test.sqlite", "test.sqlite-wal", "test.sqlite-shm"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.file(name))
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
    }

    /// What a run left in its log, perhaps with a failed sync behind it, is in the file before anything is committed.
    @Test func theLogOfAnEarlierRunIsFoldedIn() async throws {
        _ = try await database.write(insert(7))
        let copies = ["", "-wal"].map { (from: folder.file("test.sqlite" + $0), to: folder.file("copy.sqlite" + $0)) }
        for copy in copies { try FileManager.default.copyItem(atPath: copy.from, toPath: copy.to) }
        func logBytes() throws -> Int? {
            try FileManager.default.attributesOfItem(atPath: folder.file("copy.sqlite-wal"))[.size] as? Int
        }
        #expect(try logBytes() ?? 0 > 0, "the copy has a log to fold")
        let copy = try HubDatabase(path: folder.file("copy.sqlite"), schema: Self.steps)
        #expect(try logBytes() == 0)
        #expect(try numbers(copy) == [7])
    }

    /// Runs the writes behind one that holds the writer until all of them wait, so that they become one group.
    private func asOneGroup(
        _ bodies: [@Sendable (Database) throws -> Void], areWhole: Bool = false
    ) async -> [(any Error)?] {
        let (answers, answer) = AsyncStream.makeStream(of: (Int, (any Error)?).self)
        let (entered, enter) = AsyncStream.makeStream(of: Void.self)
        let gate = DispatchSemaphore(value: 0)
        let hold: @Sendable (Database) throws -> Void = { _ in
            enter.yield()
            gate.wait()
        }
        database.write(hold) { _ in }
        for await _ in entered.prefix(1) {}
        for (index, body) in bodies.enumerated() {
            let settled: @Sendable (Result<Void, any Error>) -> Void = { result in
                switch result {
                case .success: answer.yield((index, nil))
                case .failure(let error): answer.yield((index, error))
                }
            }
            if areWhole {
                database.writeWhole(body, completion: settled)
            } else {
                database.write(body, completion: settled)
            }
        }
        gate.signal()
        var errors = [(any Error)?](repeating: nil, count: bodies.count)
        for await (index, error) in answers.prefix(bodies.count) { errors[index] = error }
        return errors
    }

    @Test func oneFailingWriteSpoilsNoOther() async throws {
        let errors = await asOneGroup(
            (0..<20).map { value in
                { try $0.execute(sql: "INSERT INTO number VALUES (?)", arguments: [value == 13 ? 7 : value]) }
            })
        let failed = errors.compactMap { ($0 as? HubStoreError)?.problem }
        #expect(failed == [.sqlite(code: 1555)])
        #expect(try numbers() == Array(0..<20).filter { $0 != 13 })
    }

    @Test func aFailingStatementWithoutSavepointSpoilsNoOther() async throws {
        struct Refused: Error {}
        let several: @Sendable (Database) throws -> Void = {
            try $0.execute(sql: "INSERT INTO number VALUES (10), (11), (1)")
        }
        let refused: @Sendable (Database) throws -> Void = { _ in throw Refused() }
        let ones = [1, 1, 2].map { value in { @Sendable (database: Database) in _ = try insert(value)(database) } }
        let errors = await asOneGroup([ones[0], ones[1], several, refused, ones[2]], areWhole: true)
        #expect(errors.map { $0 == nil } == [true, false, false, false, true])
        #expect(errors[3] is HubStoreError || errors[3] is Refused)
        #expect(try numbers() == [1, 2])
    }

    @Test func waitingWritesShareOneCommit() async throws {
        let writes = 500
        let errors = await asOneGroup(
            (0..<writes).map { value in { try $0.execute(sql: "INSERT INTO number VALUES (?)", arguments: [value]) } })
        #expect(errors.allSatisfy { $0 == nil })
        #expect(try numbers().count == writes)
        // A commit of its own for each would put at least one page of 4,096 bytes each into the log.
        let log = try FileManager.default.attributesOfItem(atPath: folder.file("test.sqlite-wal"))
        #expect(try #require(log[.size] as? Int) < writes * 4096 / 4)
    }

    @Test func fullDiskRefusesTheGroupAndIsRetryable() async throws {
        _ = try await database.write { try $0.execute(sql: "CREATE TABLE blob (bytes BLOB)") }
        try await database.write { try Row.fetchOne($0, sql: "PRAGMA max_page_count = 8").map { _ in () } }
        let error = try await #require(throws: HubStoreError.self) {
            try await database.write { try $0.execute(sql: "INSERT INTO blob VALUES (zeroblob(200000))") }
        }
        #expect(error.problem == .diskFull)
        #expect(error.isRetryable)
        #expect(
            error.description.hasSuffix("in test.sqlite: the disk is full; free some space, the hub resumes by itself"))
        try await database.write { try Row.fetchOne($0, sql: "PRAGMA max_page_count = 100000").map { _ in () } }
        _ = try await database.write { try $0.execute(sql: "INSERT INTO blob VALUES (zeroblob(200000))") }
    }

    @Test func failedCommitAnswersEveryWriteOfItsGroupWithTheError() async throws {
        try await database.write {
            try $0.execute(
                sql: """
                    CREATE TABLE owner (id INTEGER PRIMARY KEY);
                    CREATE TABLE owned (owner INTEGER REFERENCES owner(id) DEFERRABLE INITIALLY DEFERRED);
                    """)
        }
        let errors = await asOneGroup(
            (0..<5).map { value in
                { database in
                    try database.execute(sql: "INSERT INTO number VALUES (?)", arguments: [value])
                    if value == 3 { try database.execute(sql: "INSERT INTO owned VALUES (99)") }
                }
            })
        #expect(errors.allSatisfy { ($0 as? HubStoreError)?.problem == .sqlite(code: 787) })
        #expect(try numbers().isEmpty)
        _ = try await database.write(insert(1))
        #expect(try numbers() == [1])
    }

    @Test func newerSchemaIsRefusedByBothNumbersAndLeftAlone() async throws {
        let path = folder.file("newer.sqlite")
        let newer = try HubDatabase(path: path, schema: Self.steps + [Migration("two", sql: "CREATE TABLE two (a)")])
        try newer.close()
        let error = try #require(throws: HubStoreError.self) { try HubDatabase(path: path, schema: Self.steps) }
        #expect(
            error.description
                == "could not open the database in newer.sqlite: the file has schema version 2, but this program knows "
                + "only up to version 1; start the newer program, or restore a backup that was made by this version")
    }

    @Test func olderSchemaIsBroughtForwardWithItsRows() async throws {
        _ = try await database.write(insert(7))
        try database.close()
        let longer = Self.steps + [Migration("note", sql: "ALTER TABLE number ADD COLUMN note TEXT")]
        let reopened = try HubDatabase(path: folder.file("test.sqlite"), schema: longer)
        #expect(try reopened.read { try Int.fetchOne($0, sql: "PRAGMA user_version") } == 2)
        #expect(try numbers(reopened) == [7])
    }

    @Test func aFileThatIsNoDatabaseIsNamedAsSuch() throws {
        let path = folder.file("broken.sqlite")
        let text = String(repeating: "this is no database ", count: 100)
        let handle = try #require(fopen(path, "w"))
        fputs(text, handle)
        fclose(handle)
        let error = try #require(throws: HubStoreError.self) { try HubDatabase(path: path, schema: Self.steps) }
        #expect(error.problem == .damaged)
    }

    @Test func aCopyWhileWritingIsOneConsistentState() async throws {
        for value in 0..<50 { _ = try await database.write(insert(value)) }
        let target = folder.file("copy.sqlite")
        for value in 50..<150 { database.write(insert(value)) { _ in } }
        try SQLiteFile.copy(from: folder.file("test.sqlite"), to: target)
        let copy = try HubDatabase(path: target, schema: Self.steps)
        let copied = try numbers(copy)
        #expect(copied.count >= 50 && Set(copied).isSubset(of: Set(0..<150)) && copied.starts(with: 0..<50))
        #expect(try FileManager.default.attributesOfItem(atPath: target)[.posixPermissions] as? Int == 0o600)
    }

    @Test func aFileThatExistsIsNotCopiedOver() async throws {
        _ = try await database.write(insert(1))
        let target = folder.file("copy.sqlite")
        try "somebody's own".write(toFile: target, atomically: true, encoding: .utf8)
        let error = #expect(throws: HubStoreError.self) {
            try SQLiteFile.copy(from: folder.file("test.sqlite"), to: target)
        }
        #expect(error?.problem == .fileAccess)
        #expect(try String(contentsOfFile: target, encoding: .utf8) == "somebody's own")
    }

    @Test func aCopyIsOneFileThatPassesTheCheckWithoutBeingChanged() async throws {
        for value in 0..<500 { _ = try await database.write(insert(value)) }
        let target = folder.file("copy.sqlite")
        try SQLiteFile.copy(from: folder.file("test.sqlite"), to: target)
        let before = try Data(contentsOf: URL(fileURLWithPath: target))
        try SQLiteFile.check(target, schemaVersion: 1)
        #expect(try Data(contentsOf: URL(fileURLWithPath: target)) == before)
        let beside = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("copy") }
        #expect(beside == ["copy.sqlite"])
        #expect(try numbers(HubDatabase(path: target, schema: Self.steps)) == Array(0..<500))
    }

    @Test(arguments: [Damage.cut, .overwritten, .emptied])
    func aDamagedCopyIsRefused(damage: Damage) async throws {
        for value in 0..<5000 { database.write(insert(value)) { _ in } }
        _ = try await database.write(insert(5000))
        let target = folder.file("copy.sqlite")
        try SQLiteFile.copy(from: folder.file("test.sqlite"), to: target)
        var bytes = try Data(contentsOf: URL(fileURLWithPath: target))
        switch damage {
        case .cut: bytes = bytes.prefix(bytes.count / 2)
        case .overwritten: bytes.replaceSubrange(8192..<8292, with: Data(repeating: 0xA5, count: 100))
        case .emptied: bytes = Data()
        }
        try bytes.write(to: URL(fileURLWithPath: target))
        let error = try #require(throws: HubStoreError.self) { try SQLiteFile.check(target, schemaVersion: 1) }
        #expect(error.problem == .damaged)
    }

    enum Damage: CaseIterable { case cut, overwritten, emptied }

    @Test func aCopyOfANewerSchemaIsRefusedWithBothVersions() async throws {
        let target = folder.file("copy.sqlite")
        try SQLiteFile.copy(from: folder.file("test.sqlite"), to: target)
        let error = try #require(throws: HubStoreError.self) { try SQLiteFile.check(target, schemaVersion: 0) }
        #expect(error.problem == .schemaNewer(found: 1, known: 0))
    }

    @Test func closedDatabaseRefusesWritesAfterFinishingThoseThatWaited() async throws {
        for value in 0..<20 { database.write(insert(value)) { _ in } }
        try database.close()
        let error = try await #require(throws: HubStoreError.self) { try await database.write(insert(99)) }
        #expect(error.problem == .closed)
        let reopened = try HubDatabase(path: folder.file("test.sqlite"), schema: Self.steps)
        #expect(try numbers(reopened) == Array(0..<20))
    }
}
