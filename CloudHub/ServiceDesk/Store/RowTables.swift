import GRDB
import Primitives

/// Reads and writes rows inside a transaction that the caller holds.
struct RowTables {
    let database: Database

    func row(_ id: UniqueID, in table: Table) throws -> Row? {
        try GRDB.Row.fetchOne(
            database, sql: "SELECT * FROM \"\(table.logicalName)\" WHERE \"\(table.primaryKey)\" = ?",
            arguments: [id.description]
        ).map { try Self.row($0, of: table) }
    }

    func rows(_ options: QueryOptions, in table: Table, limit: Int) throws -> [Row] {
        let condition = options.filter?.sql(table: table)
        var sql = "SELECT r.* FROM \"\(table.logicalName)\" r"
        if let condition { sql += " WHERE \(condition.sql)" }
        sql += " ORDER BY " + order(options, table) + " LIMIT ? OFFSET ?"
        let arguments = (condition?.arguments ?? []) + [limit.databaseValue, options.offset.databaseValue]
        return try GRDB.Row.fetchAll(database, sql: sql, arguments: StatementArguments(arguments))
            .map { try Self.row($0, of: table) }
    }

    func count(_ options: QueryOptions, in table: Table) throws -> Int {
        let condition = options.filter?.sql(table: table)
        var sql = "SELECT COUNT(*) FROM \"\(table.logicalName)\" r"
        if let condition { sql += " WHERE \(condition.sql)" }
        return try Int.fetchOne(database, sql: sql, arguments: StatementArguments(condition?.arguments ?? [])) ?? 0
    }

    func first(of table: Table, where column: String, is text: String) throws -> UniqueID? {
        try String.fetchOne(
            database,
            sql: """
                SELECT "\(table.primaryKey)" FROM "\(table.logicalName)"
                WHERE "\(column)" = ? COLLATE NOCASE ORDER BY "versionnumber" LIMIT 1
                """, arguments: [text]
        ).flatMap { UniqueID($0) }
    }

    func insert(_ row: Row, in table: Table) throws {
        let names = table.columns.map(\.name)
        let values = [row.id.description.databaseValue] + names.map { row[$0].databaseValue }
        let columns = ([table.primaryKey] + names).map { "\"\($0)\"" }.joined(separator: ", ")
        let marks = Array(repeating: "?", count: values.count).joined(separator: ", ")
        try database.execute(
            sql: "INSERT INTO \"\(table.logicalName)\" (\(columns)) VALUES (\(marks))",
            arguments: StatementArguments(values))
    }

    func update(_ id: UniqueID, with cells: [String: Cell], in table: Table) throws {
        let names = cells.keys.sorted()
        let assignments = names.map { "\"\($0)\" = ?" }.joined(separator: ", ")
        let values = names.map { (cells[$0] ?? .null).databaseValue } + [id.description.databaseValue]
        try database.execute(
            sql: "UPDATE \"\(table.logicalName)\" SET \(assignments) WHERE \"\(table.primaryKey)\" = ?",
            arguments: StatementArguments(values))
    }

    /// Deletes the row and clears every lookup that pointed to it (RemoveLink), in all tables.
    func delete(_ id: UniqueID, from table: Table) throws {
        try database.execute(
            sql: "DELETE FROM \"\(table.logicalName)\" WHERE \"\(table.primaryKey)\" = ?",
            arguments: [id.description])
        for other in Tables.all {
            for column in other.columns {
                guard case .lookup(table.logicalName, _) = column.kind else { continue }
                let version = try nextVersion()
                try database.execute(
                    sql: """
                        UPDATE "\(other.logicalName)" SET "\(column.name)" = NULL, "versionnumber" = ?
                        WHERE "\(column.name)" = ?
                        """, arguments: [version, id.description])
            }
        }
    }

    /// Row versions rise over all tables together.
    func nextVersion() throws -> Int64 {
        try Int64.fetchOne(
            database, sql: "UPDATE \"desk_version\" SET \"version\" = \"version\" + 1 RETURNING \"version\"") ?? 0
    }

    private func order(_ options: QueryOptions, _ table: Table) -> String {
        var parts = options.orders.map { order in
            "r.\"\(order.column.name)\"" + (order.column.isText ? " COLLATE NOCASE" : "")
                + (order.isDescending ? " DESC" : " ASC")
        }
        // The key last: pages must not overlap when rows tie.
        parts.append("r.\"\(table.primaryKey)\" ASC")
        return parts.joined(separator: ", ")
    }

    private static func row(_ stored: GRDB.Row, of table: Table) throws -> Row {
        let key: String = stored[table.primaryKey]
        guard let id = UniqueID(key) else { throw DatabaseError(resultCode: .SQLITE_CORRUPT) }
        var cells: [String: Cell] = [:]
        for column in table.columns {
            guard let cell = Cell(stored[column.name] as DatabaseValue, of: column) else {
                throw DatabaseError(resultCode: .SQLITE_CORRUPT)
            }
            cells[column.name] = cell
        }
        return Row(id: id, cells: cells)
    }
}
