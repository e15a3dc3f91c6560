public import GRDB

/// One step of a database schema. Steps are numbered by their place in their list (the first is 1), are only ever
/// appended, and never change once released.
public struct Migration: Sendable {
    /// What the step brings, for error texts: "registry", "fault queue".
    public let name: String
    let apply: @Sendable (Database) throws -> Void

    public init(_ name: String, apply: @escaping @Sendable (Database) throws -> Void) {
        self.name = name
        self.apply = apply
    }

    /// A step that is nothing but SQL statements.
    public init(_ name: String, sql: String) {
        self.init(name) { try $0.execute(sql: sql) }
    }
}

/// Brings a database to the last step of its list. The version is SQLite's `user_version`.
enum SchemaUpgrade {
    static func run(_ steps: [Migration], in pool: DatabasePool, file: String) throws {
        let found = try pool.read { try Int.fetchOne($0, sql: "PRAGMA user_version") ?? 0 }
        guard found <= steps.count else {
            throw HubStoreError(
                .schemaNewer(found: found, known: steps.count), doing: "open the database", which: file)
        }
        for (index, step) in steps.enumerated().dropFirst(found) {
            do {
                try pool.write { database in
                    try step.apply(database)
                    try database.execute(sql: "PRAGMA user_version = \(index + 1)")
                }
            } catch {
                throw HubStoreError.wrapping(
                    error, doing: "bring the schema to version \(index + 1) (\(step.name))", which: file)
            }
        }
    }
}
