import Faults
import GRDB
import Primitives
import Telemetry

/// Faults as rows and back.
enum FaultRows {
    static func fault(_ id: UniqueID, in database: Database) throws -> Fault? {
        try Row.fetchOne(database, sql: "SELECT * FROM \"fault\" WHERE \"id\" = ?", arguments: [id.description])
            .map { try fault($0) }
    }

    /// The fault that an id means: its own, or that of the fault into which it was folded.
    static func meaning(of id: UniqueID, in database: Database) throws -> UniqueID {
        let alias = try String.fetchOne(
            database, sql: "SELECT \"fault\" FROM \"faultAlias\" WHERE \"id\" = ?", arguments: [id.description])
        return alias.flatMap { UniqueID($0) } ?? id
    }

    static func fault(_ row: Row) throws -> Fault {
        guard let id = UniqueID(row["id"] as String), let device = DeviceID(row["device"] as String),
            let origin = Fault.Origin(rawValue: row["origin"]), let phase = Fault.Phase(rawValue: row["phase"]),
            let severity = Severity(rawValue: row["severity"]), let clock = ClockQuality(rawValue: row["clock"])
        else { throw DatabaseError(resultCode: .SQLITE_CORRUPT) }
        return Fault(
            id: id, device: device, rule: row["rule"], origin: origin, phase: phase, severity: severity,
            message: row["message"], metric: row["metric"], value: value(row), limit: row["limit"],
            openedAt: (row["openedAt"] as Int64?).map { WallInstant(milliseconds: $0) },
            clearedAt: (row["clearedAt"] as Int64?).map { WallInstant(milliseconds: $0) }, repeats: row["repeats"],
            clock: clock)
    }

    static func kind(of value: ReadingValue?) -> String? {
        switch value {
        case .number: "number"
        case .text: "text"
        case .boolean: "boolean"
        case nil: nil
        }
    }

    private static func value(_ row: Row) -> ReadingValue? {
        guard let text = row["value"] as String? else { return nil }
        switch row["valueKind"] as String? {
        case "number": return DecimalText(text).map(ReadingValue.number)
        case "text": return .text(text)
        case "boolean": return .boolean(text == "true")
        default: return nil
        }
    }
}

/// Applies the life cycle's decisions inside a transaction that the caller holds.
final class FaultWriter {
    /// Repeats kept in the history of one fault; the newest ones stay.
    static let repeatsMax = 256
    /// Ids kept that mean one fault besides its own; the newest ones stay, since it is the last one that ends.
    static let aliasesMax = 1024

    private let database: Database
    private let now: WallInstant
    /// Queue rows added so far.
    private(set) var queued = 0

    init(database: Database, now: WallInstant) {
        self.database = database
        self.now = now
    }

    func apply(_ report: FaultReport) throws {
        let transition = report.transition
        let detail = transition.value.map { "\(transition.message) (\($0))" } ?? transition.message
        switch FaultLifeCycle.reported(report, known: try known(of: transition)) {
        case .ignore: return
        case .open(let fault):
            try store(fault)
            try record(.opened, of: fault.id, at: transition.time, detail: detail)
            try queue(.opened, fault.id)
        case .fold(let fault):
            try store(fault)
            try remember(transition.faultID, as: fault)
            try record(.repeated, of: fault.id, at: transition.time, detail: detail)
            try forgetRepeats(of: fault.id)
            try queueUpdate(fault.id)
        case .clear(let fault):
            try store(fault)
            try record(.cleared, of: fault.id, at: transition.time, detail: detail)
            try queue(.cleared, fault.id)
        case .recordOver(let fault):
            try store(fault)
            try record(.openedLate, of: fault.id, at: transition.time, detail: detail)
        case .rememberEnd(let fault):
            try store(fault)
            try record(.clearedFirst, of: fault.id, at: transition.time, detail: detail)
        }
    }

    func store(_ fault: Fault) throws {
        try database.execute(
            sql: """
                INSERT INTO "fault" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT ("id") DO UPDATE SET "phase" = excluded."phase", "severity" = excluded."severity",
                    "message" = excluded."message", "metric" = excluded."metric", "valueKind" = excluded."valueKind",
                    "value" = excluded."value", "limit" = excluded."limit", "openedAt" = excluded."openedAt",
                    "clearedAt" = excluded."clearedAt", "repeats" = excluded."repeats"
                """,
            arguments: [
                fault.id.description, fault.device.text, fault.rule, fault.origin.rawValue, fault.phase.rawValue,
                fault.severity.rawValue, fault.message, fault.metric, FaultRows.kind(of: fault.value),
                fault.value?.description, fault.limit, fault.openedAt?.milliseconds, fault.clearedAt?.milliseconds,
                fault.repeats, fault.clock.rawValue, now.milliseconds,
            ])
    }

    func record(_ kind: FaultEvent.Kind, of fault: UniqueID, at: WallInstant, detail: String) throws {
        try database.execute(
            sql: "INSERT INTO \"faultEvent\" (\"fault\", \"kind\", \"at\", \"detail\") VALUES (?, ?, ?, ?)",
            arguments: [fault.description, kind.rawValue, at.milliseconds, detail])
    }

    /// Removes the faults stored longest ago that are over and have nothing in the queue.
    func forgetOldest(keeping most: Int) throws {
        let count = try Int.fetchOne(database, sql: "SELECT COUNT(*) FROM \"fault\"") ?? 0
        guard count > most else { return }
        let ids = try String.fetchAll(
            database,
            sql: """
                SELECT "id" FROM "fault" WHERE "phase" = 'cleared'
                    AND NOT EXISTS (SELECT 1 FROM "faultQueue" q WHERE q."fault" = "fault"."id")
                ORDER BY "storedAt" LIMIT ?
                """, arguments: [min(count - most, 1000)])
        for id in ids {
            try database.execute(sql: "DELETE FROM \"faultEvent\" WHERE \"fault\" = ?", arguments: [id])
            try database.execute(sql: "DELETE FROM \"faultAlias\" WHERE \"fault\" = ?", arguments: [id])
            try database.execute(sql: "DELETE FROM \"fault\" WHERE \"id\" = ?", arguments: [id])
        }
    }

    /// Repeats are counted one by one, so that the count tells how old an id is.
    private func remember(_ alias: UniqueID, as fault: Fault) throws {
        try database.execute(
            sql: "INSERT OR IGNORE INTO \"faultAlias\" (\"id\", \"fault\", \"number\") VALUES (?, ?, ?)",
            arguments: [alias.description, fault.id.description, fault.repeats])
        try database.execute(
            sql: "DELETE FROM \"faultAlias\" WHERE \"fault\" = ? AND \"number\" <= ?",
            arguments: [fault.id.description, fault.repeats - Self.aliasesMax])
    }

    private func forgetRepeats(of fault: UniqueID) throws {
        try database.execute(
            sql: """
                DELETE FROM "faultEvent" WHERE "fault" = :fault AND "kind" = :kind AND "sequence" <= (
                    SELECT "sequence" FROM "faultEvent" WHERE "fault" = :fault AND "kind" = :kind
                    ORDER BY "sequence" DESC LIMIT 1 OFFSET :most)
                """,
            arguments: [
                "fault": fault.description, "kind": FaultEvent.Kind.repeated.rawValue, "most": Self.repeatsMax,
            ])
    }

    private func known(of transition: FaultTransition) throws -> FaultLifeCycle.Known {
        let id = try FaultRows.meaning(of: transition.faultID, in: database)
        let open = try Row.fetchOne(
            database, sql: "SELECT * FROM \"fault\" WHERE \"device\" = ? AND \"rule\" = ? AND \"phase\" <> 'cleared'",
            arguments: [transition.device.text, transition.rule])
        return FaultLifeCycle.Known(
            fault: try FaultRows.fault(id, in: database), open: try open.map { try FaultRows.fault($0) })
    }

    private func queue(_ kind: QueuedAlert.Kind, _ fault: UniqueID) throws {
        try database.execute(
            sql: "INSERT INTO \"faultQueue\" (\"fault\", \"kind\", \"queuedAt\", \"dueAt\") VALUES (?, ?, ?, ?)",
            arguments: [fault.description, kind.rawValue, now.milliseconds, now.milliseconds])
        queued += 1
    }

    /// One waiting update carries all repeats: a flapping sensor must not flood the queue. The first row of a fault does
    /// not count, because the connector may have read it already.
    private func queueUpdate(_ fault: UniqueID) throws {
        let waits = try Bool.fetchOne(
            database,
            sql: """
                SELECT EXISTS (SELECT 1 FROM "faultQueue" q WHERE q."fault" = ? AND q."kind" = 'updated'
                    AND q."isDead" = 0 AND EXISTS (
                        SELECT 1 FROM "faultQueue" e WHERE e."fault" = q."fault" AND e."sequence" < q."sequence"
                            AND e."isDead" = 0))
                """, arguments: [fault.description])
        guard waits != true else { return }
        try queue(.updated, fault)
    }
}
