public import Devices
import FoundationEssentials
import GRDB
import HubContract
public import Primitives

extension SQLiteDeviceStore {
    public func loadQueues() throws -> QueueSummary {
        try database.read { database in
            let rows = try Row.fetchAll(database, sql: "SELECT device, count(*) AS waiting FROM c2d GROUP BY device")
            let counts = rows.reduce(into: [DeviceID: Int]()) { counts, row in
                if let device = DeviceID(row["device"] as String) { counts[device] = row["waiting"] }
            }
            return QueueSummary(counts: counts, nextDue: try QueueRows.nextDue(database))
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
                        INSERT INTO c2d
                            (device, token, messageID, bag, payload, expires, deliveries, wantsOutcome, enqueued, ack,
                             generation)
                        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        """,
                    arguments: [
                        device.text, message.token.description, message.messageID, message.bagText,
                        Data(message.payload), message.expiresAt.milliseconds, message.deliveries,
                        message.wantsOutcome, message.enqueuedAt.milliseconds, message.ack.rawValue,
                        message.generationID,
                    ])
            }, completion: completion)
    }

    public func takeForDelivery(
        _ device: DeviceID, at moment: QueueMoment, underWay: @escaping @Sendable () -> Set<UniqueID>?,
        completion: @escaping @Sendable (Result<(messages: [QueuedMessage], ended: [C2DOutcome]), any Error>) -> Void
    ) {
        database.write(
            { database in
                guard let tokens = underWay() else { return ([], []) }
                let (rows, ended) = try QueueRows.takeable(of: device, except: tokens, at: moment, in: database)
                for row in rows { try QueueRows.countDelivery(row, in: database) }
                return (try rows.map { try QueueRows.waiting($0, delivered: 1).message }, ended)
            }, completion: completion)
    }

    public func complete(
        _ token: UniqueID, of device: DeviceID, now: WallInstant,
        completion: @escaping @Sendable (Result<C2DOutcome?, any Error>) -> Void
    ) {
        database.write(
            { database in
                try QueueRows.end(
                    .completed, "token = ? AND device = ?", [token.description, device.text], at: now, in: database
                ).first
            }, completion: completion)
    }

    public func receive(
        _ device: DeviceID, lock: UniqueID, at moment: QueueMoment, underWay: @escaping @Sendable () -> Set<UniqueID>
    ) async throws -> (message: WaitingMessage?, ended: [C2DOutcome]) {
        try await database.write { database in
            let (rows, ended) = try QueueRows.takeable(of: device, except: underWay(), at: moment, in: database)
            guard let row = rows.first else { return (nil, ended) }
            let end = moment.now + moment.lockTime
            try QueueRows.countDelivery(row, in: database)
            try database.execute(
                sql: "UPDATE c2d SET lock = ?, lockedUntil = ? WHERE sequence = ?",
                arguments: [lock.description, end.milliseconds, row["sequence"] as Int64])
            return (try QueueRows.waiting(row, delivered: 1, lockedUntil: end), ended)
        }
    }

    public func settle(
        _ lock: UniqueID, of device: DeviceID, as settlement: C2DSettlement, at moment: QueueMoment
    ) async throws -> SettledMessage? {
        let held = "lock = ? AND device = ? AND lockedUntil > ? AND expires > ?"
        let now = moment.now
        let arguments: StatementArguments = [lock.description, device.text, now.milliseconds, now.milliseconds]
        return try await database.write { database in
            let kind: C2DOutcome.Kind
            switch settlement {
            case .completed: kind = .completed
            case .rejected: kind = .rejected
            case .abandoned:
                let spent = try QueueRows.end(
                    .deliveryCountExceeded, held + " AND deliveries >= ?", arguments + [moment.deliveriesMax], at: now,
                    in: database)
                if let outcome = spent.first { return .ended(outcome) }
                try database.execute(
                    sql: "UPDATE c2d SET lock = NULL, lockedUntil = NULL WHERE \(held)", arguments: arguments)
                return database.changesCount > 0 ? .waitsAgain : nil
            }
            return try QueueRows.end(kind, held, arguments, at: now, in: database).first.map { .ended($0) }
        }
    }

    public func sweep(at moment: QueueMoment) async throws -> QueueSweep {
        let now = moment.now.milliseconds
        return try await database.write { database in
            var ended = try QueueRows.end(.expired, "expires <= ?", [now], at: moment.now, in: database)
            ended += try QueueRows.end(
                .deliveryCountExceeded, "lockedUntil <= ? AND deliveries >= ?", [now, moment.deliveriesMax],
                at: moment.now, in: database)
            let unlocked = try String.fetchSet(
                database,
                sql: "UPDATE c2d SET lock = NULL, lockedUntil = NULL WHERE lockedUntil <= ? RETURNING device",
                arguments: [now])
            return QueueSweep(
                ended: ended, unlocked: unlocked.compactMap { DeviceID($0) },
                nextDue: try QueueRows.nextDue(database))
        }
    }

    public func purge(_ device: DeviceID, now: WallInstant) async throws -> [C2DOutcome] {
        try await database.write { try QueueRows.end(.purged, "device = ?", [device.text], at: now, in: $0) }
    }

    public func waiting(for device: DeviceID) async throws -> [WaitingMessage] {
        try await withCheckedThrowingContinuation { continuation in
            database.read(
                { database in
                    try Row.fetchAll(
                        database, sql: "SELECT * FROM c2d WHERE device = ? ORDER BY sequence", arguments: [device.text]
                    ).map { row in
                        let end = (row["lockedUntil"] as Int64?).map { WallInstant(milliseconds: $0) }
                        return try QueueRows.waiting(row, lockedUntil: end)
                    }
                },
                completion: { continuation.resume(with: $0) })
        }
    }

    // MARK: - Outcomes

    public func storedOutcomes() async throws -> [C2DOutcome] {
        try await withCheckedThrowingContinuation { continuation in
            database.read(
                { database in
                    try Row.fetchAll(database, sql: "SELECT * FROM c2d_outcome ORDER BY sequence").map {
                        try QueueRows.outcome($0, C2DOutcome.Kind(rawValue: $0["kind"]), isStored: true)
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
                        .ended(try QueueRows.outcome($0, C2DOutcome.Kind(rawValue: $0["kind"]), isStored: true))
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

    // MARK: - Feedback

    public func takeFeedback(
        most: Int, lock: UniqueID, now: WallInstant, until end: WallInstant
    ) async throws -> [C2DFeedback] {
        try await database.write { database in
            let rows = try Row.fetchAll(
                database,
                sql: """
                    SELECT * FROM c2d_feedback WHERE lockedUntil IS NULL OR lockedUntil <= ?
                    ORDER BY sequence LIMIT ?
                    """, arguments: [now.milliseconds, most])
            for row in rows {
                try database.execute(
                    sql: "UPDATE c2d_feedback SET lock = ?, lockedUntil = ? WHERE sequence = ?",
                    arguments: [lock.description, end.milliseconds, row["sequence"] as Int64])
            }
            return try rows.map(QueueRows.feedback)
        }
    }

    public func settleFeedback(_ lock: UniqueID, isDone: Bool, now: WallInstant) async throws -> Bool {
        try await database.write { database in
            let change = isDone ? "DELETE FROM c2d_feedback" : "UPDATE c2d_feedback SET lock = NULL, lockedUntil = NULL"
            try database.execute(
                sql: change + " WHERE lock = ? AND lockedUntil > ?", arguments: [lock.description, now.milliseconds])
            return database.changesCount > 0
        }
    }

    public func feedback(of device: DeviceID?, most: Int) async throws -> [C2DFeedback] {
        try await withCheckedThrowingContinuation { continuation in
            database.read(
                { database in
                    try Row.fetchAll(
                        database,
                        sql: """
                            SELECT * FROM c2d_feedback WHERE ?1 IS NULL OR device = ?1
                            ORDER BY sequence DESC LIMIT ?2
                            """, arguments: [device?.text, most]
                    ).map(QueueRows.feedback)
                },
                completion: { continuation.resume(with: $0) })
        }
    }

    public func forgetFeedback(before time: WallInstant) async throws {
        try await database.write { database in
            try database.execute(
                sql: "DELETE FROM c2d_feedback WHERE at < ?", arguments: [time.milliseconds])
        }
    }
}
