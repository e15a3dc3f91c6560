public import Authorities
import FoundationEssentials
import GRDB
import Primitives

extension HubSchema {
    /// Certificate authorities of devices.
    static let authorityMigration = Migration(
        "certificate authorities",
        sql: """
            CREATE TABLE authority (
                name TEXT PRIMARY KEY NOT NULL,
                certificate BLOB NOT NULL,
                isProven INTEGER NOT NULL,
                code TEXT,
                revocationList BLOB,
                addedAt INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            """)
}

/// The certificate authorities in `hub.sqlite`.
public struct SQLiteAuthorityStore: AuthorityStore {
    private let database: HubDatabase

    /// - Parameter database: opened with `HubSchema.hub`.
    public init(_ database: HubDatabase) { self.database = database }

    public func loadAuthorities() throws -> [AuthorityRecord] { try database.read(Self.all) }

    public func changeAuthority(
        _ name: String,
        decide: @escaping @Sendable ([AuthorityRecord]) throws -> AuthorityRecord?,
        committed: @escaping @Sendable (AuthorityRecord?) -> Void
    ) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            database.write(
                { database in
                    let record = try decide(try Self.all(database))
                    try Self.write(record, name, in: database)
                    return record
                },
                completion: { result in continuation.resume(with: result.map(committed)) })
        }
    }

    private static func write(_ record: AuthorityRecord?, _ name: String, in database: Database) throws {
        try database.execute(sql: "DELETE FROM authority WHERE name = ?", arguments: [name])
        guard let record else { return }
        try database.execute(
            sql: """
                INSERT INTO authority (name, certificate, isProven, code, revocationList, addedAt)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                name, Data(record.certificate), record.isProven, record.code, record.revocationList.map { Data($0) },
                record.addedAt.milliseconds,
            ])
    }

    private static func all(_ database: Database) throws -> [AuthorityRecord] {
        try Row.fetchAll(database, sql: "SELECT * FROM authority ORDER BY name").map { row in
            AuthorityRecord(
                name: row["name"], certificate: Array(row["certificate"] as Data), isProven: row["isProven"],
                code: row["code"], revocationList: (row["revocationList"] as Data?).map { Array($0) },
                addedAt: WallInstant(milliseconds: row["addedAt"]))
        }
    }
}
