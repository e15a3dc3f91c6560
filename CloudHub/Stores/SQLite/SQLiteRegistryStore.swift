import FoundationEssentials
import GRDB
public import Primitives
public import Registry

/// The registry in `hub.sqlite`.
public struct SQLiteRegistryStore: RegistryStore {
    private let database: HubDatabase

    /// - Parameter database: opened with `HubSchema.hub`.
    public init(_ database: HubDatabase) { self.database = database }

    public func loadDevices() throws -> [DeviceEntry] {
        try database.read { database in
            let rows = try Row.fetchCursor(database, sql: "SELECT id, document FROM device")
            var entries: [DeviceEntry] = []
            while let row = try rows.next() {
                entries.append(try Self.entry(row["id"], row["document"]))
            }
            return entries
        }
    }

    public func change(
        _ id: DeviceID,
        decide: @escaping @Sendable (DeviceEntry?) throws -> DeviceEntry?,
        committed: @escaping @Sendable (DeviceEntry?, DeviceEntry?) -> Void
    ) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            database.write(
                { database in
                    let text = try String.fetchOne(
                        database, sql: "SELECT document FROM device WHERE id = ?", arguments: [id.text])
                    let before = try text.map { try Self.entry(id.text, $0) }
                    let after = try decide(before)
                    try Self.write(id, before: before, after: after, in: database)
                    return (before, after)
                },
                completion: { result in
                    continuation.resume(with: result.map { before, after in committed(before, after) })
                })
        }
    }

    public func loadPolicies() throws -> [AccessPolicy] {
        try database.read { database in
            try Row.fetchAll(database, sql: "SELECT * FROM policy ORDER BY place").map { row in
                let names: String = row["rights"]
                return AccessPolicy(
                    name: row["name"],
                    rights: Set(names.split(separator: " ").compactMap { AccessRight(rawValue: String($0)) }),
                    primary: Secret(row["primaryKey"] as Data), secondary: Secret(row["secondaryKey"] as Data))
            }
        }
    }

    public func savePolicies(_ policies: [AccessPolicy]) async throws {
        try await database.write { database in
            try database.execute(sql: "DELETE FROM policy")
            for (place, policy) in policies.enumerated() {
                try database.execute(
                    sql: "INSERT INTO policy (name, place, rights, primaryKey, secondaryKey) VALUES (?, ?, ?, ?, ?)",
                    arguments: [
                        policy.name, place, policy.rights.map(\.rawValue).sorted().joined(separator: " "),
                        Data(policy.primary.bytes), Data(policy.secondary.bytes),
                    ])
            }
        }
    }

    /// Updates in place: replacing the row would take the twin and everything else that hangs on it away.
    private static func write(
        _ id: DeviceID, before: DeviceEntry?, after: DeviceEntry?, in database: Database
    ) throws {
        guard let after else {
            try database.execute(sql: "DELETE FROM device WHERE id = ?", arguments: [id.text])
            return
        }
        if let before, before.device.generationID != after.device.generationID {
            try database.execute(sql: "DELETE FROM device WHERE id = ?", arguments: [id.text])
        }
        try database.execute(
            sql: """
                INSERT INTO device (id, document) VALUES (?, ?)
                ON CONFLICT (id) DO UPDATE SET document = excluded.document
                """,
            arguments: [id.text, DeviceEntryDocument.text(after)])
        for module in before?.modules.keys.filter({ after.modules[$0] == nil }) ?? [] {
            for table in ["twin", "session", "activity"] {
                try database.execute(
                    sql: "DELETE FROM \(table) WHERE device = ? AND module = ?", arguments: [id.text, module])
            }
        }
    }

    private static func entry(_ id: String, _ text: String) throws -> DeviceEntry {
        guard let device = DeviceID(id), let entry = DeviceEntryDocument.entry(device, text) else {
            throw HubStoreError(.damaged, doing: "read the device \(id.prefix(128))", which: "hub.sqlite")
        }
        return entry
    }
}
