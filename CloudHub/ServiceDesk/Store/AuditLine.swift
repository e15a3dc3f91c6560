import GRDB
import Primitives

/// Who wrote which row, when, and what changed.
struct AuditLine: Sendable, Equatable {
    enum Action: String, Sendable { case create, update, delete }

    let at: WallInstant
    let actor: String
    let action: Action
    let tableName: String
    let row: UniqueID
    let changed: String

    init(at: WallInstant, actor: String, action: Action, table: Table, row: UniqueID, changed: String) {
        self.at = at
        self.actor = actor
        self.action = action
        tableName = table.logicalName
        self.row = row
        self.changed = changed
    }

    /// `nil` for a line of a kind that this version does not know.
    init?(_ stored: GRDB.Row) {
        guard let action = Action(rawValue: stored["action"]), let row = UniqueID(stored["row"] as String) else {
            return nil
        }
        at = WallInstant(milliseconds: stored["at"])
        actor = stored["actor"]
        self.action = action
        tableName = stored["tableName"]
        self.row = row
        changed = stored["changed"]
    }

    func insert(_ database: Database) throws {
        try database.execute(
            sql: """
                INSERT INTO "desk_audit" ("at", "actor", "action", "tableName", "row", "changed")
                VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [at.milliseconds, actor, action.rawValue, tableName, row.description, changed])
        let newest = database.lastInsertedRowID
        if newest % 1024 == 0 {
            try database.execute(
                sql: "DELETE FROM \"desk_audit\" WHERE \"sequence\" <= ?",
                arguments: [newest - DeskStore.auditRowsMax])
        }
    }
}
