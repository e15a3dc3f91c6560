public import GRDB
import Glibc
import Synchronization

/// One SQLite file of the hub: many readers, one writer with group commit.
///
/// All writes that wait when the writer is free go into one transaction, each in a savepoint of its own unless it is a
/// single statement, so that one that fails takes back only itself. The writer commits with `synchronous=FULL` and answers
/// only then: an answer means that the write survives a power cut. When the commit fails, every write of its group is
/// answered with that error.
///
/// Thread-safe. Bodies run on the writer's own thread or on the caller's (reads); they must not call back into the
/// same database.
public final class HubDatabase: Sendable {
    /// Writes that may wait for the writer; more are refused with `.overloaded`.
    public static let waitingWritesMax = 65_536
    /// Writes in one transaction: keeps a single answer from waiting behind an endless group.
    public static let groupWritesMax = 2_048

    /// The path that the database was opened with.
    public let path: String
    private let file: String
    private let pool: DatabasePool
    private let queue = Mutex(WriteQueue())

    /// Opens or creates the file (mode 0600) and brings its schema up to date.
    ///
    /// - Throws: `HubStoreError`; `.schemaNewer` names both versions, and the file is left as it was.
    public init(path: String, schema: [Migration]) throws {
        self.path = path
        file = path.split(separator: "/").last.map(String.init) ?? path
        do {
            try Self.makePrivate(path)
            pool = try DatabasePool(path: path, configuration: Self.configuration)
            try pool.writeWithoutTransaction { try Self.demandFullSync($0) }
            try SchemaUpgrade.run(schema, in: pool, file: file)
            try pool.writeWithoutTransaction { try Self.foldLog($0) }
        } catch {
            throw HubStoreError.wrapping(error, doing: "open the database", which: file)
        }
    }

    /// Reads one consistent snapshot; blocks the calling thread. Never call it on an event loop.
    public func read<T: Sendable>(_ body: (Database) throws -> T) throws -> T {
        do {
            return try pool.read(body)
        } catch {
            throw HubStoreError.wrapping(error, doing: "read", which: file)
        }
    }

    /// As the blocking form, for callers on an event loop: `completion` runs exactly once, on a reader's thread.
    public func read<T: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> T,
        completion: @escaping @Sendable (Result<T, any Error>) -> Void
    ) {
        pool.asyncRead { [file] opened in
            let result = Result { try body(try opened.get()) }
            completion(result.mapError { HubStoreError.wrapping($0, doing: "read", which: file) })
        }
    }

    /// Runs `body` in the next group and returns after its commit is on the disk.
    ///
    /// - Throws: what `body` threw (then only its own changes are taken back), or `HubStoreError`.
    public func write<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            write(body) { continuation.resume(with: $0) }
        }
    }

    /// As the async form; `completion` runs exactly once, on the writer's thread after the commit (or at once on the
    /// caller's when the queue refuses it). It must return quickly: the next group waits for it.
    public func write<T: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> T,
        completion: @escaping @Sendable (Result<T, any Error>) -> Void
    ) {
        queue(body, isWhole: false, completion)
    }

    /// As `write` with a completion, for a body whose only change is one statement, its last: SQLite takes back a
    /// statement that fails, so it needs no savepoint, which would cost as much as the statement.
    public func writeWhole<T: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> T,
        completion: @escaping @Sendable (Result<T, any Error>) -> Void
    ) {
        queue(body, isWhole: true, completion)
    }

    private func queue<T: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> T, isWhole: Bool,
        _ completion: @escaping @Sendable (Result<T, any Error>) -> Void
    ) {
        let waiting = WaitingWrite(
            isWhole: isWhole,
            run: { database in
                let value = try body(database)
                return { completion(.success(value)) }
            },
            fail: { completion(.failure($0)) })
        let entry = queue.withLock { $0.add(waiting) }
        switch entry {
        case .startWriter: pool.asyncWriteWithoutTransaction { [self] in drain($0) }
        case .writerRuns: break
        case .full: waiting.fail(error(.overloaded(writesMax: Self.waitingWritesMax), doing: "queue a write"))
        case .closed: waiting.fail(error(.closed, doing: "queue a write"))
        }
    }

    /// Writes a page that changes nothing and waits until the disk has it, so that a full, read-only or failing disk is
    /// found before somebody's write meets it.
    ///
    /// - Throws: `HubStoreError`, which says what to do.
    public func checkWritable() async throws {
        try await write { database in
            let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
            try database.execute(sql: "PRAGMA user_version = \(version)")
        }
    }

    /// Refuses new writes, finishes those that wait, and closes the file.
    public func close() throws {
        queue.withLock { $0.isClosed = true }
        try pool.barrierWriteWithoutTransaction { _ in }
        try pool.close()
    }

    // MARK: - The writer

    private func drain(_ database: Database) {
        while let group = queue.withLock({ $0.next(most: Self.groupWritesMax) }) {
            commit(group, in: database)
        }
    }

    private func commit(_ group: [WaitingWrite], in database: Database) {
        var answers: [() -> Void] = []
        answers.reserveCapacity(group.count)
        do {
            try database.beginTransaction(.immediate)
            for write in group {
                answers.append(try perform(write, in: database))
            }
            try database.commit()
        } catch {
            if database.isInsideTransaction { try? database.rollback() }
            let failure = HubStoreError.wrapping(
                error, doing: "commit a group of \(group.count) writes", which: file)
            for write in group { write.fail(failure) }
            return
        }
        for answer in answers { answer() }
    }

    /// Runs one write so that it can be taken back alone, and returns its answer for after the commit.
    ///
    /// - Throws: only when the whole transaction is gone: SQLite takes all of it back on a full disk, for instance.
    private func perform(_ write: WaitingWrite, in database: Database) throws -> () -> Void {
        var answer: (() -> Void)?
        do {
            if write.isWhole {
                answer = try write.run(database)
            } else {
                try database.inSavepoint {
                    answer = try write.run(database)
                    return .commit
                }
            }
        } catch {
            guard database.isInsideTransaction else { throw error }
            let failure = HubStoreError.wrapping(error, doing: "write", which: file)
            return { write.fail(failure) }
        }
        guard let answer else { preconditionFailure("a write that did not throw has an answer") }
        return answer
    }

    private func error(_ problem: HubStoreError.Problem, doing: String) -> HubStoreError {
        HubStoreError(problem, doing: doing, which: file)
    }

    // MARK: - Opening

    private static var configuration: Configuration {
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.maximumReaderCount = 4
        configuration.label = "hub-store"
        return configuration
    }

    /// The pool sets `synchronous=NORMAL` when it opens, after every hook that it offers; so FULL is set on the open
    /// connection and read back.
    private static func demandFullSync(_ database: Database) throws {
        try database.execute(sql: "PRAGMA synchronous = FULL")
        let level = try Int.fetchOne(database, sql: "PRAGMA synchronous") ?? -1
        guard level == 2 else {
            throw HubStoreError(.notDurable(synchronous: level), doing: "open the database", which: "the writer")
        }
    }

    /// Moves the write-ahead log of an earlier run into the file. When a sync of it failed in that run, the system shows us
    /// what it wrote though the disk has not got it, and never writes it again: what came behind it would be lost with the
    /// next power cut. Without room it stays as it is, because the hub has to start.
    private static func foldLog(_ database: Database) throws {
        do {
            try database.checkpoint(.truncate)
        } catch let error as DatabaseError where [.SQLITE_FULL, .SQLITE_BUSY].contains(error.resultCode) {}
    }

    /// SQLite gives its journal files the mode of the database file, so it is enough to make that one private first.
    private static func makePrivate(_ path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw DatabaseError(resultCode: errno == ENOSPC ? .SQLITE_FULL : .SQLITE_CANTOPEN)
        }
        defer { Glibc.close(descriptor) }
        guard fchmod(descriptor, 0o600) == 0 else { throw DatabaseError(resultCode: .SQLITE_PERM) }
    }
}

/// A write that has not been committed yet.
private struct WaitingWrite: Sendable {
    /// It changes all or nothing by itself.
    let isWhole: Bool
    /// Makes the changes and returns the answer to give after the commit.
    let run: @Sendable (Database) throws -> () -> Void
    let fail: @Sendable (any Error) -> Void
}

private struct WriteQueue {
    enum Entry { case startWriter, writerRuns, full, closed }

    var waiting: [WaitingWrite] = []
    var isClosed = false
    private var writerRuns = false

    mutating func add(_ write: WaitingWrite) -> Entry {
        guard !isClosed else { return .closed }
        guard waiting.count < HubDatabase.waitingWritesMax else { return .full }
        waiting.append(write)
        guard !writerRuns else { return .writerRuns }
        writerRuns = true
        return .startWriter
    }

    /// The next group, oldest first; `nil` sends the writer to sleep.
    mutating func next(most: Int) -> [WaitingWrite]? {
        guard !waiting.isEmpty else {
            writerRuns = false
            return nil
        }
        guard waiting.count > most else {
            defer { waiting = [] }
            return waiting
        }
        defer { waiting.removeFirst(most) }
        return Array(waiting.prefix(most))
    }
}
