import FoundationEssentials
import GRDB
import HubContract
import JSON
import Primitives
public import RuleLibrary
import RuleSets

extension HubSchema {
    /// Published sets of rules.
    static let ruleSetMigration = Migration(
        "rule sets",
        sql: """
            CREATE TABLE ruleset (
                version TEXT PRIMARY KEY NOT NULL,
                sha256 TEXT NOT NULL,
                text BLOB NOT NULL,
                rules INTEGER NOT NULL,
                cases INTEGER NOT NULL,
                publishedAt INTEGER NOT NULL
            ) STRICT;
            CREATE INDEX ruleset_by_hash ON ruleset (sha256);
            """)
}

/// The published sets of rules in `hub.sqlite`.
public struct SQLiteRuleSetStore: RuleSetStore {
    private let database: HubDatabase

    /// - Parameter database: opened with `HubSchema.hub`.
    public init(_ database: HubDatabase) { self.database = database }

    public func publish(_ set: PublishedRuleSet, text: [UInt8], setsMax: Int) async throws -> PublishedRuleSet {
        try await database.write { database in
            if let known = try Self.row(of: set.version, in: database).map(Self.set) {
                guard known.sha256 == set.sha256 else { throw RuleLibraryError.otherText(version: set.version) }
                return known
            }
            let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM ruleset") ?? 0
            guard count < setsMax else { throw RuleLibraryError.full(setsMax: setsMax) }
            try database.execute(
                sql: "INSERT INTO ruleset (version, sha256, text, rules, cases, publishedAt) VALUES (?, ?, ?, ?, ?, ?)",
                arguments: [
                    set.version, set.sha256, Data(text), set.ruleCount, set.caseCount, set.publishedAt.milliseconds,
                ])
            return set
        }
    }

    public func published() async throws -> [PublishedRuleSet] {
        try await read { database in
            try Row.fetchAll(
                database, sql: "SELECT \(Self.columns) FROM ruleset ORDER BY publishedAt DESC, version DESC"
            ).map(Self.set)
        }
    }

    public func text(version: String) async throws -> (set: PublishedRuleSet, text: [UInt8])? {
        try await read { database in
            guard let row = try Self.row(of: version, in: database) else { return nil }
            return (Self.set(row), Array(row["text"] as Data))
        }
    }

    public func text(sha256: String) async throws -> [UInt8]? {
        try await read { database in
            try Data.fetchOne(database, sql: "SELECT text FROM ruleset WHERE sha256 = ? LIMIT 1", arguments: [sha256])
                .map { Array($0) }
        }
    }

    public func withdraw(version: String) async throws -> Bool {
        try await database.write { database in
            try database.execute(sql: "DELETE FROM ruleset WHERE version = ?", arguments: [version])
            return database.changesCount > 0
        }
    }

    public func users(countMax: Int) async throws -> [RuleSetUser] {
        try await read { database in
            // Most devices have nothing to do with rules; their twins need not be read as JSON.
            let rows = try Row.fetchCursor(
                database,
                sql:
                    "SELECT device, document FROM twin WHERE module = '' AND document LIKE '%\"rules\"%' ORDER BY device"
            )
            var users: [RuleSetUser] = []
            while users.count < countMax, let row = try rows.next() {
                let text: String = row["document"]
                guard let device = DeviceID(row["device"] as String), let value = try? JSONValue(parsing: text),
                    let twin = TwinDocument(stored: value)
                else { continue }
                let wish = RuleSetWish(twin.desired.properties[RuleSetReference.property])
                let report = RuleSetReport(twin.reported.properties[RuleSetReference.property])
                // Every gateway reports that it runs none.
                guard wish != .none || report != RuleSetReport() else { continue }
                users.append(RuleSetUser(gateway: device, wish: wish, report: report))
            }
            return users
        }
    }

    private static let columns = "version, sha256, length(text) AS bytes, rules, cases, publishedAt"

    private static func row(of version: String, in database: Database) throws -> Row? {
        try Row.fetchOne(
            database, sql: "SELECT \(columns), text FROM ruleset WHERE version = ?", arguments: [version])
    }

    private static func set(_ row: Row) -> PublishedRuleSet {
        PublishedRuleSet(
            version: row["version"], sha256: row["sha256"], byteCount: row["bytes"], ruleCount: row["rules"],
            caseCount: row["cases"], publishedAt: WallInstant(milliseconds: row["publishedAt"]))
    }

    private func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            database.read(body) { continuation.resume(with: $0) }
        }
    }
}
