import EventLog
public import Primitives

/// The tables of `log.sqlite`.
enum LogSchema {
    /// `PRAGMA user_version` of a log that this hub writes.
    static let version: Int64 = 2

    /// A row's position is its partition in the high bits and its base offset in the low ones: one tree, in order.
    static let offsetBits: Int64 = 48

    static func position(partition: Int, offset: Int64) -> Int64 { Int64(partition) << offsetBits | offset }
    static func partition(ofPosition position: Int64) -> Int { Int(position >> offsetBits) }
    static func offset(ofPosition position: Int64) -> Int64 { position & (1 << offsetBits - 1) }

    private static let tables = """
        CREATE TABLE event (
            position INTEGER PRIMARY KEY,
            count INTEGER NOT NULL,
            enqueued INTEGER NOT NULL,
            bytes BLOB NOT NULL
        );
        CREATE VIEW event_row AS
            SELECT position >> 48 AS partition, position & 0xFFFFFFFFFFFF AS base_offset, count, enqueued,
                   length(bytes) AS size
            FROM event;
        CREATE TABLE sequence (
            gateway TEXT NOT NULL,
            epoch TEXT NOT NULL,
            seen BLOB NOT NULL,
            dropped BLOB NOT NULL,
            changed INTEGER NOT NULL,
            PRIMARY KEY (gateway, epoch)
        ) WITHOUT ROWID;
        CREATE TABLE quarantine (
            id INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            gateway TEXT NOT NULL,
            epoch TEXT,
            sequence TEXT,
            code TEXT NOT NULL,
            reason TEXT NOT NULL,
            body BLOB NOT NULL
        );
        CREATE INDEX quarantine_gateway ON quarantine (gateway);
        CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        """

    /// Moves the write-ahead log of an earlier run into the database, and begins a new one. When a sync of it failed in
    /// that run, the system shows us what it wrote though the disk has not got it, and never writes it again: what came
    /// behind it would be lost with the next power cut.
    private static func foldLog(_ connection: LogConnection) throws(EventLogError) {
        do throws(EventLogError) {
            _ = try connection.checkpoint(.truncate)
        } catch {
            // Without room it stays as it is: then it is not known to have failed, and the hub has to start.
            guard error.problem == .full else { throw error }
        }
    }

    /// Makes the file a log, or checks that it is one that this hub can write, and sets what durability needs.
    static func prepare(_ connection: LogConnection, options: SQLiteEventLog.Options) throws(EventLogError) -> Int {
        let doing = "open the event log"
        try connection.execute("PRAGMA page_size = \(options.pageBytes)", doing: doing)
        try connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", doing: doing)
        connection.countWALPages()
        try connection.execute("PRAGMA cache_size = -\(options.cacheKiB)", doing: doing)
        let synchronous = try connection.integer("PRAGMA synchronous")
        guard synchronous == 2 else {
            throw EventLogError(.storage, doing: doing, detail: "SQLite did not take synchronous=FULL")
        }
        try foldLog(connection)
        if PlantedBug.hubCommitsWithoutSync.isPlanted {
            try connection.execute("PRAGMA synchronous = OFF", doing: doing)
        }
        let found = try connection.integer("PRAGMA user_version")
        if found == 0 {
            try connection.execute("BEGIN IMMEDIATE;" + tables, doing: doing)
            try connection.execute(
                "INSERT INTO setting VALUES ('partitions', \(options.partitionCount));"
                    + "PRAGMA user_version = \(version); COMMIT", doing: doing)
        } else if found == 1 {
            try connection.execute(
                "BEGIN IMMEDIATE; CREATE INDEX quarantine_gateway ON quarantine (gateway);"
                    + "PRAGMA user_version = 2; COMMIT", doing: doing)
        } else if found != version {
            throw EventLogError(
                .newerSchema, doing: doing,
                detail: "its schema has version \(found), this hub knows versions up to \(version)")
        }
        if let pages = options.pageCountMax { try connection.execute("PRAGMA max_page_count = \(pages)", doing: doing) }
        return Int(try connection.integer("SELECT value FROM setting WHERE name = 'partitions'"))
    }
}

extension PlantedBug {
    /// The hub's log commits, but the disk is not told to keep it.
    public static var hubCommitsWithoutSync: PlantedBug { PlantedBug("hubCommitsWithoutSync") }
}
