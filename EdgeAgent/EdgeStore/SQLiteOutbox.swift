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
    let limits: OutboxLimits
    let clock: OutboxClock
    let contents: Lock<Contents>

    struct Contents {
        var connection: SQLiteConnection
        /// Held for as long as the connection is open.
        var fileLock: FileLock
        let reserve: DiskReserve
        let codec = RowCodec()
        /// As the next write of its row will have it.
        var state: OutboxState
        var elapsed: KnownElapsed
        let run: RunStart
        var pending = PendingAcknowledgements()
        var writes: WriteCounter
        var pace = TidyPace()
        /// Below it no stored reading has ordinary priority, so that finding the oldest one costs nothing.
        var oldestOrdinary: UInt64 = 0
        /// Rows that could not be read back: they are given up, and declared.
        var damaged: Set<UInt64> = []
        /// The file or its log may give space back: something was written or deleted since that was last tried.
        var mayShrink = true
        var disk = DiskWatch()
        /// Since the last commit that was confirmed.
        var refused = RefusedCommits()
    }

    /// Where this run began.
    struct RunStart {
        let firstSequence: UInt64
        /// Milliseconds of known time.
        let elapsed: Int64
    }

    /// Opens the outbox, making it with a new epoch when there is none.
    ///
    /// - Parameters:
    ///   - clock: for ages and for the account.
    ///   - newEpoch: 64 random bits, asked for when the outbox is made.
    /// - Throws: `.heldByAnother`, `.newerSchema`, `.damaged`, `.cannotOpen`, `.readOnly`, `.notDurable`; `.full` when
    ///   there is no room to make one.
    public init(
        path: String, limits: OutboxLimits = OutboxLimits(), clock: OutboxClock = .untrusted,
        newEpoch: () -> UInt64 = { .random(in: .min ... .max) }
    ) throws(OutboxError) {
        let previousMask = umask(0o077)
        defer { umask(previousMask) }
        let fileLock = try FileLock(path: path + ".lock", outbox: path)
        let reserve = DiskReserve(path: path + ".reserve")
        let connection: SQLiteConnection
        do throws(OutboxError) {
            connection = try Self.opened(path, limits, newEpoch)
        } catch {
            // Opening needs room for the log's index; an earlier run kept some for that.
            guard error.problem == .full, reserve.isWhole else { throw error }
            reserve.release()
            connection = try Self.opened(path, limits, newEpoch)
        }
        epoch = try Self.storedEpoch(connection)
        reserve.refill()
        self.path = path
        self.limits = limits
        self.clock = clock
        let state = try OutboxState(reading: connection)
        let now = clock.now()
        var disk = DiskWatch()
        disk.opened(path)
        let elapsed = KnownElapsed(after: state.mark, now: now)
        let run = RunStart(
            firstSequence: state.nextSequence, elapsed: Int64(clamping: elapsed.elapsed(now).milliseconds))
        contents = Lock(
            Contents(
                connection: connection, fileLock: fileLock, reserve: reserve, state: state,
                elapsed: elapsed, run: run,
                pending: PendingAcknowledgements(rows: state.acknowledged),
                writes: WriteCounter(after: state.account, now: now.monotonic), disk: disk))
    }

    deinit { try? flush() }

    private static func opened(
        _ path: String, _ limits: OutboxLimits, _ newEpoch: () -> UInt64
    ) throws(OutboxError) -> SQLiteConnection {
        let connection = try SQLiteConnection(path: path)
        OutboxSchema.resize(connection)
        try makeReady(connection, limits, newEpoch)
        // What an earlier run had begun may or may not have reached the device: never executed twice, so it ends here.
        try connection.run(
            "UPDATE command SET state = 2, outcome = 'interrupted: the agent ended while it ran' WHERE state = 1",
            doing: "end interrupted commands")
        return connection
    }

    static func makeReady(
        _ connection: SQLiteConnection, _ limits: OutboxLimits, _ newEpoch: () -> UInt64
    ) throws(OutboxError) {
        try OutboxSchema.makeDurable(connection)
        // A run that died after a failed sync may have left commits that are in the cache and not on the disk.
        try OutboxSchema.foldLog(connection)
        try OutboxSchema.prepare(connection) {
            let value = newEpoch()
            return (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
        }
        // The library itself refuses to let the file grow past the quota.
        let pageBytes = max(try connection.number("PRAGMA page_size"), 512)
        try connection.execute("PRAGMA max_page_count = \(limits.quotaBytes / pageBytes)", doing: "set the quota")
    }

    static func storedEpoch(_ connection: SQLiteConnection) throws(OutboxError) -> Epoch {
        var bytes: [UInt8] = []
        try connection.run("SELECT epoch FROM identity", doing: "read the epoch") { bytes = $0.blob(0) }
        guard bytes.count == 8 else { throw OutboxError(.damaged, doing: "read the epoch", which: connection.path) }
        return Epoch(value: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    // MARK: Records

    public func status() throws(OutboxError) -> OutboxStatus {
        try use { (contents: inout Contents) throws(OutboxError) in
            var status = try contents.state.status(contents.connection)
            status.account = contents.writes.account(now: clock.now().monotonic)
            return status
        }
    }

    public func kept(_ key: String) throws(OutboxError) -> [UInt8]? {
        try use { (contents: inout Contents) throws(OutboxError) in
            try OutboxTables.kept(key, contents.connection)
        }
    }

    public func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        let chunks = OutboxChunk.chunks(of: commit)
        return try use(isAppend: true) { (contents: inout Contents) throws(OutboxError) in
            let doing = "append \(commit.records.count) records"
            try check(commit, chunks, against: contents.state, doing: doing)
            guard contents.reserve.isWhole || contents.reserve.refill() != .full || Self.shrink(&contents) else {
                throw OutboxError(.full, doing: doing, which: path, detail: "no room for the reserve of 2 MiB")
            }
            let rows = chunks.map { EncodedRow($0, contents.codec) }
            do throws(OutboxError) {
                let dropped = try insertWithRoom(commit, rows, &contents, doing: doing)
                contents.refused = RefusedCommits()
                return dropped
            } catch {
                contents.refused.note(commit, contents.connection)
                throw error
            }
        }
    }

    private func insertWithRoom(
        _ commit: OutboxCommit, _ rows: [EncodedRow], _ contents: inout Contents, doing: String
    ) throws(OutboxError) -> [Run] {
        do throws(OutboxError) {
            return try insert(commit, rows, &contents, doing: doing)
        } catch {
            // What was acknowledged lies in the log and in free pages: enough room for new records, perhaps.
            guard error.problem == .full, Self.shrink(&contents) else { throw error }
            return try insert(commit, rows, &contents, doing: doing)
        }
    }

    /// Tries with more and more room when the file has reached its quota: what a page holds is only estimated.
    private func insert(
        _ commit: OutboxCommit, _ rows: [EncodedRow], _ contents: inout Contents, doing: String
    ) throws(OutboxError) -> [Run] {
        var spare = 0
        while true {
            do throws(OutboxError) {
                return try insert(commit, rows, spare: spare, &contents, doing: doing)
            } catch {
                guard error.problem == .full, spare < limits.quotaBytes / 2, try atQuota(contents) else { throw error }
                spare = max(16 * 1024, spare * 2)
            }
        }
    }

    private func insert(
        _ commit: OutboxCommit, _ rows: [EncodedRow], spare: Int, _ contents: inout Contents, doing: String
    ) throws(OutboxError) -> [Run] {
        var draft = Draft(contents, now: clock.now(), limits: limits)
        try contents.connection.transaction(doing: doing) { () throws(OutboxError) in
            try draft.settle(isDue: false)
            let room = rows.reduce(0) { $0 + $1.cost } + commit.kept.reduce(0) { $0 + Cost.of($1.bytes.count) }
            let refused = try draft.makeRoom(room + spare, incoming: rows)
            for row in rows where !refused.contains(row.chunk.first) { try draft.insert(row) }
            for loss in commit.reported { try LossTable.reported(loss, draft.connection) }
            for kept in commit.kept { try OutboxTables.keep(kept.key, kept.bytes, draft.connection) }
            draft.state.nextSequence += UInt64(commit.records.count)
            draft.state.lastWallTime = commit.lastWallTime(after: draft.state.lastWallTime)
            draft.writes.payloadBytes += UInt64(rows.reduce(0) { $0 + $1.chunk.fragments.count })
            try draft.writeState()
        }
        draft.take(into: &contents)
        return Run.joined(draft.dropped)
    }

    /// Whether it is the quota that is full, and not the disk.
    private func atQuota(_ contents: Contents) throws(OutboxError) -> Bool {
        let pages = try contents.connection.number("PRAGMA page_count")
        let pageBytes = try contents.connection.number("PRAGMA page_size")
        return (pages + 64) * pageBytes >= limits.quotaBytes
    }

    /// For changes that make room, or that are small and must not wait for it: on a full disk they have the reserve's
    /// room. What they free goes into making the reserve whole again.
    func small<Result>(
        _ body: (inout Contents) throws(OutboxError) -> Result
    ) throws(OutboxError) -> Result {
        try use { (contents: inout Contents) throws(OutboxError) in
            try Self.small(&contents, body)
        }
    }

    static func small<Result>(
        _ contents: inout Contents, _ body: (inout Contents) throws(OutboxError) -> Result
    ) throws(OutboxError) -> Result {
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

    private func check(
        _ commit: OutboxCommit, _ chunks: [OutboxChunk], against state: OutboxState, doing: String
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
            let freeCount = (try? contents.connection.number("PRAGMA freelist_count")) ?? 0
            if freeCount > 0 {
                try? contents.connection.run("PRAGMA incremental_vacuum(1024)", doing: "give space back")
            }
            try? contents.connection.run("PRAGMA wal_checkpoint(TRUNCATE)", doing: "give space back")
            if freeCount <= 1024 { break }
        }
        return contents.reserve.refill() == .whole
    }

    /// Of 1 MiB each: room for the reserve and for a good many records, in well under a second.
    private static let shrinkStepsMax = 16
}
