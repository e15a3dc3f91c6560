public import Faults
import FoundationEssentials
import GRDB
public import Primitives
import Telemetry

/// The fault store in `hub.sqlite`.
public final class SQLiteFaultStore: FaultStore {
    /// Faults kept; the longest cleared go first.
    static let faultsMax = 200_000
    /// Queue rows that may wait for the CRM.
    public static let queueMaxDefault = 100_000
    /// Dead letters kept; the oldest go first.
    static let deadLettersMax = 10_000

    /// Creates the tables; goes into the hub's schema as one step.
    public static let migration = Migration(
        "faults",
        sql: """
            CREATE TABLE "fault" (
                "id" TEXT PRIMARY KEY, "device" TEXT NOT NULL, "rule" TEXT NOT NULL, "origin" TEXT NOT NULL,
                "phase" TEXT NOT NULL, "severity" TEXT NOT NULL, "message" TEXT NOT NULL, "metric" TEXT,
                "valueKind" TEXT, "value" TEXT, "limit" TEXT, "openedAt" INTEGER, "clearedAt" INTEGER,
                "repeats" INTEGER NOT NULL, "clock" TEXT NOT NULL, "storedAt" INTEGER NOT NULL) WITHOUT ROWID;
            CREATE UNIQUE INDEX "fault_open" ON "fault" ("device", "rule") WHERE "phase" <> 'cleared';
            CREATE INDEX "fault_stored" ON "fault" ("storedAt");
            CREATE TABLE "faultAlias" ("id" TEXT PRIMARY KEY, "fault" TEXT NOT NULL) WITHOUT ROWID;
            CREATE INDEX "faultAlias_fault" ON "faultAlias" ("fault");
            CREATE TABLE "faultEvent" (
                "sequence" INTEGER PRIMARY KEY AUTOINCREMENT, "fault" TEXT NOT NULL, "kind" TEXT NOT NULL,
                "at" INTEGER NOT NULL, "detail" TEXT NOT NULL);
            CREATE INDEX "faultEvent_fault" ON "faultEvent" ("fault", "sequence");
            CREATE TABLE "faultQueue" (
                "sequence" INTEGER PRIMARY KEY AUTOINCREMENT, "fault" TEXT NOT NULL, "kind" TEXT NOT NULL,
                "attempts" INTEGER NOT NULL DEFAULT 0, "queuedAt" INTEGER NOT NULL, "dueAt" INTEGER NOT NULL,
                "isDead" INTEGER NOT NULL DEFAULT 0, "error" TEXT);
            CREATE INDEX "faultQueue_fault" ON "faultQueue" ("fault", "sequence");
            CREATE INDEX "faultQueue_due" ON "faultQueue" ("isDead", "dueAt");
            CREATE TABLE "faultCheckpoint" ("partition" INTEGER PRIMARY KEY, "next" INTEGER NOT NULL);
            CREATE TABLE "faultRuleState" ("only" INTEGER PRIMARY KEY CHECK ("only" = 1), "state" BLOB NOT NULL);
            """)

    /// Says of each id that was folded into a fault which of its repeats it came with, so that the oldest ones can go.
    public static let aliasMigration = Migration(
        "age of fault aliases",
        sql: """
            ALTER TABLE "faultAlias" ADD COLUMN "number" INTEGER NOT NULL DEFAULT 0;
            UPDATE "faultAlias" SET "number" =
                COALESCE((SELECT "repeats" FROM "fault" f WHERE f."id" = "faultAlias"."fault"), 0);
            DROP INDEX "faultAlias_fault";
            CREATE INDEX "faultAlias_fault" ON "faultAlias" ("fault", "number");
            """)

    /// Lets faults be found by device, also those that are over.
    public static let deviceMigration = Migration(
        "faults by device", sql: "CREATE INDEX \"fault_device\" ON \"fault\" (\"device\", \"openedAt\")")

    private let database: HubDatabase
    private let queueMax: Int

    /// - Parameter queueMax: 1 or more; one commit may go beyond it by its own rows.
    public init(_ database: HubDatabase, queueMax: Int = SQLiteFaultStore.queueMaxDefault) {
        self.database = database
        self.queueMax = queueMax
    }

    // MARK: - The runtime

    public func runtimeState() async throws -> FaultRuntimeState {
        try database.read { database in
            var state = FaultRuntimeState()
            for row in try Row.fetchAll(database, sql: "SELECT \"partition\", \"next\" FROM \"faultCheckpoint\"") {
                state.checkpoints[row["partition"]] = row["next"]
            }
            let bytes = try Data.fetchOne(database, sql: "SELECT \"state\" FROM \"faultRuleState\"")
            state.ruleState = bytes.map { Array($0) }
            return state
        }
    }

    public func commit(_ change: FaultChange) async throws -> Int {
        try await database.write { [queueMax] database in
            if !change.reports.isEmpty {
                let waiting =
                    try Int.fetchOne(database, sql: "SELECT COUNT(*) FROM \"faultQueue\" WHERE \"isDead\" = 0") ?? 0
                guard waiting < queueMax else { throw FaultQueueFull(waiting: waiting) }
            }
            let writer = FaultWriter(database: database, now: change.now)
            for report in change.reports { try writer.apply(report) }
            for (partition, next) in change.checkpoints {
                try database.execute(
                    sql: "INSERT OR REPLACE INTO \"faultCheckpoint\" VALUES (?, ?)", arguments: [partition, next])
            }
            if let state = change.ruleState {
                try database.execute(
                    sql: "INSERT OR REPLACE INTO \"faultRuleState\" VALUES (1, ?)", arguments: [Data(state)])
            }
            if !change.reports.isEmpty { try writer.forgetOldest(keeping: Self.faultsMax) }
            return writer.queued
        }
    }

    public func acknowledge(_ fault: UniqueID, by person: String, now: WallInstant) async throws -> Bool {
        try await database.write { database in
            let writer = FaultWriter(database: database, now: now)
            guard let found = try FaultRows.fault(fault, in: database),
                let changed = FaultLifeCycle.acknowledged(found)
            else { return false }
            try writer.store(changed)
            try writer.record(.acknowledged, of: fault, at: now, detail: String(person.prefix(200)))
            return true
        }
    }

    // MARK: - The queue

    public func dueAlerts(now: WallInstant, limit: Int) async throws -> [QueuedAlert] {
        try database.read { database in
            let rows = try Row.fetchAll(
                database,
                sql: """
                    SELECT q."sequence", q."kind", q."attempts", q."queuedAt", f.* FROM "faultQueue" q
                    JOIN "fault" f ON f."id" = q."fault"
                    WHERE q."isDead" = 0 AND q."dueAt" <= ? AND NOT EXISTS (
                        SELECT 1 FROM "faultQueue" e
                        WHERE e."fault" = q."fault" AND e."sequence" < q."sequence" AND e."isDead" = 0)
                    ORDER BY q."sequence" LIMIT ?
                    """, arguments: [now.milliseconds, limit])
            return try rows.map { row in
                guard let kind = QueuedAlert.Kind(rawValue: row["kind"]) else {
                    throw DatabaseError(resultCode: .SQLITE_CORRUPT)
                }
                return QueuedAlert(
                    sequence: row["sequence"], kind: kind, attempts: row["attempts"], fault: try FaultRows.fault(row),
                    queuedAt: WallInstant(milliseconds: row["queuedAt"]))
            }
        }
    }

    public func settle(_ sequence: Int64, as settlement: QueueSettlement) async throws {
        try await database.write { database in
            switch settlement {
            case .delivered:
                try database.execute(sql: "DELETE FROM \"faultQueue\" WHERE \"sequence\" = ?", arguments: [sequence])
            case .again(let at, let error):
                try database.execute(
                    sql: """
                        UPDATE "faultQueue" SET "attempts" = "attempts" + 1, "dueAt" = ?, "error" = ?
                        WHERE "sequence" = ?
                        """, arguments: [at.milliseconds, error, sequence])
            case .deadLetter(let error):
                try database.execute(
                    sql: """
                        UPDATE "faultQueue" SET "attempts" = "attempts" + 1, "isDead" = 1, "error" = ?
                        WHERE "sequence" = ?
                        """, arguments: [error, sequence])
                try database.execute(
                    sql: """
                        DELETE FROM "faultQueue" WHERE "isDead" = 1 AND "sequence" <= (
                            SELECT "sequence" FROM "faultQueue" WHERE "isDead" = 1
                            ORDER BY "sequence" DESC LIMIT 1 OFFSET ?)
                        """, arguments: [Self.deadLettersMax])
            }
        }
    }

    public func queueStatus() async throws -> QueueStatus {
        try database.read { database in
            let row = try Row.fetchOne(
                database,
                sql: """
                    SELECT COALESCE(SUM("isDead" = 0), 0) AS "waiting", COALESCE(SUM("isDead" = 1), 0) AS "dead",
                        MIN(CASE WHEN "isDead" = 0 THEN "queuedAt" END) AS "oldest" FROM "faultQueue"
                    """)
            return QueueStatus(
                waiting: row?["waiting"] ?? 0, limit: queueMax, deadLetters: row?["dead"] ?? 0,
                oldestQueuedAt: (row?["oldest"] as Int64?).map { WallInstant(milliseconds: $0) })
        }
    }

    public func deadLetters(limit: Int) async throws -> [DeadLetter] {
        try database.read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT "sequence", "fault", "kind", "error" FROM "faultQueue" WHERE "isDead" = 1
                    ORDER BY "sequence" DESC LIMIT ?
                    """, arguments: [limit]
            ).compactMap { row in
                guard let fault = UniqueID(row["fault"] as String),
                    let kind = QueuedAlert.Kind(rawValue: row["kind"])
                else { return nil }
                return DeadLetter(sequence: row["sequence"], fault: fault, kind: kind, error: row["error"] ?? "")
            }
        }
    }

    public func retryDeadLetter(_ sequence: Int64, now: WallInstant) async throws -> Bool {
        try await database.write { database in
            try database.execute(
                sql:
                    "UPDATE \"faultQueue\" SET \"isDead\" = 0, \"dueAt\" = ? WHERE \"sequence\" = ? AND \"isDead\" = 1",
                arguments: [now.milliseconds, sequence])
            return database.changesCount > 0
        }
    }

    // MARK: - Pages and command line

    public func faults(openOnly: Bool, limit: Int) async throws -> [Fault] {
        try database.read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT * FROM "fault" \(openOnly ? "WHERE \"phase\" <> 'cleared'" : "")
                    ORDER BY "storedAt" DESC, "id" LIMIT ?
                    """, arguments: [limit]
            ).map { try FaultRows.fault($0) }
        }
    }

    public func fault(_ id: UniqueID) async throws -> Fault? {
        try database.read { try FaultRows.fault(FaultRows.meaning(of: id, in: $0), in: $0) }
    }

    public func faults(of device: DeviceID, openedAt: WallInstant, limit: Int) async throws -> [Fault] {
        try database.read { database in
            try Row.fetchAll(
                database, sql: "SELECT * FROM \"fault\" WHERE \"device\" = ? AND \"openedAt\" = ? LIMIT ?",
                arguments: [device.text, openedAt.milliseconds, limit]
            ).map { try FaultRows.fault($0) }
        }
    }

    public func queueRows(of fault: UniqueID) async throws -> [QueueRow] {
        try database.read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT "kind", "attempts", "dueAt", "error", "isDead" FROM "faultQueue" WHERE "fault" = ?
                    ORDER BY "sequence" LIMIT 100
                    """, arguments: [fault.description]
            ).compactMap { row in
                QueuedAlert.Kind(rawValue: row["kind"]).map {
                    QueueRow(
                        kind: $0, attempts: row["attempts"], dueAt: WallInstant(milliseconds: row["dueAt"]),
                        error: row["error"], isDead: row["isDead"])
                }
            }
        }
    }

    public func history(of fault: UniqueID, limit: Int) async throws -> [FaultEvent] {
        try database.read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT "kind", "at", "detail" FROM "faultEvent" WHERE "fault" = ?
                    ORDER BY "sequence" DESC LIMIT ?
                    """, arguments: [fault.description, limit]
            ).reversed().compactMap { row in
                FaultEvent.Kind(rawValue: row["kind"]).map {
                    FaultEvent(
                        fault: fault, kind: $0, at: WallInstant(milliseconds: row["at"]), detail: row["detail"])
                }
            }
        }
    }
}
