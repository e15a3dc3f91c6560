public import Outbox
internal import Primitives
public import Telemetry

/// The one row of table `state`, kept in memory between commits.
struct OutboxStateRow {
    var nextSequence: UInt64
    var storedBytes: Int
    var recordCount: UInt64
    var lastWallTime: WallInstant?

    init(reading connection: SQLiteConnection) throws(OutboxError) {
        var read: OutboxStateRow?
        try connection.run(
            "SELECT next_sequence, stored_bytes, record_count, wall_milliseconds FROM state", doing: "read the state"
        ) {
            read = OutboxStateRow(
                nextSequence: $0.sequence(0), storedBytes: $0.int(1), recordCount: $0.sequence(2),
                lastWallTime: $0.isNull(3) ? nil : WallInstant(milliseconds: $0.integer(3)))
        }
        guard let read else { throw OutboxError(.damaged, doing: "read the state", which: connection.path) }
        self = read
    }

    private init(nextSequence: UInt64, storedBytes: Int, recordCount: UInt64, lastWallTime: WallInstant?) {
        self.nextSequence = nextSequence
        self.storedBytes = storedBytes
        self.recordCount = recordCount
        self.lastWallTime = lastWallTime
    }

    func write(_ connection: SQLiteConnection) throws(OutboxError) {
        try connection.run(
            "UPDATE state SET next_sequence = ?, stored_bytes = ?, record_count = ?, wall_milliseconds = ?",
            [
                .sequence(nextSequence), .count(storedBytes), .sequence(recordCount),
                lastWallTime.map { .integer($0.milliseconds) } ?? .null,
            ], doing: "write the state")
    }

    func status(_ connection: SQLiteConnection) throws(OutboxError) -> OutboxStatus {
        var undeclared: UInt64 = 0
        try connection.run("SELECT coalesce(sum(count), 0) FROM dropped", doing: "read the state") {
            undeclared = $0.sequence(0)
        }
        return OutboxStatus(
            nextSequence: nextSequence, recordCount: recordCount, storedBytes: storedBytes,
            lastWallTime: lastWallTime, undeclaredCount: undeclared)
    }

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
}

/// Joins rows until the next one would pass the limit.
struct OutboxBatchBuilder {
    private let bytesMax: Int
    private var rows: [UInt64] = []
    private var runs: [Run] = []
    private var fragments: [UInt8] = []

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    var hasRows: Bool { !rows.isEmpty }

    /// `false` when the row no longer fits; it was not added.
    mutating func add(first: UInt64, count: UInt64, fragments bytes: [UInt8]) -> Bool {
        guard rows.isEmpty || fragments.count + 1 + bytes.count <= bytesMax else { return false }
        if !rows.isEmpty { fragments.append(UInt8(ascii: ",")) }
        fragments += bytes
        rows.append(first)
        if let last = runs.last, last.start + last.count == first {
            runs[runs.count - 1] = Run(start: last.start, count: last.count + count)
        } else {
            runs.append(Run(start: first, count: count))
        }
        return fragments.count < bytesMax
    }

    func batch(dropped: [Run]) -> OutboxBatch {
        OutboxBatch(rows: rows, runs: runs, fragments: fragments, dropped: dropped)
    }
}

/// A look at an outbox from outside, also while an agent runs on it.
public struct OutboxInspection: Sendable {
    public let epoch: Epoch
    public let status: OutboxStatus
    /// Newest first.
    public let receipts: [StoredReceipt]
    /// Newest first.
    public let commands: [EndedCommand]

    /// - Throws: `.cannotOpen`, `.damaged`, `.newerSchema`, `.busy`.
    public init(path: String, receiptCountMax: Int = 10, commandCountMax: Int = 10) throws(OutboxError) {
        let connection = try SQLiteConnection(path: path, isReadOnly: true)
        var version = 0
        try connection.run("PRAGMA user_version", doing: "read the schema version") { version = $0.int(0) }
        guard version <= OutboxSchema.version else {
            throw OutboxError(
                .newerSchema(found: version, known: OutboxSchema.version), doing: "read the schema version",
                which: path)
        }
        guard version > 0 else { throw OutboxError(.damaged, doing: "read the schema version", which: path) }
        epoch = try SQLiteOutbox.storedEpoch(connection)
        status = try OutboxStateRow(reading: connection).status(connection)
        receipts = try OutboxStateRow.receipts(connection, countMax: receiptCountMax)
        commands = try OutboxStateRow.endedCommands(connection, countMax: commandCountMax)
    }
}
