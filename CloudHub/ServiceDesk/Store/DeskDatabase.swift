import GRDB
import Glibc
import Primitives

/// `desk.sqlite`: one SQL table a Dataverse table, an audit trail and the sequence of row versions.
///
/// It belongs to the service desk alone and is opened by nothing else. Commits are durable (`synchronous=FULL`, read
/// back): an answer to a client means that the row survives a power cut.
enum DeskDatabase {
    /// Raised when the fixed part of the schema changes; columns of the Dataverse tables are added by themselves.
    static let schemaVersion = 1

    private static let indexed: [(table: String, column: String)] = [
        ("msdyn_iotalert", "msdyn_alerttoken"), ("msdyn_iotalert", "statecode"),
        ("msdyn_iotalert", "msdyn_device"), ("msdyn_iotdevice", "msdyn_deviceid"),
        ("msdyn_iotdevicecommand", "msdyn_commandstatus"), ("msdyn_iotdevicecommand", "msdyn_parentalert"),
    ]

    static func open(_ path: String) throws -> DatabasePool {
        try makePrivate(path)
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.maximumReaderCount = 3
        configuration.label = "service-desk"
        let pool = try DatabasePool(path: path, configuration: configuration)
        try pool.writeWithoutTransaction { database in
            // The pool itself sets NORMAL when it opens, after every hook that it offers.
            try database.execute(sql: "PRAGMA synchronous = FULL")
            let level = try Int.fetchOne(database, sql: "PRAGMA synchronous") ?? -1
            guard level == 2 else { throw DeskError(.notDurable(level), doing: "open desk.sqlite") }
        }
        let found = try pool.read { try Int.fetchOne($0, sql: "PRAGMA user_version") ?? 0 }
        guard found <= schemaVersion else {
            throw DeskError(.schemaNewer(found: found, known: schemaVersion), doing: "open desk.sqlite")
        }
        try pool.write { try migrate($0) }
        try pool.writeWithoutTransaction { try foldLog($0) }
        return pool
    }

    /// Moves the write-ahead log of an earlier run into the file: what a failed sync of that run left out of the disk, and
    /// the system still shows, must not stand before what is committed next. Without room it stays as it is.
    private static func foldLog(_ database: Database) throws {
        do {
            try database.checkpoint(.truncate)
        } catch let error as DatabaseError where [.SQLITE_FULL, .SQLITE_BUSY].contains(error.resultCode) {}
    }

    private static func migrate(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE IF NOT EXISTS "desk_version" (
                    "only" INTEGER PRIMARY KEY CHECK ("only" = 1), "version" INTEGER NOT NULL);
                INSERT OR IGNORE INTO "desk_version" VALUES (1, 1000);
                CREATE TABLE IF NOT EXISTS "desk_audit" (
                    "sequence" INTEGER PRIMARY KEY AUTOINCREMENT, "at" INTEGER NOT NULL, "actor" TEXT NOT NULL,
                    "action" TEXT NOT NULL, "tableName" TEXT NOT NULL, "row" TEXT NOT NULL, "changed" TEXT NOT NULL);
                CREATE INDEX IF NOT EXISTS "desk_audit_row" ON "desk_audit" ("row", "sequence");
                PRAGMA user_version = \(schemaVersion);
                """)
        for table in Tables.all {
            try database.execute(
                sql: """
                    CREATE TABLE IF NOT EXISTS "\(table.logicalName)" ("\(table.primaryKey)" TEXT PRIMARY KEY) WITHOUT ROWID
                    """)
            let present = Set(try database.columns(in: table.logicalName).map(\.name))
            for column in table.columns where !present.contains(column.name) {
                try database.execute(
                    sql: "ALTER TABLE \"\(table.logicalName)\" ADD COLUMN \"\(column.name)\" \(sqlType(column))")
            }
        }
        for (table, column) in indexed {
            try database.execute(
                sql: "CREATE INDEX IF NOT EXISTS \"\(table)_\(column)\" ON \"\(table)\" (\"\(column)\")")
        }
    }

    private static func sqlType(_ column: Column) -> String {
        switch column.kind {
        case .text, .lookup, .identifier: "TEXT"
        case .whole, .choice, .flag, .instant: "INTEGER"
        }
    }

    /// SQLite gives its journal files the mode of the database file, so it is enough to make that one private first.
    private static func makePrivate(_ path: String) throws {
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw DeskError(.fileAccess(errno), doing: "open desk.sqlite") }
        defer { Glibc.close(descriptor) }
        guard fchmod(descriptor, 0o600) == 0 else { throw DeskError(.fileAccess(errno), doing: "open desk.sqlite") }
    }
}

extension Cell {
    /// How the cell is stored and compared.
    var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .text(let text): text.databaseValue
        case .whole(let number): number.databaseValue
        case .flag(let flag): (flag ? 1 : 0).databaseValue
        case .instant(let instant): instant.milliseconds.databaseValue
        case .identifier(let id): id.description.databaseValue
        }
    }

    /// `nil` when the stored value does not have the column's type.
    init?(_ value: DatabaseValue, of column: Column) {
        if value.isNull {
            self = .null
            return
        }
        switch column.kind {
        case .text:
            guard let text = String.fromDatabaseValue(value) else { return nil }
            self = .text(text)
        case .whole, .choice:
            guard let number = Int64.fromDatabaseValue(value) else { return nil }
            self = .whole(number)
        case .flag:
            guard let number = Int64.fromDatabaseValue(value) else { return nil }
            self = .flag(number != 0)
        case .instant:
            guard let number = Int64.fromDatabaseValue(value) else { return nil }
            self = .instant(WallInstant(milliseconds: number))
        case .lookup, .identifier:
            guard let id = String.fromDatabaseValue(value).flatMap({ UniqueID($0) }) else { return nil }
            self = .identifier(id)
        }
    }
}
