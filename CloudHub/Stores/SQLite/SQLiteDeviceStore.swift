public import Devices
import GRDB
public import HubContract
import JSON
import Primitives
public import Sessions

/// Twins, stored subscriptions and activity in `hub.sqlite`; the queues are in the other file of this type.
public struct SQLiteDeviceStore: DeviceStore {
    let database: HubDatabase

    /// - Parameter database: opened with `HubSchema.hub`.
    public init(_ database: HubDatabase) { self.database = database }

    // MARK: - Twins

    public func twin(
        of who: HubIdentity, completion: @escaping @Sendable (Result<TwinDocument?, any Error>) -> Void
    ) {
        database.read({ try Self.twin(of: who, in: $0) }, completion: completion)
    }

    public func changeTwin<T: Sendable>(
        of who: HubIdentity,
        decide: @escaping @Sendable (TwinDocument?) throws -> (TwinDocument, T),
        completion: @escaping @Sendable (Result<T, any Error>) -> Void
    ) {
        // A patch of a twin is what devices write most: nothing of it is compiled twice.
        database.writeWhole(
            { database in
                let (document, answer) = try decide(try Self.twin(of: who, in: database))
                let statement = try database.cachedStatement(
                    sql: """
                        INSERT INTO twin (device, module, document) VALUES (?, ?, ?)
                        ON CONFLICT (device, module) DO UPDATE SET document = excluded.document
                        """)
                try statement.execute(arguments: [who.device.text, who.module ?? "", document.stored().text])
                return answer
            }, completion: completion)
    }

    private static func twin(of who: HubIdentity, in database: Database) throws -> TwinDocument? {
        let statement = try database.cachedStatement(sql: "SELECT document FROM twin WHERE device = ? AND module = ?")
        let text = try String.fetchOne(statement, arguments: [who.device.text, who.module ?? ""])
        guard let text else { return nil }
        guard let value = try? JSONValue(parsing: text), let twin = TwinDocument(stored: value) else {
            throw HubStoreError(.damaged, doing: "read the twin of \(who)", which: "hub.sqlite")
        }
        return twin
    }

    // MARK: - Subscriptions

    public func loadSubscriptions() throws -> [HubIdentity: Set<StoredSubscription>] {
        try database.read { database in
            let rows = try Row.fetchAll(database, sql: "SELECT device, module, subscriptions FROM session")
            return try rows.reduce(into: [:]) { all, row in
                all[try Self.identity(row)] = SubscriptionText.set(row["subscriptions"])
            }
        }
    }

    public func setSubscriptions(
        of who: HubIdentity, to subscriptions: Set<StoredSubscription>,
        completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        database.write(
            { database in
                guard !subscriptions.isEmpty else {
                    try database.execute(
                        sql: "DELETE FROM session WHERE device = ? AND module = ?",
                        arguments: [who.device.text, who.module ?? ""])
                    return
                }
                try database.execute(
                    sql: """
                        INSERT INTO session (device, module, subscriptions) VALUES (?, ?, ?)
                        ON CONFLICT (device, module) DO UPDATE SET subscriptions = excluded.subscriptions
                        """,
                    arguments: [who.device.text, who.module ?? "", SubscriptionText.text(subscriptions)])
            }, completion: completion)
    }

    // MARK: - Activity

    public func loadActivity() throws -> [HubIdentity: DeviceActivity] {
        try database.read { database in
            let rows = try Row.fetchCursor(database, sql: "SELECT * FROM activity")
            var all: [HubIdentity: DeviceActivity] = [:]
            while let row = try rows.next() {
                var activity = DeviceActivity()
                activity.connectionChangedAt = WallInstant(milliseconds: row["connectionChanged"])
                activity.lastActivityAt = WallInstant(milliseconds: row["lastActivity"])
                all[try Self.identity(row)] = activity
            }
            return all
        }
    }

    /// Those whose identity is gone meanwhile are left out.
    public func setActivity(_ changed: [HubIdentity: DeviceActivity]) async throws {
        try await database.write { database in
            for (who, activity) in changed {
                try database.execute(
                    sql: """
                        INSERT INTO activity (device, module, connectionChanged, lastActivity)
                        SELECT id, ?, ?, ? FROM device WHERE id = ?
                        ON CONFLICT (device, module) DO UPDATE SET
                            connectionChanged = excluded.connectionChanged, lastActivity = excluded.lastActivity
                        """,
                    arguments: [
                        who.module ?? "", activity.connectionChangedAt.milliseconds,
                        activity.lastActivityAt.milliseconds, who.device.text,
                    ])
            }
        }
    }

    static func identity(_ row: Row) throws -> HubIdentity {
        let device: String = row["device"]
        let module: String = row["module"]
        guard let who = HubIdentity(module.isEmpty ? device : "\(device)/\(module)") else {
            throw HubStoreError(.damaged, doing: "read an identity", which: "hub.sqlite")
        }
        return who
    }
}

/// Stored subscriptions as text: one a line, `scope subscription QoS`, the scope being `.`, `+` or `=child`.
enum SubscriptionText {
    static func text(_ subscriptions: Set<StoredSubscription>) -> String {
        let lines = subscriptions.map { entry in
            let scope =
                switch entry.scope {
                case .own: "."
                case .everyChild: "+"
                case .child(let id): "=\(id)"
                }
            return "\(scope) \(entry.subscription.rawValue) \(entry.grantedQoS)"
        }
        return lines.sorted().joined(separator: "\n")
    }

    /// Lines that a later version wrote and this one cannot read are left out.
    static func set(_ text: String) -> Set<StoredSubscription> {
        Set(
            text.split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard words.count == 3, let scope = scope(words[0]),
                    let subscription = DeviceSubscription(rawValue: String(words[1])), let qos = UInt8(words[2]),
                    qos <= 1
                else { return nil }
                return StoredSubscription(scope: scope, subscription: subscription, grantedQoS: qos)
            })
    }

    private static func scope(_ word: Substring) -> StoredSubscription.Scope? {
        switch word.first {
        case ".": .own
        case "+": .everyChild
        case "=": DeviceID(word.dropFirst()).map(StoredSubscription.Scope.child)
        default: nil
        }
    }
}
