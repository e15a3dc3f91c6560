public import Outbox
public import Primitives

// MARK: Receipts and commands

extension SQLiteOutbox {
    public func keepReceipt(_ receipt: [UInt8], at time: WallInstant) throws(OutboxError) {
        try small { (contents: inout Contents) throws(OutboxError) in
            let connection = contents.connection
            try connection.transaction(doing: "keep a receipt") { () throws(OutboxError) in
                try connection.run(
                    "INSERT INTO receipt(wall_milliseconds, bytes) VALUES(?, ?)",
                    [.integer(time.milliseconds), .blob(receipt)], doing: "keep a receipt")
                try connection.run(
                    "DELETE FROM receipt WHERE id <= (SELECT max(id) FROM receipt) - ?",
                    [.count(OutboxLimits.receiptCountMax)], doing: "keep a receipt")
            }
        }
    }

    public func receipts(countMax: Int) throws(OutboxError) -> [StoredReceipt] {
        try use { (contents: inout Contents) throws(OutboxError) in
            try OutboxTables.receipts(contents.connection, countMax: countMax)
        }
    }

    public func keepCommand(_ command: QueuedCommand) throws(OutboxError) -> Bool {
        try small { (contents: inout Contents) throws(OutboxError) in
            let connection = contents.connection
            return try connection.transaction(doing: "keep a command") { () throws(OutboxError) in
                try connection.run(
                    """
                    INSERT INTO command(message_id, device, name, payload, expires_milliseconds, state)
                    VALUES(?, ?, ?, ?, ?, 0) ON CONFLICT(message_id) DO NOTHING
                    """,
                    [
                        .text(command.messageID), .text(command.device.text), .text(command.name),
                        .blob(command.payload), command.expiresAt.map { .integer($0.milliseconds) } ?? .null,
                    ], doing: "keep a command")
                let isNew = connection.changeCount > 0
                try connection.run(
                    "DELETE FROM command WHERE state = 2 AND id <= (SELECT max(id) FROM command) - ?",
                    [.count(OutboxLimits.commandCountMax)], doing: "keep a command")
                return isNew
            }
        }
    }

    public func endedCommands(countMax: Int) throws(OutboxError) -> [EndedCommand] {
        try use { (contents: inout Contents) throws(OutboxError) in
            try OutboxTables.endedCommands(contents.connection, countMax: countMax)
        }
    }

    public func beginCommand(isTimeKnown: Bool) throws(OutboxError) -> QueuedCommand? {
        try small { (contents: inout Contents) throws(OutboxError) in
            let connection = contents.connection
            return try connection.transaction(doing: "begin a command") { () throws(OutboxError) in
                var command: QueuedCommand?
                try connection.scan(
                    """
                    SELECT message_id, device, name, payload, expires_milliseconds FROM command AS this
                    WHERE state = 0 AND (? = 1 OR expires_milliseconds IS NULL AND NOT EXISTS (
                        SELECT 1 FROM command AS other
                        WHERE other.state = 0 AND other.device = this.device AND other.id < this.id))
                    ORDER BY id LIMIT 1
                    """, [.integer(isTimeKnown ? 1 : 0)], doing: "begin a command"
                ) { row in
                    guard let device = DeviceID(row.text(1)) else { return false }
                    command = QueuedCommand(
                        messageID: row.text(0), device: device, name: row.text(2), payload: row.blob(3),
                        expiresAt: row.isNull(4) ? nil : WallInstant(milliseconds: row.integer(4)))
                    return false
                }
                guard let command else { return nil }
                try connection.run(
                    "UPDATE command SET state = 1 WHERE message_id = ?", [.text(command.messageID)],
                    doing: "begin a command")
                return command
            }
        }
    }

    public func endCommand(_ messageID: String, outcome: String) throws(OutboxError) {
        try small { (contents: inout Contents) throws(OutboxError) in
            try contents.connection.run(
                "UPDATE command SET state = 2, outcome = ? WHERE message_id = ?", [.text(outcome), .text(messageID)],
                doing: "end a command")
        }
    }
}
