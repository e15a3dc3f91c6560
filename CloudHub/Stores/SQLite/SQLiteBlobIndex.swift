public import BlobStore
import FoundationEssentials
import GRDB
import JSON
public import Primitives

/// The list of blobs in `hub.sqlite`. A part that waits for its block list has no place. Times are milliseconds since
/// 1970.
public struct SQLiteBlobIndex: BlobIndex {
    static let migration = Migration(
        "uploaded files",
        sql: """
            CREATE TABLE blob (
                name TEXT PRIMARY KEY NOT NULL,
                owner TEXT NOT NULL,
                bytes INTEGER NOT NULL,
                etag TEXT NOT NULL,
                md5 BLOB,
                headers TEXT NOT NULL,
                created INTEGER NOT NULL,
                modified INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX blob_by_owner ON blob (owner, modified);
            CREATE INDEX blob_by_age ON blob (modified);
            CREATE TABLE blob_part (
                file TEXT PRIMARY KEY NOT NULL,
                blob TEXT NOT NULL,
                block TEXT NOT NULL,
                bytes INTEGER NOT NULL,
                place INTEGER,
                staged INTEGER NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX blob_part_of_blob ON blob_part (blob, place);
            CREATE INDEX blob_part_staged ON blob_part (staged) WHERE place IS NULL;
            CREATE TABLE blob_key (id INTEGER PRIMARY KEY CHECK (id = 1), key BLOB NOT NULL) STRICT;
            """)

    static let bucketMigration = Migration(
        "files in a bucket",
        sql: """
            ALTER TABLE blob ADD COLUMN in_bucket INTEGER NOT NULL DEFAULT 0;
            CREATE TABLE blob_carry (upload TEXT PRIMARY KEY NOT NULL, blob TEXT NOT NULL) STRICT, WITHOUT ROWID;
            """)

    private let database: HubDatabase

    /// - Parameter database: opened with `HubSchema.hub`.
    public init(_ database: HubDatabase) { self.database = database }

    /// The files of the folder that the list in a copied `hub.sqlite` points to.
    public static func files(in path: String) throws -> [BlobPart] {
        var configuration = Configuration()
        configuration.readonly = true
        do {
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let parts = try queue.read { try inFolder($0) }
            try queue.close()
            return parts
        } catch { throw HubStoreError.wrapping(error, doing: "read the list of files", which: "hub.sqlite") }
    }

    private static func inFolder(_ database: Database) throws -> [BlobPart] {
        try parts(
            database,
            sql: """
                SELECT blob_part.* FROM blob_part LEFT JOIN blob ON blob.name = blob_part.blob
                WHERE place IS NULL OR NOT in_bucket
                """)
    }

    public func signingKey() async throws -> Secret {
        let known = try database.read { try Data.fetchOne($0, sql: "SELECT key FROM blob_key") }
        if let known { return Secret(known) }
        var random = SystemRandomNumberGenerator()
        let fresh = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        return try await database.write { database in
            try database.execute(sql: "INSERT OR IGNORE INTO blob_key VALUES (1, ?)", arguments: [Data(fresh)])
            return Secret(try Data.fetchOne(database, sql: "SELECT key FROM blob_key") ?? Data(fresh))
        }
    }

    public func parts() async throws -> [BlobPart] {
        try await read { try Self.inFolder($0) }
    }

    public func forget(missing: [UniqueID]) async throws -> [BlobPart] {
        try await database.write { database in
            var freed: [BlobPart] = []
            for file in missing {
                let row = try Row.fetchOne(
                    database, sql: "SELECT blob, place FROM blob_part WHERE file = ?", arguments: [file.description])
                guard let row else { continue }
                if row["place"] as Int? == nil {
                    try database.execute(sql: "DELETE FROM blob_part WHERE file = ?", arguments: [file.description])
                } else {
                    freed += try Self.drop(row["blob"], in: database)
                }
            }
            return freed
        }
    }

    public func blob(_ name: BlobName) async throws -> StoredBlob? {
        try await read { database in
            guard let facts = try Self.facts(name.text, in: database) else { return nil }
            return StoredBlob(
                facts: facts, parts: try Self.placed(name, in: database),
                isInBucket: try Self.isInBucket(name.text, in: database))
        }
    }

    public func list(owner: String?, most: Int) async throws -> [BlobFacts] {
        try await read { database in
            let condition = owner == nil ? "" : "WHERE owner = ?"
            var arguments: StatementArguments = []
            if let owner { arguments += [owner] }
            arguments += [most]
            return try Row.fetchAll(
                database, sql: "SELECT * FROM blob \(condition) ORDER BY modified DESC LIMIT ?", arguments: arguments
            ).compactMap(Self.facts)
        }
    }

    public func put(_ blob: StoredBlob, if condition: BlobCondition) async throws -> BlobChange {
        try await database.write { database in
            let old = try Self.facts(blob.facts.name.text, in: database)
            if let problem = condition.problem(etag: old?.etag) { return .refused(problem) }
            let freed = try Self.drop(blob.facts.name.text, in: database)
            try Self.save(blob.facts, isInBucket: blob.isInBucket, replacing: old, in: database)
            for (place, part) in blob.parts.enumerated() {
                try Self.add(part, of: blob.facts.name, place: place, at: blob.facts.modifiedAt, in: database)
            }
            return .done(freed: freed)
        }
    }

    public func stage(_ part: BlobPart, of blob: BlobName, at now: WallInstant) async throws -> BlobChange {
        try await database.write { database in
            let arguments: StatementArguments = [blob.text, part.block]
            let old = try Self.parts(
                database, sql: "SELECT * FROM blob_part WHERE blob = ? AND place IS NULL AND block = ?",
                arguments: arguments)
            try database.execute(
                sql: "DELETE FROM blob_part WHERE blob = ? AND place IS NULL AND block = ?", arguments: arguments)
            let count = try Int.fetchOne(
                database, sql: "SELECT count(*) FROM blob_part WHERE blob = ? AND place IS NULL", arguments: [blob.text]
            )
            guard count ?? 0 < Blobs.blocksMax else { return .refused(.blockCountExceedsLimit) }
            try Self.add(part, of: blob, place: nil, at: now, in: database)
            return .done(freed: old)
        }
    }

    public func blocks(of blob: BlobName) async throws -> (committed: [BlobPart], staged: [BlobPart]) {
        try await read { (try Self.placed(blob, in: $0), try Self.staged(blob, in: $0)) }
    }

    public func choose(_ list: [BlockChoice], of blob: BlobName) async throws -> [ChosenBlock]? {
        try await read { try Self.choose(list, blob, in: $0) }
    }

    public func commit(
        _ facts: BlobFacts, of list: [BlockChoice], if condition: BlobCondition, bytesMax: Int64,
        carried: [ChosenBlock]?
    ) async throws -> BlobChange {
        try await database.write { database in
            let old = try Self.facts(facts.name.text, in: database)
            if let problem = condition.problem(etag: old?.etag) { return .refused(problem) }
            let files = try Self.files(of: facts.name.text, in: database)
            guard let found = try Self.choose(list, facts.name, in: database) else {
                return .refused(.invalidBlockList)
            }
            if let carried {
                guard carried == found else { return .refused(.serverBusy) }
            } else if found.contains(where: { $0.offset != nil }) {
                return .refused(.invalidBlockList)  // in a bucket that is no longer configured
            }
            let chosen = found.map(\.part)
            var now = facts
            now.bytes = chosen.reduce(0) { $0 + $1.bytes }
            guard now.bytes <= bytesMax else { return .refused(.requestBodyTooLarge) }
            try database.execute(sql: "DELETE FROM blob_part WHERE blob = ?", arguments: [facts.name.text])
            for (place, part) in chosen.enumerated() {
                try Self.add(part, of: facts.name, place: place, at: facts.modifiedAt, in: database)
            }
            try Self.save(now, isInBucket: carried != nil, replacing: old, in: database)
            let kept = carried == nil ? Set(chosen.map(\.file)) : []
            return .done(freed: files.filter { !kept.contains($0.file) })
        }
    }

    public func remove(_ name: BlobName) async throws -> [BlobPart]? {
        try await database.write { database in
            guard try Self.facts(name.text, in: database) != nil else { return nil }
            return try Self.drop(name.text, in: database)
        }
    }

    public func removeStaged(of name: BlobName) async throws -> [BlobPart] {
        try await database.write { database in
            let parts = try Self.staged(name, in: database)
            try database.execute(
                sql: "DELETE FROM blob_part WHERE blob = ? AND place IS NULL", arguments: [name.text])
            return parts
        }
    }

    public func removeOld(
        blobsBefore: WallInstant, stagedBefore: WallInstant, most: Int
    ) async throws -> [BlobPart] {
        try await database.write { database in
            let staged = try Self.parts(
                database, sql: "SELECT * FROM blob_part WHERE place IS NULL AND staged < ? LIMIT ?",
                arguments: [stagedBefore.milliseconds, most])
            for part in staged {
                try database.execute(
                    sql: "DELETE FROM blob_part WHERE file = ?", arguments: [part.file.description])
            }
            var freed = staged
            let names = try String.fetchAll(
                database, sql: "SELECT name FROM blob WHERE modified < ? AND NOT in_bucket ORDER BY modified LIMIT ?",
                arguments: [blobsBefore.milliseconds, most])
            for name in names where freed.count < most { freed += try Self.drop(name, in: database) }
            return freed
        }
    }

    public func oldInBucket(before: WallInstant, most: Int) async throws -> [BlobName] {
        try await read { database in
            try String.fetchAll(
                database, sql: "SELECT name FROM blob WHERE modified < ? AND in_bucket ORDER BY modified LIMIT ?",
                arguments: [before.milliseconds, most]
            ).compactMap { BlobName($0) }
        }
    }

    public func begin(_ carry: OpenCarry) async throws {
        try await database.write { database in
            try database.execute(
                sql: "INSERT OR REPLACE INTO blob_carry VALUES (?, ?)", arguments: [carry.upload, carry.blob.text])
        }
    }

    public func end(_ carry: OpenCarry) async throws {
        try await database.write {
            try $0.execute(sql: "DELETE FROM blob_carry WHERE upload = ?", arguments: [carry.upload])
        }
    }

    public func openCarries() async throws -> [OpenCarry] {
        try await read { database in
            try Row.fetchAll(database, sql: "SELECT upload, blob FROM blob_carry").compactMap { row in
                BlobName(row["blob"] as String).map { OpenCarry(upload: row["upload"], blob: $0) }
            }
        }
    }
}

// MARK: - Rows

extension SQLiteBlobIndex {
    private func read<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            database.read(body) { continuation.resume(with: $0) }
        }
    }

    /// Forgets the blob, its blocks and those that wait for its list; returns their files.
    private static func drop(_ name: String, in database: Database) throws -> [BlobPart] {
        let parts = try files(of: name, in: database)
        try database.execute(sql: "DELETE FROM blob_part WHERE blob = ?", arguments: [name])
        try database.execute(sql: "DELETE FROM blob WHERE name = ?", arguments: [name])
        return parts
    }

    /// What the blob has in the folder.
    private static func files(of name: String, in database: Database) throws -> [BlobPart] {
        let condition = try isInBucket(name, in: database) ? "AND place IS NULL" : ""
        return try parts(database, sql: "SELECT * FROM blob_part WHERE blob = ? \(condition)", arguments: [name])
    }

    private static func isInBucket(_ name: String, in database: Database) throws -> Bool {
        try Bool.fetchOne(database, sql: "SELECT in_bucket FROM blob WHERE name = ?", arguments: [name]) ?? false
    }

    private static func choose(
        _ list: [BlockChoice], _ blob: BlobName, in database: Database
    ) throws -> [ChosenBlock]? {
        let byID = { (parts: [ChosenBlock]) in
            [String: ChosenBlock](parts.map { ($0.part.block, $0) }, uniquingKeysWith: { first, _ in first })
        }
        let isInBucket = try isInBucket(blob.text, in: database)
        var offset: Int64 = 0
        let committed = byID(
            try placed(blob, in: database).map { part in
                defer { offset += part.bytes }
                return ChosenBlock(part, offset: isInBucket ? offset : nil)
            })
        let staged = byID(try self.staged(blob, in: database).map { ChosenBlock($0, offset: nil) })
        var chosen: [ChosenBlock] = []
        var seen: Set<UniqueID> = []
        for choice in list {
            let part =
                switch choice.place {
                case .committed: committed[choice.block]
                case .uncommitted: staged[choice.block]
                case .latest: staged[choice.block] ?? committed[choice.block]
                }
            guard let part, seen.insert(part.part.file).inserted else { return nil }
            chosen.append(part)
        }
        return chosen
    }

    private static func placed(_ blob: BlobName, in database: Database) throws -> [BlobPart] {
        try parts(
            database, sql: "SELECT * FROM blob_part WHERE blob = ? AND place IS NOT NULL ORDER BY place",
            arguments: [blob.text])
    }

    private static func staged(_ blob: BlobName, in database: Database) throws -> [BlobPart] {
        try parts(
            database, sql: "SELECT * FROM blob_part WHERE blob = ? AND place IS NULL ORDER BY staged, block",
            arguments: [blob.text])
    }

    private static func add(
        _ part: BlobPart, of blob: BlobName, place: Int?, at now: WallInstant, in database: Database
    ) throws {
        try database.execute(
            sql: "INSERT INTO blob_part (file, blob, block, bytes, place, staged) VALUES (?, ?, ?, ?, ?, ?)",
            arguments: [part.file.description, blob.text, part.block, part.bytes, place, now.milliseconds])
    }

    private static func save(
        _ facts: BlobFacts, isInBucket: Bool, replacing old: BlobFacts?, in database: Database
    ) throws {
        let headers = JSONObject(facts.headers.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.string($0.value)) })
        try database.execute(
            sql: """
                INSERT OR REPLACE INTO blob (name, owner, bytes, etag, md5, headers, created, modified, in_bucket)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                facts.name.text, facts.name.owner, facts.bytes, facts.etag, facts.md5.map { Data($0) },
                JSONValue.object(headers).text, (old?.createdAt ?? facts.createdAt).milliseconds,
                facts.modifiedAt.milliseconds, isInBucket,
            ])
    }

    private static func facts(_ name: String, in database: Database) throws -> BlobFacts? {
        try Row.fetchOne(database, sql: "SELECT * FROM blob WHERE name = ?", arguments: [name]).flatMap(facts)
    }

    private static func facts(_ row: Row) -> BlobFacts? {
        guard let name = BlobName(row["name"] as String) else { return nil }
        let document = try? JSONValue(parsing: Array((row["headers"] as String).utf8))
        var headers: [String: String] = [:]
        for member in document?.objectValue?.members ?? [] { headers[member.key] = member.value.stringValue }
        return BlobFacts(
            name: name, bytes: row["bytes"], etag: row["etag"], md5: (row["md5"] as Data?).map { Array($0) },
            headers: headers, createdAt: WallInstant(milliseconds: row["created"]),
            modifiedAt: WallInstant(milliseconds: row["modified"]))
    }

    private static func parts(
        _ database: Database, sql: String, arguments: StatementArguments = []
    ) throws -> [BlobPart] {
        try Row.fetchAll(database, sql: sql, arguments: arguments).compactMap { row in
            guard let file = UniqueID(row["file"] as String) else { return nil }
            return BlobPart(block: row["block"], file: file, bytes: row["bytes"])
        }
    }
}
