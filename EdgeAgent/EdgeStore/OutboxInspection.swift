public import Outbox
internal import Primitives
public import Telemetry

/// A look at an outbox from outside, also while an agent runs on it.
public struct OutboxInspection: Sendable {
    public let epoch: Epoch
    public let status: OutboxStatus
    /// What the running agent says of it, such as why it keeps nothing; empty when all is well.
    public let words: String
    /// Bytes of the file itself; its log and the reserve come on top.
    public let fileBytes: Int
    /// Largest first, as far as not yet reported.
    public let losses: [SensorLoss]
    /// Newest first.
    public let receipts: [StoredReceipt]
    /// Newest first.
    public let commands: [EndedCommand]

    /// - Throws: `.cannotOpen`, `.damaged`, `.newerSchema`, `.busy`.
    public init(path: String, receiptCountMax: Int = 10, commandCountMax: Int = 10) throws(OutboxError) {
        words = FileLock.words(path + ".lock").trimmed
        let connection = try SQLiteConnection(path: path, mode: .readOnly)
        var version = 0
        try connection.run("PRAGMA user_version", doing: "read the schema version") { version = $0.int(0) }
        guard version <= OutboxSchema.version else {
            throw OutboxError(
                .newerSchema(found: version, known: OutboxSchema.version), doing: "read the schema version",
                which: path)
        }
        guard version == OutboxSchema.version else {
            throw OutboxError(
                .damaged, doing: "read the schema version", which: path,
                detail: version > 0 ? "an older agent made it; start the agent once, and it is renewed" : "")
        }
        epoch = try SQLiteOutbox.storedEpoch(connection)
        status = try OutboxState(reading: connection).status(connection)
        fileBytes = try connection.number("PRAGMA page_count") * connection.number("PRAGMA page_size")
        losses = try LossTable.read(connection).sorted { $0.count > $1.count }
        receipts = try OutboxTables.receipts(connection, countMax: receiptCountMax)
        commands = try OutboxTables.endedCommands(connection, countMax: commandCountMax)
    }
}

extension String {
    /// Without blanks at its end.
    fileprivate var trimmed: String { String(reversed().drop { $0 == " " }.reversed()) }
}
