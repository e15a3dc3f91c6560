internal import Outbox
public import Primitives

/// The tables of the file, and how an older file becomes the current one.
enum OutboxSchema {
    /// Rises by one with every change; stored in the file's `user_version`.
    static let version = 1
    /// "FLOB" as a big-endian number, in the file's `application_id`: tells an outbox from any other SQLite file.
    static let applicationID = 0x464C_4F42

    /// - `row`: unsent records. `first` is the sequence of the first one; `lane` 0 readings, 1 faults.
    /// - `dropped`: runs that were dropped unsent and are not yet declared.
    /// - `state`: one row: next sequence, the sum of stored bytes and records, last wall time.
    /// - `command.state`: 0 waits, 1 begun, 2 ended.
    static let tables = """
        CREATE TABLE identity(id INTEGER PRIMARY KEY CHECK(id = 1), epoch BLOB NOT NULL) STRICT;
        CREATE TABLE state(
            id INTEGER PRIMARY KEY CHECK(id = 1), next_sequence INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
            record_count INTEGER NOT NULL, wall_milliseconds INTEGER) STRICT;
        CREATE TABLE row(
            first INTEGER PRIMARY KEY, count INTEGER NOT NULL, lane INTEGER NOT NULL, fragments BLOB NOT NULL) STRICT;
        CREATE INDEX row_faults ON row(first) WHERE lane = 1;
        CREATE TABLE dropped(start INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
        CREATE TABLE kept(key TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE receipt(id INTEGER PRIMARY KEY, wall_milliseconds INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
        CREATE TABLE command(
            id INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE, device TEXT NOT NULL, name TEXT NOT NULL,
            payload BLOB NOT NULL, expires_milliseconds INTEGER, state INTEGER NOT NULL, outcome TEXT) STRICT;
        """

    /// Makes or checks the schema; call it inside no transaction.
    static func prepare(_ connection: SQLiteConnection, epoch: () -> [UInt8]) throws(OutboxError) {
        let doing = "read the schema version"
        var found = 0
        var application = 0
        try connection.run("PRAGMA user_version", doing: doing) { found = $0.int(0) }
        try connection.run("PRAGMA application_id", doing: doing) { application = $0.int(0) }
        guard found <= version else {
            throw OutboxError(.newerSchema(found: found, known: version), doing: doing, which: connection.path)
        }
        if found == version {
            guard application == applicationID else {
                throw OutboxError(.damaged, doing: doing, which: connection.path, detail: "not made by edge-agent")
            }
            return
        }
        var tableCount = 0
        try connection.run("SELECT count(*) FROM sqlite_schema", doing: doing) { tableCount = $0.int(0) }
        guard tableCount == 0 else {
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

    /// Sets what makes a commit durable and reads it back: a library built otherwise, or a file system without
    /// shared memory, must not pass silently.
    static func makeDurable(_ connection: SQLiteConnection) throws(OutboxError) {
        let doing = "make commits durable"
        var journal = ""
        // Counts only for a new file, and only before its first page: lets a file that met a full disk shrink again.
        try connection.execute("PRAGMA auto_vacuum = INCREMENTAL", doing: doing)
        try connection.run("PRAGMA journal_mode = WAL", doing: doing) { journal = $0.text(0) }
        try connection.execute("PRAGMA synchronous = FULL", doing: doing)
        // Checkpoints at 256 pages (1 MiB), so that the disk reserve can always hold one. A log that grew in a burst is
        // cut back after its checkpoint. 512 KiB of cache bounds resident memory.
        try connection.execute(
            """
            PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 1048576; PRAGMA cache_size = -512;
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
