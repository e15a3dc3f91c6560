internal import Outbox
internal import Primitives
internal import Telemetry

/// Reading what the agent and a look from outside both want.
enum OutboxTables {
    static func endedCommands(
        _ connection: SQLiteConnection, countMax: Int
    ) throws(OutboxError) -> [EndedCommand] {
        var commands: [EndedCommand] = []
        try connection.run(
            "SELECT device, name, outcome FROM command WHERE state = 2 ORDER BY id DESC LIMIT ?", [.count(countMax)],
            doing: "read the commands"
        ) { row in
            guard let device = DeviceID(row.text(0)) else { return }
            commands.append(EndedCommand(device: device, name: row.text(1), outcome: row.text(2)))
        }
        return commands
    }

    static func receipts(_ connection: SQLiteConnection, countMax: Int) throws(OutboxError) -> [StoredReceipt] {
        var receipts: [StoredReceipt] = []
        try connection.run(
            "SELECT wall_milliseconds, bytes FROM receipt ORDER BY id DESC LIMIT ?", [.count(countMax)],
            doing: "read the receipts"
        ) { receipts.append(StoredReceipt(time: WallInstant(milliseconds: $0.integer(0)), bytes: $0.blob(1))) }
        return receipts
    }

    static func kept(_ key: String, _ connection: SQLiteConnection) throws(OutboxError) -> [UInt8]? {
        var bytes: [UInt8]?
        try connection.run("SELECT bytes FROM kept WHERE key = ?", [.text(key)], doing: "read kept state") {
            bytes = $0.blob(0)
        }
        return bytes
    }

    /// - Parameter bytes: `nil` forgets the key.
    static func keep(_ key: String, _ bytes: [UInt8]?, _ connection: SQLiteConnection) throws(OutboxError) {
        guard let bytes else {
            return try connection.run("DELETE FROM kept WHERE key = ?", [.text(key)], doing: "forget kept state")
        }
        try connection.run(
            "INSERT INTO kept(key, bytes) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET bytes = excluded.bytes",
            [.text(key), .blob(bytes)], doing: "keep state")
    }

    /// Notes a dropped run, joined with its neighbours. A neighbour that is on its way to the hub grows by this, so
    /// that its acknowledgement no longer matches it and the whole is declared again, which the hub takes twice.
    static func declare(_ run: Run, _ connection: SQLiteConnection) throws(OutboxError) {
        var runs = [run]
        try connection.run(
            """
            SELECT start, count FROM dropped WHERE start <= ? AND start + count >= ?
            AND start >= coalesce((SELECT max(start) FROM dropped WHERE start <= ?), 0)
            """,
            [.sequence(run.start + run.count), .sequence(run.start), .sequence(run.start)],
            doing: "declare dropped records"
        ) { runs.append(Run(start: $0.sequence(0), count: $0.sequence(1))) }
        for old in runs.dropFirst() {
            try connection.run(
                "DELETE FROM dropped WHERE start = ?", [.sequence(old.start)], doing: "declare dropped records")
        }
        for joined in Run.joined(runs) {
            try connection.run(
                "INSERT INTO dropped(start, count) VALUES(?, ?)",
                [.sequence(joined.start), .sequence(joined.count)], doing: "declare dropped records")
        }
    }
}

/// Table `lost`: what was dropped of which sensor, until a reading has told it.
enum LossTable {
    /// A metric that begins so reports losses of the sensor that its rest names. When such a record is itself dropped,
    /// its number goes back to where it came from.
    static func read(_ connection: SQLiteConnection) throws(OutboxError) -> [SensorLoss] {
        var losses: [SensorLoss] = []
        try connection.run(
            "SELECT device, metric, reason, count FROM lost ORDER BY device, metric, reason", doing: "read the losses"
        ) {
            guard let reason = SensorLoss.Reason(rawValue: $0.int(2)) else { return }
            losses.append(
                SensorLoss(
                    sensor: SensorName(device: $0.text(0), metric: $0.text(1)), reason: reason, count: $0.sequence(3)))
        }
        return losses
    }

    static func add(_ loss: SensorLoss, _ connection: SQLiteConnection) throws(OutboxError) {
        let doing = "count a loss"
        var name = loss.sensor
        var isKnown = false
        try connection.run(
            "SELECT 1 FROM lost WHERE device = ? AND metric = ? AND reason = ?",
            [.text(name.device), .text(name.metric), .count(loss.reason.rawValue)], doing: doing
        ) { _ in isKnown = true }
        if !isKnown {
            let isFull = try connection.number("SELECT count(*) FROM lost") >= OutboxLimits.lossSensorsMax
            if isFull { name = SensorName(device: "", metric: "") }
        }
        try connection.run(
            """
            INSERT INTO lost(device, metric, reason, count) VALUES(?, ?, ?, ?)
            ON CONFLICT(device, metric, reason) DO UPDATE SET count = count + excluded.count
            """,
            [.text(name.device), .text(name.metric), .count(loss.reason.rawValue), .sequence(loss.count)],
            doing: doing)
    }

    /// A record of the commit tells of it.
    static func reported(_ loss: SensorLoss, _ connection: SQLiteConnection) throws(OutboxError) {
        let key: [SQLiteValue] = [
            .text(loss.sensor.device), .text(loss.sensor.metric), .count(loss.reason.rawValue),
        ]
        try connection.run(
            "UPDATE lost SET count = count - ? WHERE device = ? AND metric = ? AND reason = ?",
            [.sequence(loss.count)] + key, doing: "report a loss")
        try connection.run(
            "DELETE FROM lost WHERE device = ? AND metric = ? AND reason = ? AND count <= 0", key,
            doing: "report a loss")
    }
}
