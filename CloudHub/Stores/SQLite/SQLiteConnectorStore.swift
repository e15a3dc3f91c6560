public import CRM
import GRDB
public import Primitives

/// What the connector knows of each command, in `hub.sqlite`.
public final class SQLiteConnectorStore: ConnectorStore {
    /// Creates the table; goes into the hub's schema as one step.
    public static let migration = Migration(
        "commands of the CRM connector",
        sql: """
            CREATE TABLE "connectorCommand" (
                "command" TEXT PRIMARY KEY, "state" TEXT NOT NULL, "verdict" TEXT, "reason" TEXT,
                "changedAt" INTEGER NOT NULL) WITHOUT ROWID;
            CREATE INDEX "connectorCommand_changed" ON "connectorCommand" ("state", "changedAt");
            """)

    private let database: HubDatabase

    public init(_ database: HubDatabase) { self.database = database }

    public func record(of command: UniqueID) async throws -> CommandRecord? {
        try database.read { database in
            try Row.fetchOne(
                database, sql: "SELECT * FROM \"connectorCommand\" WHERE \"command\" = ?",
                arguments: [command.description]
            ).map { try Self.record($0, of: command) }
        }
    }

    public func save(_ record: CommandRecord) async throws {
        let columns = Self.columns(record.state)
        try await database.write { database in
            try database.execute(
                sql: "INSERT OR REPLACE INTO \"connectorCommand\" VALUES (?, ?, ?, ?, ?)",
                arguments: [
                    record.command.description, columns.state, columns.verdict, columns.reason,
                    record.changedAt.milliseconds,
                ])
        }
    }

    public func forget(reportedBefore reported: WallInstant, anyBefore any: WallInstant) async throws {
        try await database.write { database in
            try database.execute(
                sql: """
                    DELETE FROM "connectorCommand" WHERE ("state" = 'reported' AND "changedAt" < ?) OR "changedAt" < ?
                    """, arguments: [reported.milliseconds, any.milliseconds])
        }
    }

    /// The column `reason` holds the method's name while a command is queued.
    private static func columns(
        _ state: CommandRecord.State
    ) -> (state: String, verdict: String?, reason: String?) {
        switch state {
        case .attempting: ("attempting", nil, nil)
        case .queued(let method): ("queued", nil, method)
        case .decided(let verdict): ("decided", verdict.kind.rawValue, verdict.reason)
        case .reported(let verdict): ("reported", verdict.kind.rawValue, verdict.reason)
        }
    }

    private static func record(_ row: Row, of command: UniqueID) throws -> CommandRecord {
        let changedAt = WallInstant(milliseconds: row["changedAt"])
        let verdict = (row["verdict"] as String?).flatMap(CommandVerdict.Kind.init(rawValue:)).map {
            CommandVerdict($0, row["reason"] ?? "")
        }
        switch (row["state"] as String, verdict) {
        case ("attempting", _): return CommandRecord(command: command, state: .attempting, changedAt: changedAt)
        case ("queued", _):
            return CommandRecord(command: command, state: .queued(row["reason"] ?? ""), changedAt: changedAt)
        case ("decided", let verdict?):
            return CommandRecord(command: command, state: .decided(verdict), changedAt: changedAt)
        case ("reported", let verdict?):
            return CommandRecord(command: command, state: .reported(verdict), changedAt: changedAt)
        default: throw DatabaseError(resultCode: .SQLITE_CORRUPT)
        }
    }
}
