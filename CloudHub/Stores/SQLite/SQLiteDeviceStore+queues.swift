public import Devices
import FoundationEssentials
import GRDB
import HubContract
public import Primitives

extension SQLiteDeviceStore {
    public func loadQueues() throws -> (counts: [DeviceID: Int], firstExpiry: WallInstant?) {
        try database.read { database in
            let rows = try Row.fetchAll(database, sql: "SELECT device, count(*) AS waiting FROM c2d GROUP BY device")
            let counts = rows.reduce(into: [DeviceID: Int]()) { counts, row in
                if let device = DeviceID(row["device"] as String) { counts[device] = row["waiting"] }
            }
            return (counts, try Self.firstExpiry(database))
        }
    }

    public func enqueue(
        _ message: QueuedMessage, for device: DeviceID, most: Int,
        completion: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        database.write(
            { database in
                let waiting = try Int.fetchOne(
                    database, sql: "SELECT count(*) FROM c2d WHERE device = ?", arguments: [device.text])
                guard (waiting ?? 0) < most else {
                    throw HubError(
                        .deviceMaximumQueueDepthExceeded, "\(most) messages wait for device \(device) already")
                }
                try database.execute(
                    sql: """
                        INSERT INTO c2d (device, token, messageID, bag, payload, expires, deliveries, wantsOutcome)
                        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                        """,
                    arguments: [
                        device.text, message.token.description, message.messageID, message.bagText,
                        Data(message.payload), message.expiresAt.milliseconds, message.deliveries,
                        message.wantsOutcome,
                    ])
            }, completion: completion)
    }

    public func takeForDelivery(
        _ device: DeviceID, now: WallInstant, deliveriesMax: Int, underWay: @escaping @Sendable () -> Set<UniqueID>?,
        completion: @escaping @Sendable (Result<(messages: [QueuedMessage], ended: [C2DOutcome]), any Error>) -> Void
    ) {
        database.write(
            { database in
                guard let tokens = underWay()?.map(\.description) else { return ([], []) }
                var ended = try Self.end(
                    .expired, "device = ? AND expires <= ?", [device.text, now.milliseconds], in: database)
                let waiting = "device = ? AND token NOT IN (\(databaseQuestionMarks(count: tokens.count)))"
                let arguments = StatementArguments([device.text] + tokens)
                ended += try Self.end(
                    .deliveryCountExceeded, waiting + " AND deliveries >= ?", arguments + [deliveriesMax], in: database)
                let rows = try Row.fetchAll(
                    database, sql: "SELECT * FROM c2d WHERE \(waiting) ORDER BY sequence", arguments: arguments)
                if !rows.isEmpty {
                    try database.execute(
                        sql: "UPDATE c2d SET deliveries = deliveries + 1 WHERE \(waiting)", arguments: arguments)
                }
                return (try rows.map(Self.message), ended)
            }, completion: completion)
    }

    public func complete(
        _ token: UniqueID, of device: DeviceID,
        completion: @escaping @Sendable (Result<C2DOutcome?, any Error>) -> Void
    ) {
        database.write(
            { database in
                try Self.end(.completed, "token = ? AND device = ?", [token.description, device.text], in: database)
                    .first
            }, completion: completion)
    }

    public func expire(now: WallInstant) async throws -> (ended: [C2DOutcome], next: WallInstant?) {
        try await database.write { database in
            let ended = try Self.end(.expired, "expires <= ?", [now.milliseconds], in: database)
            return (ended, try Self.firstExpiry(database))
        }
    }

    public func purge(_ device: DeviceID) async throws -> [C2DOutcome] {
        try await database.write { try Self.end(.purged, "device = ?", [device.text], in: $0) }
    }

    public func storedOutcomes() async throws -> [C2DOutcome] {
        try await withCheckedThrowingContinuation { continuation in
            database.read(
                { database in
                    try Row.fetchAll(database, sql: "SELECT * FROM c2d_outcome ORDER BY sequence").map {
                        try Self.outcome($0, C2DOutcome.Kind(rawValue: $0["kind"]), isStored: true)
                    }
                },
                completion: { continuation.resume(with: $0) })
        }
    }

    public func fate(ofMessage messageID: String, for device: DeviceID) async throws -> C2DFate {
        try await withCheckedThrowingContinuation { continuation in
            database.read(
                { database in
                    let arguments: StatementArguments = [device.text, messageID]
                    let waits = try Bool.fetchOne(
                        database, sql: "SELECT EXISTS (SELECT 1 FROM c2d WHERE device = ? AND messageID = ?)",
                        arguments: arguments)
                    if waits == true { return .waits }
                    let ended = try Row.fetchOne(
                        database,
                        sql:
                            "SELECT * FROM c2d_outcome WHERE device = ? AND messageID = ? ORDER BY sequence DESC LIMIT 1",
                        arguments: arguments)
                    return try ended.map {
                        .ended(try Self.outcome($0, C2DOutcome.Kind(rawValue: $0["kind"]), isStored: true))
                    } ?? .unknown
                },
                completion: { continuation.resume(with: $0) })
        }
    }

    public func outcomesHandled(_ tokens: [UniqueID]) async throws {
        try await database.write { database in
            for token in tokens {
                try database.execute(sql: "DELETE FROM c2d_outcome WHERE token = ?", arguments: [token.description])
            }
        }
    }

    /// Takes messages out of their queues, and keeps the outcome of those that asked for it.
    private static func end(
        _ kind: C2DOutcome.Kind, _ condition: String, _ arguments: StatementArguments, in database: Database
    ) throws -> [C2DOutcome] {
        let rows = try Row.fetchAll(
            database,
            sql: """
                DELETE FROM c2d WHERE \(condition)
                RETURNING sequence, device, token, messageID, deliveries, wantsOutcome
                """, arguments: arguments)
        return try rows.sorted { ($0["sequence"] as Int64) < ($1["sequence"] as Int64) }.map { row in
            let outcome = try outcome(row, kind, isStored: row["wantsOutcome"])
            if outcome.isStored {
                try database.execute(
                    sql: """
                        INSERT INTO c2d_outcome (token, device, messageID, kind, deliveries) VALUES (?, ?, ?, ?, ?)
                        """,
                    arguments: [
                        outcome.token.description, outcome.device.text, outcome.messageID, outcome.kind.rawValue,
                        outcome.deliveries,
                    ])
            }
            return outcome
        }
    }

    private static func firstExpiry(_ database: Database) throws -> WallInstant? {
        try Int64.fetchOne(database, sql: "SELECT min(expires) FROM c2d").map { WallInstant(milliseconds: $0) }
    }

    private static func message(_ row: Row) throws -> QueuedMessage {
        guard let token = UniqueID(row["token"] as String) else { throw damaged }
        return QueuedMessage(
            token: token, messageID: row["messageID"], bagText: row["bag"], payload: Array(row["payload"] as Data),
            expiresAt: WallInstant(milliseconds: row["expires"]), wantsOutcome: row["wantsOutcome"],
            deliveries: row["deliveries"])
    }

    private static func outcome(_ row: Row, _ kind: C2DOutcome.Kind?, isStored: Bool) throws -> C2DOutcome {
        guard let device = DeviceID(row["device"] as String), let token = UniqueID(row["token"] as String), let kind
        else {
            throw damaged
        }
        return C2DOutcome(
            device: device, messageID: row["messageID"], token: token, kind: kind, deliveries: row["deliveries"],
            isStored: isStored)
    }

    private static var damaged: HubStoreError {
        HubStoreError(.damaged, doing: "read a cloud-to-device message", which: "hub.sqlite")
    }
}
