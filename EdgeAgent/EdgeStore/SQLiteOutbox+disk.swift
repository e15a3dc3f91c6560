internal import Glibc
internal import Outbox
internal import Primitives
internal import Telemetry

/// Which file a path leads to; equal for the same file on the same mount.
struct FileIdentity: Equatable {
    private let device: UInt64
    private let inode: UInt64

    /// `nil` when nothing is there, or the disk does not say.
    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}

/// How the file has been of late.
struct DiskWatch {
    /// The file and its log as they were opened.
    var file: FileIdentity?
    var log: FileIdentity?
    /// Since when every use fails; `nil` while it works.
    private(set) var failingSince: MonotonicInstant?
    private var failureCount = 0
    /// Why it cannot be used, with the time of the last try; `nil` while the connection is open.
    private(set) var closed: (reason: OutboxError, triedAt: MonotonicInstant)?

    /// A connection whose file fails for so long, and so often, is given up: its file may be that of a disk which was taken
    /// out and is back.
    private static let givenUpAfter = Duration.seconds(3)
    private static let givenUpCount = 3
    /// Between two tries to open it again.
    static let retryPause = Duration.seconds(1)

    mutating func opened(_ path: String) {
        self = DiskWatch()
        file = FileIdentity(path)
        log = FileIdentity(path + "-wal")
    }

    mutating func worked() {
        guard failingSince != nil else { return }
        failingSince = nil
        failureCount = 0
    }

    mutating func failed(_ error: OutboxError, now: MonotonicInstant) {
        switch error.problem {
        case .diskFailed, .readOnly, .cannotOpen, .damaged:
            failingSince = failingSince ?? now
            failureCount += 1
        default: break
        }
    }

    func isGivenUp(now: MonotonicInstant) -> Bool {
        guard let failingSince else { return false }
        return failureCount >= Self.givenUpCount && now - failingSince >= Self.givenUpAfter
    }

    mutating func isClosed(because error: OutboxError, now: MonotonicInstant) { closed = (error, now) }
}

/// What commits that were refused would have replaced: a disk may keep such a commit all the same.
struct RefusedCommits {
    /// What was confirmed last, by key; `nil` where there was nothing. No larger than table `kept`, and empty while the
    /// disk works.
    private(set) var kept: [String: [UInt8]?] = [:]
    /// Of the last one.
    private(set) var reported: [SensorLoss] = []

    /// Best effort: what cannot be read now stays as the disk has it.
    mutating func note(_ commit: OutboxCommit, _ connection: SQLiteConnection) {
        reported = commit.reported
        for key in commit.kept.map(\.key) where kept.index(forKey: key) == nil {
            do throws(OutboxError) { kept.updateValue(try OutboxTables.kept(key, connection), forKey: key) } catch {}
        }
    }

    /// Where the file has something else than what was confirmed.
    func differing(_ connection: SQLiteConnection) throws(OutboxError) -> [(key: String, bytes: [UInt8]?)] {
        var found: [(key: String, bytes: [UInt8]?)] = []
        for (key, bytes) in kept where try OutboxTables.kept(key, connection) != bytes { found.append((key, bytes)) }
        return found
    }
}

extension SQLiteOutbox {
    /// Every use of the contents goes through here: before it, a file that failed for long, or that lies elsewhere now, is
    /// opened again; after it, it is noted how it went.
    ///
    /// - Parameter isAppend: records are taken only into the file that will be found at the path after a crash.
    func use<Result>(
        isAppend: Bool = false, _ body: (inout Contents) throws(OutboxError) -> Result
    ) throws(OutboxError) -> Result {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            let now = clock.now().monotonic
            do throws(OutboxError) {
                try lookAfter(&contents, isAppend: isAppend, now: now)
                let result = try body(&contents)
                // Reading may be answered from memory; only what was synced says that the disk works.
                if isAppend { contents.disk.worked() }
                return result
            } catch {
                contents.disk.failed(error, now: now)
                throw error
            }
        }
    }

    private func lookAfter(_ contents: inout Contents, isAppend: Bool, now: MonotonicInstant) throws(OutboxError) {
        if let closed = contents.disk.closed {
            guard now - closed.triedAt >= DiskWatch.retryPause else { throw closed.reason }
            return try openAgain(&contents, mayHaveLost: true, now: now)
        }
        if contents.disk.isGivenUp(now: now) { return try openAgain(&contents, mayHaveLost: true, now: now) }
        guard isAppend else { return }
        let file = FileIdentity(path)
        let log = FileIdentity(path + "-wal")
        if file == contents.disk.file, log == contents.disk.log { return }
        guard file != nil else { throw OutboxError(.away, doing: "append records", which: path) }
        if file == contents.disk.file {
            guard log == nil else { throw OutboxError(.replaced, doing: "append records", which: path + "-wal") }
            // Somebody deleted the log. The open one still has all of it, and it fits into the file.
            try Self.foldWholeLog(contents.connection)
            return try openAgain(&contents, mayHaveLost: false, now: now)
        }
        try refuseStrangeLog(contents, doing: "append records")
        let other = try look(at: path)
        // A file of ours with fewer records is an older copy, unless the one that is open cannot be read any more.
        let isOlder = other.nextSequence < contents.state.nextSequence
        guard other.epoch == epoch, !isOlder || !isReadable(contents) else {
            throw OutboxError(.replaced, doing: "append records", which: path)
        }
        try openAgain(&contents, mayHaveLost: isOlder, now: now)
    }

    /// The library pairs a file with the log that has its name. Our log beside another file belongs to the one that is open:
    /// it would be written over a copy. A mount brings a log of its own.
    private func refuseStrangeLog(_ contents: Contents, doing: String) throws(OutboxError) {
        guard let file = FileIdentity(path), file != contents.disk.file,
            let log = FileIdentity(path + "-wal"), log == contents.disk.log
        else { return }
        throw OutboxError(
            .replaced, doing: doing, which: path, detail: "the log beside it is that of the file before it")
    }

    private func look(at path: String) throws(OutboxError) -> (epoch: Epoch, nextSequence: UInt64) {
        let connection = try SQLiteConnection(path: path, mode: .readOnly)
        return (try Self.storedEpoch(connection), try OutboxState(reading: connection).nextSequence)
    }

    private func isReadable(_ contents: Contents) -> Bool {
        (try? OutboxState(reading: contents.connection))?.nextSequence == contents.state.nextSequence
    }

    /// Moves all that is in the log into the file and syncs it.
    private static func foldWholeLog(_ connection: SQLiteConnection) throws(OutboxError) {
        let doing = "fold the log into the file"
        var isBusy = false
        try connection.run("PRAGMA wal_checkpoint(TRUNCATE)", doing: doing) { isBusy = $0.int(0) != 0 }
        if isBusy { throw OutboxError(.busy, doing: doing, which: connection.path) }
    }

    // MARK: Opening again

    /// Closes the connection and opens the file that lies at the path now, when it is this outbox.
    ///
    /// - Parameter mayHaveLost: the disk may have forgotten commits that it had confirmed.
    private func openAgain(
        _ contents: inout Contents, mayHaveLost: Bool, now: MonotonicInstant
    ) throws(OutboxError) {
        try refuseStrangeLog(contents, doing: "open it again")
        contents.connection.close()
        do throws(OutboxError) {
            guard FileIdentity(path) != nil else { throw OutboxError(.away, doing: "open it again", which: path) }
            let connection = try SQLiteConnection(path: path, mode: .existing)
            guard try Self.storedEpoch(connection) == epoch else {
                throw OutboxError(.replaced, doing: "open it again", which: path)
            }
            try Self.makeReady(connection, limits) { epoch.value }
            if !contents.fileLock.isAt(path + ".lock") {
                contents.fileLock = try FileLock(path: path + ".lock", outbox: path)
            }
            try settleOpened(connection, &contents, mayHaveLost: mayHaveLost)
            contents.disk.opened(path)
        } catch {
            contents.disk.isClosed(because: error, now: now)
            throw error
        }
    }

    /// Brings the file and what was said of it together: what was confirmed counts, and nothing else.
    private func settleOpened(
        _ connection: SQLiteConnection, _ contents: inout Contents, mayHaveLost: Bool
    ) throws(OutboxError) {
        let next = contents.state.nextSequence
        var found = contents
        found.connection = connection
        found.state = try OutboxState(reading: connection)
        found.pending = PendingAcknowledgements(rows: found.state.acknowledged)
        found.oldestOrdinary = 0
        found.damaged = []
        let stored = found.state.nextSequence
        let marks = try found.refused.differing(connection)
        if stored != next || !marks.isEmpty {
            guard mayHaveLost || stored >= next else {
                throw OutboxError(.replaced, doing: "open it again", which: path)
            }
            var draft = Draft(found, now: clock.now(), limits: limits)
            try connection.transaction(doing: "settle what the disk kept") { () throws(OutboxError) in
                // The last commit was refused, and is there all the same: who was refused comes again.
                try draft.forget(from: next)
                for mark in marks { try OutboxTables.keep(mark.key, mark.bytes, connection) }
                if stored > next { for loss in found.refused.reported { try LossTable.add(loss, connection) } }
                // Confirmed, and not there any more: the numbers are not given again, and the hub is told.
                if stored < next { try OutboxTables.declare(Run(start: stored, count: next - stored), connection) }
                draft.state.nextSequence = next
                try draft.writeState()
            }
            draft.take(into: &found)
        }
        found.refused = RefusedCommits()
        contents = found
    }
}

extension Draft {
    /// Deletes rows that hold records from a sequence on.
    fileprivate mutating func forget(from next: UInt64) throws(OutboxError) {
        var heads: [RowHead] = []
        try connection.run(
            "SELECT \(RowHead.columns) FROM row WHERE first >= ?", [.sequence(next)], doing: "find refused records"
        ) { heads.append(RowHead($0)) }
        for head in heads { try delete(head) }
    }
}
