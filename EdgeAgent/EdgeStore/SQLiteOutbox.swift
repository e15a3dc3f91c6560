internal import Glibc
public import Outbox
internal import Primitives
public import Telemetry

/// The outbox in one SQLite file with a write-ahead log, synced at every commit.
///
/// Beside the file lie its log (`-wal`), the log's index (`-shm`), the lock (`.lock`) and the disk reserve
/// (`.reserve`, 2 MiB). All are readable by their owner only.
public final class SQLiteOutbox: OutboxStore {
    public let epoch: Epoch
    public let path: String
    private let limits: OutboxLimits
    let contents: Lock<Contents>

    struct Contents {
        let connection: SQLiteConnection
        /// Held for as long as the connection is open.
        let fileLock: FileLock
        let reserve: DiskReserve
        var state: OutboxStateRow
        /// The file or its log may give space back: something was written or deleted since that was last tried.
        var mayShrink = true
    }

    /// Opens the outbox, making it with a new epoch when there is none.
    ///
    /// - Throws: `.heldByAnother`, `.newerSchema`, `.damaged`, `.cannotOpen`, `.notDurable`; `.full` when there is no
    ///   room to make one.
    public init(path: String, limits: OutboxLimits = OutboxLimits()) throws(OutboxError) {
        let previousMask = umask(0o077)
        defer { umask(previousMask) }
        let fileLock = try FileLock(path: path + ".lock", outbox: path)
        let reserve = DiskReserve(path: path + ".reserve")
        let connection: SQLiteConnection
        do throws(OutboxError) {
            connection = try Self.opened(path)
        } catch {
            // Opening needs room for the log's index; an earlier run kept some for that.
            guard error.problem == .full, reserve.isWhole else { throw error }
            reserve.release()
            connection = try Self.opened(path)
        }
        epoch = try Self.storedEpoch(connection)
        reserve.refill()
        self.path = path
        self.limits = limits
        contents = Lock(
            Contents(
                connection: connection, fileLock: fileLock, reserve: reserve,
                state: try OutboxStateRow(reading: connection)))
    }

    private static func opened(_ path: String) throws(OutboxError) -> SQLiteConnection {
        let connection = try SQLiteConnection(path: path)
        try OutboxSchema.makeDurable(connection)
        try OutboxSchema.prepare(connection, epoch: randomEpoch)
        // What an earlier run had begun may or may not have reached the device: never executed twice, so it ends here.
        try connection.run(
            "UPDATE command SET state = 2, outcome = 'interrupted: the agent ended while it ran' WHERE state = 1",
            doing: "end interrupted commands")
        return connection
    }

    private static func randomEpoch() -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        let value = random.next()
        return (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
    }

    static func storedEpoch(_ connection: SQLiteConnection) throws(OutboxError) -> Epoch {
        var bytes: [UInt8] = []
        try connection.run("SELECT epoch FROM identity", doing: "read the epoch") { bytes = $0.blob(0) }
        guard bytes.count == 8 else { throw OutboxError(.damaged, doing: "read the epoch", which: connection.path) }
        return Epoch(value: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    // MARK: Records

    public func status() throws(OutboxError) -> OutboxStatus {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            try contents.state.status(contents.connection)
        }
    }

    public func kept(_ key: String) throws(OutboxError) -> [UInt8]? {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            var bytes: [UInt8]?
            try contents.connection.run(
                "SELECT bytes FROM kept WHERE key = ?", [.text(key)], doing: "read kept state"
            ) { bytes = $0.blob(0) }
            return bytes
        }
    }

    public func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        let chunks = OutboxChunk.chunks(of: commit.records)
        return try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            let doing = "append \(commit.records.count) records"
            try check(commit, chunks, against: contents.state, doing: doing)
            guard contents.reserve.isWhole || contents.reserve.refill() || Self.shrink(&contents) else {
                throw OutboxError(.full, doing: doing, which: path, detail: "no room for the reserve of 2 MiB")
            }
            do throws(OutboxError) {
                return try insert(commit, chunks, &contents, doing: doing)
            } catch {
                // What was acknowledged lies in the log and in free pages: enough room for new records, perhaps.
                guard error.problem == .full, Self.shrink(&contents) else { throw error }
                return try insert(commit, chunks, &contents, doing: doing)
            }
        }
    }

    private func insert(
        _ commit: OutboxCommit, _ chunks: [OutboxChunk], _ contents: inout Contents, doing: String
    ) throws(OutboxError) -> [Run] {
        var state = contents.state
        let connection = contents.connection
        let eviction = try connection.transaction(doing: doing) { () throws(OutboxError) in
            let eviction = try OutboxEviction.decide(
                storedBytes: state.storedBytes, quotaBytes: limits.quotaBytes, incoming: chunks
            ) { lane, after throws(OutboxError) in
                try Self.nextRow(connection, lane: lane, after: after)
            }
            for first in eviction.storedRows { try Self.deleteRow(first, connection, &state) }
            for run in eviction.dropped { try Self.declare(run, connection) }
            for chunk in eviction.incoming { try Self.insert(chunk, connection, &state) }
            for kept in commit.kept {
                try connection.run(
                    "INSERT INTO kept(key, bytes) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET bytes = excluded.bytes",
                    [.text(kept.key), .blob(kept.bytes)], doing: "keep state")
            }
            state.nextSequence += UInt64(commit.records.count)
            state.lastWallTime = commit.lastWallTime(after: state.lastWallTime)
            try state.write(connection)
            return eviction
        }
        contents.state = state
        contents.mayShrink = true
        return eviction.dropped
    }

    public func take(_ request: TakeRequest) throws(OutboxError) -> OutboxBatch? {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            var builder = OutboxBatchBuilder(bytesMax: request.bytesMax)
            // The partial index is used only when the lane is written into the statement.
            try contents.connection.scan(
                """
                SELECT first, count, fragments FROM row WHERE lane = \(request.lane.rawValue) AND first > ? AND first < ?
                ORDER BY first
                """,
                [.sequence(request.after), .sequence(request.before ?? .max)], doing: "read a batch"
            ) { builder.add(first: $0.sequence(0), count: $0.sequence(1), fragments: $0.blob(2)) }
            guard builder.hasRows else { return nil }
            var dropped: [Run] = []
            try contents.connection.run(
                "SELECT start, count FROM dropped ORDER BY start LIMIT ?",
                [.count(OutboxLimits.declaredRunCountMax)], doing: "read a batch"
            ) { dropped.append(Run(start: $0.sequence(0), count: $0.sequence(1))) }
            return builder.batch(dropped: dropped)
        }
    }

    public func acknowledge(_ batches: [OutboxBatch]) throws(OutboxError) {
        try small { (contents: inout Contents) throws(OutboxError) in try Self.delete(batches, &contents) }
    }

    /// For changes that make room, or that are small and must not wait for it: on a full disk they have the reserve's
    /// room. What they free goes into making the reserve whole again.
    func small<Result>(
        _ body: (inout Contents) throws(OutboxError) -> Result
    ) throws(OutboxError) -> Result {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            defer { if !contents.reserve.isWhole { contents.reserve.refill() } }
            do throws(OutboxError) {
                return try body(&contents)
            } catch {
                guard error.problem == .full else { throw error }
                contents.reserve.release()
                let result = try body(&contents)
                Self.shrink(&contents)
                return result
            }
        }
    }

    private func check(
        _ commit: OutboxCommit, _ chunks: [OutboxChunk], against state: OutboxStateRow, doing: String
    ) throws(OutboxError) {
        var expected = state.nextSequence
        for record in commit.records {
            guard record.sequence == expected else {
                throw OutboxError(
                    .wrongRecords, doing: doing, which: path,
                    detail: "sequence \(record.sequence) came where \(expected) is next")
            }
            expected += 1
        }
        for chunk in chunks where chunk.fragments.count > OutboxLimits.rowBytesMax {
            throw OutboxError(
                .wrongRecords, doing: doing, which: path,
                detail: "record \(chunk.first) has \(chunk.fragments.count) bytes, at most \(OutboxLimits.rowBytesMax)")
        }
        for kept in commit.kept where kept.bytes.count > OutboxLimits.keptBytesMax {
            throw OutboxError(
                .wrongRecords, doing: doing, which: path,
                detail: "state \(kept.key) has \(kept.bytes.count) bytes, at most \(OutboxLimits.keptBytesMax)")
        }
    }
}

extension SQLiteOutbox {
    private static func nextRow(
        _ connection: SQLiteConnection, lane: OutboxLane, after: UInt64
    ) throws(OutboxError) -> StoredRow? {
        var row: StoredRow?
        try connection.scan(
            """
            SELECT first, count, length(fragments) FROM row WHERE lane = \(lane.rawValue) AND first > ?
            ORDER BY first LIMIT 1
            """, [.sequence(after)], doing: "find the oldest row"
        ) {
            row = StoredRow(first: $0.sequence(0), count: $0.sequence(1), fragmentBytes: $0.int(2))
            return false
        }
        return row
    }

    private static func insert(
        _ chunk: OutboxChunk, _ connection: SQLiteConnection, _ state: inout OutboxStateRow
    ) throws(OutboxError) {
        try connection.run(
            "INSERT INTO row(first, count, lane, fragments) VALUES(?, ?, ?, ?)",
            [
                .sequence(chunk.first), .sequence(chunk.count), .count(chunk.lane.rawValue), .blob(chunk.fragments),
            ], doing: "append records")
        state.storedBytes += chunk.quotaBytes
        state.recordCount += chunk.count
    }

    private static func deleteRow(
        _ first: UInt64, _ connection: SQLiteConnection, _ state: inout OutboxStateRow
    ) throws(OutboxError) {
        var row: StoredRow?
        try connection.run(
            "SELECT count, length(fragments) FROM row WHERE first = ?", [.sequence(first)], doing: "delete a row"
        ) { row = StoredRow(first: first, count: $0.sequence(0), fragmentBytes: $0.int(1)) }
        guard let row else { return }
        try connection.run("DELETE FROM row WHERE first = ?", [.sequence(first)], doing: "delete a row")
        state.storedBytes -= row.quotaBytes
        state.recordCount -= row.count
    }

    /// Notes a dropped run, joined with its neighbours. A neighbour that is on its way to the hub grows by this, so
    /// that its acknowledgement no longer matches it and the whole is declared again, which the hub takes twice.
    private static func declare(_ run: Run, _ connection: SQLiteConnection) throws(OutboxError) {
        var runs = [run]
        try connection.run(
            "SELECT start, count FROM dropped WHERE start <= ? AND start + count >= ?",
            [.sequence(run.start + run.count), .sequence(run.start)], doing: "declare dropped records"
        ) { runs.append(Run(start: $0.sequence(0), count: $0.sequence(1))) }
        for old in runs.dropFirst() {
            try connection.run(
                "DELETE FROM dropped WHERE start = ?", [.sequence(old.start)], doing: "declare dropped records")
        }
        for joined in Run.joined(runs) {
            try connection.run(
                "INSERT INTO dropped(start, count) VALUES(?, ?)",
                [.sequence(joined.start), .sequence(joined.count)], doing: "declare dropped records")
        }
    }

    /// Gives freed pages and the log's space back to a full disk, as far as that works, with the reserve's room to do
    /// it in: a little at a time, so that the log of each step fits there.
    ///
    /// - Returns: whether the reserve is whole again, so that records may be appended.
    @discardableResult
    private static func shrink(_ contents: inout Contents) -> Bool {
        guard contents.mayShrink else { return false }
        contents.mayShrink = false
        contents.reserve.release()
        for _ in 0..<shrinkStepsMax {
            // Best effort: what fails here only leaves the file as large as it is.
            var freeCount = 0
            try? contents.connection.run("PRAGMA freelist_count", doing: "give space back") { freeCount = $0.int(0) }
            if freeCount > 0 {
                try? contents.connection.run("PRAGMA incremental_vacuum(256)", doing: "give space back")
            }
            try? contents.connection.run("PRAGMA wal_checkpoint(TRUNCATE)", doing: "give space back")
            if freeCount <= 256 { break }
        }
        return contents.reserve.refill()
    }

    /// Of 1 MiB each: room for the reserve and for a good many records, in well under a second.
    private static let shrinkStepsMax = 16

    private static func delete(_ batches: [OutboxBatch], _ contents: inout Contents) throws(OutboxError) {
        var state = contents.state
        let connection = contents.connection
        try connection.transaction(doing: "acknowledge \(batches.count) batches") { () throws(OutboxError) in
            for batch in batches {
                for first in batch.rows { try deleteRow(first, connection, &state) }
                for run in batch.dropped {
                    try connection.run(
                        "DELETE FROM dropped WHERE start = ? AND count = ?",
                        [.sequence(run.start), .sequence(run.count)], doing: "forget declared records")
                }
            }
            try state.write(connection)
        }
        contents.state = state
        contents.mayShrink = true
    }
}
