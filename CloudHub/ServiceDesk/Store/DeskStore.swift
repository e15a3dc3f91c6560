import GRDB
import JSON
import Primitives

/// The rows of the desk: each write is one transaction with its audit line, durable when it returns.
final class DeskStore: Sendable {
    /// Audit lines kept; the oldest go first.
    static let auditRowsMax: Int64 = 500_000

    private let pool: DatabasePool
    private let now: @Sendable () -> WallInstant

    init(path: String, now: @escaping @Sendable () -> WallInstant) throws {
        pool = try DeskDatabase.open(path)
        self.now = now
    }

    func close() throws { try pool.close() }

    // MARK: - Reading

    func row(_ id: UniqueID, in table: Table) async throws -> Row? {
        try await pool.read { try RowTables(database: $0).row(id, in: table) }
    }

    /// Rows by id, for `$expand` and display names.
    func rows(_ ids: Set<UniqueID>, in table: Table) async throws -> [UniqueID: Row] {
        try await pool.read { database in
            let tables = RowTables(database: database)
            var found: [UniqueID: Row] = [:]
            for id in ids { found[id] = try tables.row(id, in: table) }
            return found
        }
    }

    /// - Returns: up to `limit` rows from the options' offset on, and how many match in all when that was asked for.
    func rows(
        _ options: QueryOptions, in table: Table, limit: Int
    ) async throws -> (rows: [Row], count: Int?) {
        try await pool.read { database in
            let tables = RowTables(database: database)
            let rows = try tables.rows(options, in: table, limit: limit)
            return (rows, options.wantsCount ? try tables.count(options, in: table) : nil)
        }
    }

    /// Audit lines of any of the rows, oldest first, the newest `limit` of them.
    func audit(of rows: [UniqueID], limit: Int) async throws -> [AuditLine] {
        guard !rows.isEmpty else { return [] }
        let marks = Array(repeating: "?", count: rows.count).joined(separator: ", ")
        return try await pool.read { database in
            try GRDB.Row.fetchAll(
                database,
                sql: """
                    SELECT "at", "actor", "action", "tableName", "row", "changed" FROM "desk_audit"
                    WHERE "row" IN (\(marks)) ORDER BY "sequence" DESC LIMIT ?
                    """,
                arguments: StatementArguments(rows.map(\.description.databaseValue) + [limit.databaseValue])
            ).reversed().compactMap(AuditLine.init)
        }
    }

    // MARK: - Writing

    enum Precondition: Sendable, Equatable {
        /// Update when there, create when not.
        case none
        /// `If-None-Match: *`
        case absent
        /// `If-Match: *`
        case present
        /// `If-Match: W/"n"`
        case version(Int64)
    }

    /// Creates a row under a new id, or under the one that the body names.
    func create(_ body: JSONValue, in table: Table, by actor: Actor) async throws -> Row {
        let named = body[table.primaryKey]?.stringValue.flatMap { UniqueID($0) }
        var random = SystemRandomNumberGenerator()
        let id = named ?? UniqueID.random(using: &random)
        return try await write(body, to: id, in: table, precondition: .absent, by: actor).row
    }

    /// Creates or updates the row under `id`, as the precondition allows.
    func write(
        _ body: JSONValue, to id: UniqueID, in table: Table, precondition: Precondition, by actor: Actor
    ) async throws -> (row: Row, isNew: Bool) {
        let instant = now()
        return try await pool.write { database in
            let writer = RowWriter(tables: RowTables(database: database), table: table, actor: actor, now: instant)
            guard let current = try writer.tables.row(id, in: table) else {
                guard precondition == .none || precondition == .absent else {
                    throw DataverseError.noSuchRow(table, id.description)
                }
                return (try writer.create(id, body), true)
            }
            switch precondition {
            case .absent: throw DataverseError.alreadyExists
            case .version(let version) where version != current.whole("versionnumber"):
                throw DataverseError.versionMismatch
            case .none, .present, .version: return (try writer.update(current, body), false)
            }
        }
    }

    /// Writes a page that changes nothing and waits until the disk has it.
    func checkWritable() async throws {
        try await pool.write { database in
            let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
            try database.execute(sql: "PRAGMA user_version = \(version)")
        }
    }

    /// Clears one lookup of a row.
    func clear(_ lookup: Column, of id: UniqueID, in table: Table, by actor: Actor) async throws {
        guard case .lookup(_, let navigation) = lookup.kind else {
            preconditionFailure("only a lookup can be cleared by its navigation property")
        }
        let body: JSONValue = .object(JSONObject([(key: navigation + "@odata.bind", value: .null)]))
        _ = try await write(body, to: id, in: table, precondition: .present, by: actor)
    }

    func delete(_ id: UniqueID, from table: Table, precondition: Precondition, by actor: Actor) async throws {
        let instant = now()
        try await pool.write { database in
            let tables = RowTables(database: database)
            guard let current = try tables.row(id, in: table) else {
                throw DataverseError.noSuchRow(table, id.description)
            }
            if case .version(let version) = precondition, version != current.whole("versionnumber") {
                throw DataverseError.versionMismatch
            }
            try tables.delete(id, from: table)
            try AuditLine(at: instant, actor: actor.name, action: .delete, table: table, row: id, changed: "")
                .insert(database)
        }
    }
}

/// Who writes: the id stands in `createdby` and `modifiedby`, the name in the audit.
struct Actor: Sendable, Equatable {
    let id: UniqueID
    let name: String
}
