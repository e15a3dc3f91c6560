internal import Outbox
public import Primitives

/// The tables of the file, and how an older file becomes the current one.
enum OutboxSchema {
    /// Rises by one with every change; stored in the file's `user_version`.
    static let version = 2
    /// "FLOB" as a big-endian number, in the file's `application_id`: tells an outbox from any other SQLite file.
    static let applicationID = 0x464C_4F42
    /// Small pages, because a commit writes a few of them however little it has to say.
    static let pageBytes = 1024
    /// An older file is written anew with small pages when it is no larger than this.
    private static let renewedBytesMax = 16 * 1024 * 1024

    /// - `row`: records without acknowledgement, and those of `state.facts` that have it. `first` and `last` are
    ///   sequences, `lane` 0 readings, 1 faults, 2 replays; `priority` of readings; `expires` milliseconds of known
    ///   time; `encoding` 0 plain, else a dictionary's number; `bytes` the size of the plain fragments.
    /// - `sent`: acknowledged records that are kept for a replay, `acknowledged` at milliseconds of known time.
    /// - `dropped`: runs that were dropped unsent and are not yet declared.
    /// - `lost`: the same by sensor, until a reading has told it; `reason` 0 dropped, 1 expired.
    /// - `state`: one row: next sequence, the sum of stored bytes and records, last wall time, and `OutboxState.facts`.
    /// - `command.state`: 0 waits, 1 begun, 2 ended.
    static let tables =
        """
        CREATE TABLE identity(id INTEGER PRIMARY KEY CHECK(id = 1), epoch BLOB NOT NULL) STRICT;
        CREATE TABLE state(
            id INTEGER PRIMARY KEY CHECK(id = 1), next_sequence INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
            record_count INTEGER NOT NULL, wall_milliseconds INTEGER, facts BLOB) STRICT;
        CREATE TABLE dropped(start INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
        CREATE TABLE kept(key TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE receipt(id INTEGER PRIMARY KEY, wall_milliseconds INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
        CREATE TABLE command(
            id INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE, device TEXT NOT NULL, name TEXT NOT NULL,
            payload BLOB NOT NULL, expires_milliseconds INTEGER, state INTEGER NOT NULL, outcome TEXT) STRICT;
        """ + rows + additions

    private static let rows = """
        CREATE TABLE row(
            first INTEGER PRIMARY KEY, count INTEGER NOT NULL, lane INTEGER NOT NULL, last INTEGER,
            priority INTEGER NOT NULL DEFAULT 1, expires INTEGER, encoding INTEGER NOT NULL DEFAULT 0, bytes INTEGER,
            fragments BLOB NOT NULL) STRICT;
        """

    /// What version 2 has beside version 1. The indexes hold only what is not ordinary, so that an ordinary commit does
    /// not write them.
    private static let additions = """
        CREATE TABLE sent(
            first INTEGER PRIMARY KEY, count INTEGER NOT NULL, lane INTEGER NOT NULL, last INTEGER NOT NULL,
            acknowledged INTEGER NOT NULL, encoding INTEGER NOT NULL, bytes INTEGER NOT NULL,
            fragments BLOB NOT NULL) STRICT;
        CREATE TABLE lost(
            device TEXT NOT NULL, metric TEXT NOT NULL, reason INTEGER NOT NULL, count INTEGER NOT NULL,
            PRIMARY KEY(device, metric, reason)) STRICT, WITHOUT ROWID;
        CREATE INDEX row_special ON row(lane, first) WHERE lane <> 0;
        CREATE INDEX row_unusual ON row(priority, first) WHERE priority <> 1;
        CREATE INDEX row_expires ON row(expires) WHERE expires IS NOT NULL;
        """ + wideRows

    /// Rows that span too much to be found by their first sequence. This program makes none; those of an older one are
    /// found by these indexes, which stay empty otherwise. A file without them gets them; the number of the schema stays,
    /// because an older program can use such a file, too.
    private static let wideRows = """
        DROP INDEX IF EXISTS sent_faults;
        CREATE INDEX IF NOT EXISTS row_wide ON row(first) WHERE last - first >= \(OutboxLimits.rowSpanMax);
        CREATE INDEX IF NOT EXISTS sent_wide ON sent(first) WHERE last - first >= \(OutboxLimits.rowSpanMax);
        """

    /// Version 1 had its rows with the fragments before the new columns; they are read as they are.
    private static let fromVersion1 =
        """
        DROP INDEX row_faults;
        ALTER TABLE row ADD COLUMN last INTEGER;
        ALTER TABLE row ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE row ADD COLUMN expires INTEGER;
        ALTER TABLE row ADD COLUMN encoding INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE row ADD COLUMN bytes INTEGER;
        ALTER TABLE state ADD COLUMN facts BLOB;
        """ + additions

    /// Makes or checks the schema; call it inside no transaction.
    static func prepare(_ connection: SQLiteConnection, epoch: () -> [UInt8]) throws(OutboxError) {
        let doing = "read the schema version"
        let found = try connection.number("PRAGMA user_version")
        let application = try connection.number("PRAGMA application_id")
        guard found <= version else {
            throw OutboxError(.newerSchema(found: found, known: version), doing: doing, which: connection.path)
        }
        if found > 0 {
            guard application == applicationID else {
                throw OutboxError(.damaged, doing: doing, which: connection.path, detail: "not made by edge-agent")
            }
            if found == 1 { return try renew(connection) }
            let isIndexed = try connection.number(
                "SELECT count(*) FROM sqlite_schema WHERE name IN ('row_wide', 'sent_wide')")
            guard isIndexed < 2 else { return }
            return try connection.transaction(doing: "index wide rows") { () throws(OutboxError) in
                try connection.execute(wideRows, doing: "index wide rows")
            }
        }
        guard try connection.number("SELECT count(*) FROM sqlite_schema") == 0 else {
            throw OutboxError(.damaged, doing: doing, which: connection.path, detail: "not made by edge-agent")
        }
        try connection.transaction(doing: "make the tables") { () throws(OutboxError) in
            try connection.execute(tables, doing: "make the tables")
            try connection.run(
                "INSERT INTO identity(id, epoch) VALUES(1, ?)", [.blob(epoch())], doing: "make the tables")
            try connection.execute(
                """
                INSERT INTO state(id, next_sequence, stored_bytes, record_count) VALUES(1, 1, 0, 0);
                PRAGMA application_id = \(applicationID); PRAGMA user_version = \(version)
                """, doing: "make the tables")
        }
    }

    private static func renew(_ connection: SQLiteConnection) throws(OutboxError) {
        let doing = "renew an outbox of version 1"
        let isEmpty = try connection.number("SELECT count(*) FROM (SELECT 1 FROM row LIMIT 1)") == 0
        try connection.transaction(doing: doing) { () throws(OutboxError) in
            if isEmpty {
                let changes = "DROP TABLE row; ALTER TABLE state ADD COLUMN facts BLOB;" + rows + additions
                try connection.execute(changes, doing: doing)
            } else {
                try connection.execute(fromVersion1, doing: doing)
            }
            try connection.execute("PRAGMA user_version = \(version)", doing: doing)
        }
    }

    /// Writes a small file of large pages anew, with small ones: atomic, and skipped when it does not work out. Call it
    /// before `makeDurable`.
    static func resize(_ connection: SQLiteConnection) {
        guard let pages = try? connection.number("PRAGMA page_count"), pages > 0,
            let size = try? connection.number("PRAGMA page_size"), size != pageBytes,
            pages * size <= renewedBytesMax,
            (try? connection.number("PRAGMA application_id")) == applicationID
        else { return }
        // A page size is changed only outside the write-ahead log.
        try? connection.execute(
            "PRAGMA journal_mode = DELETE; PRAGMA page_size = \(pageBytes); VACUUM", doing: "make the pages small")
    }

    /// Moves the log of an earlier run into the file, and begins a new one. When a sync of the log failed in that run, the
    /// system shows us what it wrote though the disk has not got it, and never writes it again: what came behind it would
    /// be lost with the next power cut.
    static func foldLog(_ connection: SQLiteConnection) throws(OutboxError) {
        do throws(OutboxError) {
            try connection.run("PRAGMA wal_checkpoint(TRUNCATE)", doing: "fold the log of an earlier run")
        } catch {
            // Without room it stays as it is: then it is not known to have failed, and the agent has to start.
            guard error.problem == .full || error.problem == .busy else { throw error }
        }
    }

    /// Sets what makes a commit durable and reads it back: a library built otherwise, or a file system without
    /// shared memory, must not pass silently.
    static func makeDurable(_ connection: SQLiteConnection) throws(OutboxError) {
        let doing = "make commits durable"
        var journal = ""
        // Count only for a new file, and only before its first page: lets a file shrink again.
        try connection.execute("PRAGMA page_size = \(pageBytes); PRAGMA auto_vacuum = INCREMENTAL", doing: doing)
        try connection.run("PRAGMA journal_mode = WAL", doing: doing) { journal = $0.text(0) }
        try connection.execute("PRAGMA synchronous = FULL", doing: doing)
        // Checkpoints at 1 MiB, so that the disk reserve can always hold one. A log that grew in a burst is cut back
        // after its checkpoint. 512 KiB of cache bounds resident memory.
        let pages = 1_048_576 / max(try connection.number("PRAGMA page_size"), 512)
        try connection.execute(
            """
            PRAGMA wal_autocheckpoint = \(pages); PRAGMA journal_size_limit = 1048576; PRAGMA cache_size = -512;
            PRAGMA temp_store = MEMORY
            """, doing: doing)
        var synchronous = 0
        try connection.run("PRAGMA synchronous", doing: doing) { synchronous = $0.int(0) }
        guard journal == "wal", synchronous == 2 else {
            throw OutboxError(
                .notDurable, doing: doing, which: connection.path,
                detail: "journal_mode is \(journal), synchronous is \(synchronous)")
        }
        if PlantedBug.agentCommitsWithoutSync.isPlanted {
            try connection.execute("PRAGMA synchronous = OFF", doing: doing)
        }
    }
}

extension PlantedBug {
    /// The gateway's outbox commits, but the disk is not told to keep it.
    public static var agentCommitsWithoutSync: PlantedBug { PlantedBug("agentCommitsWithoutSync") }
}
