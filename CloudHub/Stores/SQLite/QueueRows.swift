import Devices
import GRDB
import FoundationEssentials
import Primitives

/// The rows of the cloud-to-device tables: how they are read, taken and ended.
enum QueueRows {
    /// What waits for the device and is held by nobody; what is spent is ended on the way.
    static func takeable(
        of device: DeviceID, except underWay: Set<UniqueID>, at moment: QueueMoment, in database: Database
    ) throws -> (rows: [Row], ended: [C2DOutcome]) {
        let now = moment.now.milliseconds
        var ended = try end(.expired, "device = ? AND expires <= ?", [device.text, now], at: moment.now, in: database)
        let rows = try Row.fetchAll(
            database,
            sql: """
                SELECT * FROM c2d WHERE device = ? AND (lockedUntil IS NULL OR lockedUntil <= ?) ORDER BY sequence
                """, arguments: [device.text, now])
        var free: [Row] = []
        for row in rows where !underWay.contains(try token(row)) {
            if (row["deliveries"] as Int) >= moment.deliveriesMax {
                ended += try end(
                    .deliveryCountExceeded, "sequence = ?", [row["sequence"] as Int64], at: moment.now, in: database)
            } else {
                free.append(row)
            }
        }
        return (free, ended)
    }

    static func countDelivery(_ row: Row, in database: Database) throws {
        try database.execute(
            sql: "UPDATE c2d SET deliveries = deliveries + 1, lock = NULL, lockedUntil = NULL WHERE sequence = ?",
            arguments: [row["sequence"] as Int64])
    }

    /// Takes messages out of their queues, keeps the outcome of those that asked for it, and the feedback of those whose
    /// sender wants to hear of such an end.
    static func end(
        _ kind: C2DOutcome.Kind, _ condition: String, _ arguments: StatementArguments, at now: WallInstant,
        in database: Database
    ) throws -> [C2DOutcome] {
        let rows = try Row.fetchAll(
            database,
            sql: """
                DELETE FROM c2d WHERE \(condition)
                RETURNING sequence, device, token, messageID, deliveries, wantsOutcome, ack, generation
                """, arguments: arguments)
        return try rows.sorted { ($0["sequence"] as Int64) < ($1["sequence"] as Int64) }.map { row in
            let outcome = try outcome(row, kind, isStored: row["wantsOutcome"])
            if outcome.isStored { try keep(outcome, in: database) }
            if C2DAck(rawValue: row["ack"])?.wants(kind) == true {
                try keepFeedback(of: outcome, generation: row["generation"], at: now, in: database)
            }
            return outcome
        }
    }

    private static func keep(_ outcome: C2DOutcome, in database: Database) throws {
        try database.execute(
            sql: "INSERT INTO c2d_outcome (token, device, messageID, kind, deliveries) VALUES (?, ?, ?, ?, ?)",
            arguments: [
                outcome.token.description, outcome.device.text, outcome.messageID, outcome.kind.rawValue,
                outcome.deliveries,
            ])
    }

    private static func keepFeedback(
        of outcome: C2DOutcome, generation: String, at now: WallInstant, in database: Database
    ) throws {
        try database.execute(
            sql: "INSERT INTO c2d_feedback (device, generation, messageID, kind, at) VALUES (?, ?, ?, ?, ?)",
            arguments: [
                outcome.device.text, generation, outcome.messageID, outcome.kind.rawValue, now.milliseconds,
            ])
        try database.execute(
            sql: "DELETE FROM c2d_feedback WHERE sequence <= ?",
            arguments: [database.lastInsertedRowID - Int64(DeviceHub.feedbackMax)])
    }

    /// When the first message expires or the first lock ends.
    static func nextDue(_ database: Database) throws -> WallInstant? {
        let expiry = try Int64.fetchOne(database, sql: "SELECT min(expires) FROM c2d")
        let lock = try Int64.fetchOne(database, sql: "SELECT min(lockedUntil) FROM c2d")
        return [expiry, lock].compactMap { $0 }.min().map { WallInstant(milliseconds: $0) }
    }

    /// - Parameter delivered: deliveries that were counted since the row was read.
    static func waiting(_ row: Row, delivered: Int = 0, lockedUntil: WallInstant? = nil) throws -> WaitingMessage {
        guard let ack = C2DAck(rawValue: row["ack"]) else { throw damaged }
        let message = QueuedMessage(
            token: try token(row), messageID: row["messageID"], bagText: row["bag"],
            payload: Array(row["payload"] as Data), expiresAt: WallInstant(milliseconds: row["expires"]),
            wantsOutcome: row["wantsOutcome"], enqueuedAt: WallInstant(milliseconds: row["enqueued"]), ack: ack,
            generationID: row["generation"], deliveries: row["deliveries"] + delivered)
        return WaitingMessage(message: message, sequence: row["sequence"], lockedUntil: lockedUntil)
    }

    static func outcome(_ row: Row, _ kind: C2DOutcome.Kind?, isStored: Bool) throws -> C2DOutcome {
        guard let device = DeviceID(row["device"] as String), let kind else { throw damaged }
        return C2DOutcome(
            device: device, messageID: row["messageID"], token: try token(row), kind: kind,
            deliveries: row["deliveries"], isStored: isStored)
    }

    static func feedback(_ row: Row) throws -> C2DFeedback {
        guard let device = DeviceID(row["device"] as String), let kind = C2DOutcome.Kind(rawValue: row["kind"]) else {
            throw damaged
        }
        return C2DFeedback(
            sequence: row["sequence"], device: device, generationID: row["generation"], messageID: row["messageID"],
            kind: kind, at: WallInstant(milliseconds: row["at"]))
    }

    private static func token(_ row: Row) throws -> UniqueID {
        guard let token = UniqueID(row["token"] as String) else { throw damaged }
        return token
    }

    private static var damaged: HubStoreError {
        HubStoreError(.damaged, doing: "read a cloud-to-device message", which: "hub.sqlite")
    }
}
