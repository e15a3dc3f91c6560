internal import Outbox
internal import Primitives
internal import Telemetry

/// Bytes that something takes in the file.
enum Cost {
    /// Of a row with so many bytes in it: small rows share a page, of larger ones the rest that fits no page of its own.
    /// An estimate; what holds is what the file itself says.
    static func of(_ bytes: Int) -> Int { bytes < 500 ? bytes + 40 : bytes + bytes / 128 + 256 }
}

/// A row ready to be written.
struct EncodedRow {
    let chunk: OutboxChunk
    /// As `RowCodec` says.
    let encoding: Int
    let bytes: [UInt8]

    init(_ chunk: OutboxChunk, _ codec: RowCodec) {
        self.chunk = chunk
        (encoding, bytes) = codec.encoded(chunk.fragments)
    }

    var cost: Int { Cost.of(bytes.count) }
}

/// Table `row` or `sent` without the fragments.
struct RowHead {
    /// For every statement that reads heads; columns of version 1 are filled in.
    static let columns =
        "first, count, lane, coalesce(last, first + count - 1), priority, encoding, coalesce(bytes, length(fragments)), "
        + "length(fragments)"

    let first: UInt64
    let count: UInt64
    let lane: OutboxLane
    let last: UInt64
    let priority: Retention.Priority
    let encoding: Int
    /// Of the plain fragments.
    let plainBytes: Int
    let cost: Int

    init(_ row: SQLiteRow) {
        first = row.sequence(0)
        count = row.sequence(1)
        lane = OutboxLane(rawValue: row.int(2)) ?? .readings
        last = row.sequence(3)
        priority = Retention.Priority(rawValue: row.int(4)) ?? .normal
        encoding = row.int(5)
        plainBytes = row.int(6)
        cost = Cost.of(row.int(7))
    }

    var amount: OutboxAmount { OutboxAmount(records: count, bytes: cost) }

    func chunk(_ fragments: [UInt8]) -> OutboxChunk {
        OutboxChunk(
            lane: lane, retention: Retention(priority: priority), first: first, last: last, count: count,
            fragments: fragments)
    }
}

/// What one transaction does to the outbox, and to its state in memory once it is committed.
struct Draft {
    let connection: SQLiteConnection
    let codec: RowCodec
    let limits: OutboxLimits
    /// Milliseconds of known time.
    private(set) var now: Int64
    var state: OutboxState
    var pending: PendingAcknowledgements
    var writes: WriteCounter
    var elapsed: KnownElapsed
    var oldestOrdinary: UInt64
    var damaged: Set<UInt64>
    /// What was dropped or has expired.
    var dropped: [Run] = []
    private let clocks: KnownElapsed.Clocks
    private let run: SQLiteOutbox.RunStart

    init(_ contents: SQLiteOutbox.Contents, now clocks: KnownElapsed.Clocks, limits: OutboxLimits) {
        connection = contents.connection
        codec = contents.codec
        self.limits = limits
        state = contents.state
        pending = contents.pending
        writes = contents.writes
        elapsed = contents.elapsed
        oldestOrdinary = contents.oldestOrdinary
        damaged = contents.damaged
        self.clocks = clocks
        run = contents.run
        now = Int64(clamping: elapsed.elapsed(clocks).milliseconds)
    }

    /// Call it when the transaction is committed, and only then.
    func take(into contents: inout SQLiteOutbox.Contents) {
        contents.state = state
        contents.pending = pending
        contents.writes = writes
        contents.elapsed = elapsed
        contents.oldestOrdinary = oldestOrdinary
        contents.damaged = damaged
        contents.mayShrink = true
    }

    mutating func writeState() throws(OutboxError) {
        try settleElapsed()
        writes.sample(now: clocks.monotonic)
        state.account = writes.account(now: clocks.monotonic)
        state.mark = KnownElapsed.Mark(elapsed: .milliseconds(now), clocks: clocks)
        state.acknowledged = pending.rows
        try state.write(connection)
        pending.wereNoted()
    }

    /// It has become known how long the agent was off. What came in this run, before that was known, has not grown older
    /// by it.
    private mutating func settleElapsed() throws(OutboxError) {
        let leap = Int64(clamping: elapsed.settle(clocks).milliseconds)
        guard leap > 0 else { return }
        now += leap
        let doing = "settle ages"
        try connection.run(
            "UPDATE row SET expires = expires + ? WHERE expires IS NOT NULL AND first >= ?",
            [.integer(leap), .sequence(run.firstSequence)], doing: doing)
        try connection.run(
            "UPDATE sent SET acknowledged = acknowledged + ? WHERE acknowledged >= ?",
            [.integer(leap), .integer(run.elapsed)], doing: doing)
    }

    mutating func insert(_ row: EncodedRow) throws(OutboxError) {
        let chunk = row.chunk
        let expires = chunk.retention.timeToLive.map { SQLiteValue.integer(now + Int64(clamping: $0.milliseconds)) }
        try connection.run(
            """
            INSERT INTO row(first, count, lane, last, priority, expires, encoding, bytes, fragments)
            VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                .sequence(chunk.first), .sequence(chunk.count), .count(chunk.lane.rawValue), .sequence(chunk.last),
                .count(chunk.retention.priority.rawValue), expires ?? .null, .count(row.encoding),
                .count(chunk.fragments.count), .blob(row.bytes),
            ], doing: "append records")
        let amount = OutboxAmount(records: chunk.count, bytes: row.cost)
        state.count(chunk.lane, chunk.retention.priority, amount, isGone: false)
    }

    func head(_ first: UInt64, in table: StaticString = "row") throws(OutboxError) -> RowHead? {
        var head: RowHead?
        let columns = "\(table)" == "row" ? RowHead.columns : SentTable.columns
        try connection.run(
            "SELECT \(columns) FROM \(table) WHERE first = ?", [.sequence(first)], doing: "find a row"
        ) { head = RowHead($0) }
        return head
    }

    /// The plain fragments of a row; `nil` when they are damaged.
    func fragments(of head: RowHead, in table: StaticString = "row") throws(OutboxError) -> [UInt8]? {
        var bytes: [UInt8] = []
        try connection.run(
            "SELECT fragments FROM \(table) WHERE first = ?", [.sequence(head.first)], doing: "read a row"
        ) { bytes = $0.blob(0) }
        return codec.decoded(bytes, encoding: head.encoding, count: head.plainBytes)
    }

    // MARK: Losses

    /// Evicts until `bytes` more fit under the quota.
    ///
    /// - Returns: the first sequences of those incoming rows that are not stored.
    mutating func makeRoom(_ bytes: Int, incoming: [EncodedRow]) throws(OutboxError) -> Set<UInt64> {
        var excess = try excess(bytes)
        guard excess > 0 else { return [] }
        if !pending.isEmpty {
            // What the hub has goes before what it has not, wherever it lies.
            try settle(isDue: true)
            excess = try self.excess(bytes)
            guard excess > 0 else { return [] }
        }
        let rows = incoming.map { StoredRow(first: $0.chunk.first, rank: $0.chunk.rank, bytes: $0.cost) }
        let eviction = try OutboxEviction.decide(excess: excess, incoming: rows) {
            (rank, after) throws(OutboxError) in try oldest(rank, after: after)
        }
        for row in eviction.stored { try lose(row.first, rank: row.rank, reason: .dropped) }
        if let ordinary = eviction.stored.last(where: { $0.rank == .readings(.normal) }) {
            oldestOrdinary = max(oldestOrdinary, ordinary.first)
        }
        let refused = Set(eviction.refused.map(\.first))
        for row in incoming where refused.contains(row.chunk.first) { try note(lost: row.chunk, reason: .dropped) }
        return refused
    }

    /// How far the file would pass its quota with so many bytes more.
    func excess(_ bytes: Int) throws(OutboxError) -> Int {
        let pageBytes = try connection.number("PRAGMA page_size")
        let used = try connection.number("PRAGMA page_count") - connection.number("PRAGMA freelist_count")
        // A few pages for the tables' inner nodes.
        return used * pageBytes + bytes + 8 * pageBytes - limits.quotaBytes
    }

    private func oldest(_ rank: EvictionRank, after: UInt64) throws(OutboxError) -> StoredRow? {
        let (columns, source) =
            switch rank {
            case .acknowledged: (SentTable.columns, "sent WHERE first > ?")
            case .replays: (RowHead.columns, "row WHERE lane = 2 AND lane <> 0 AND first > ?")
            case .faults: (RowHead.columns, "row WHERE lane = 1 AND lane <> 0 AND first > ?")
            case .readings(.normal): (RowHead.columns, "row WHERE lane = 0 AND priority = 1 AND first > ?")
            case .readings(let priority):
                (
                    RowHead.columns,
                    "row WHERE lane = 0 AND priority = \(priority.rawValue) AND priority <> 1 AND first > ?"
                )
            }
        let start = rank == .readings(.normal) ? max(after, oldestOrdinary) : after
        var found: RowHead?
        try connection.scan(
            "SELECT \(columns) FROM \(source) ORDER BY first", [.sequence(start)], doing: "find the oldest row"
        ) {
            let head = RowHead($0)
            if rank != .acknowledged, pending.contains(head.first) { return true }
            found = head
            return false
        }
        return found.map { StoredRow(first: $0.first, rank: rank, bytes: $0.cost) }
    }

    /// Deletes a row that the hub will not get (or, of rank `acknowledged`, one that it has).
    mutating func lose(
        _ first: UInt64, rank: EvictionRank, reason: SensorLoss.Reason
    ) throws(OutboxError) {
        guard rank != .acknowledged else { return try SentTable.delete(first, &self) }
        guard let head = try head(first) else { return }
        let fragments = try fragments(of: head)
        try delete(head)
        try note(lost: head.chunk(fragments ?? []), reason: reason)
        damaged.remove(first)
    }

    mutating func delete(_ head: RowHead) throws(OutboxError) {
        try connection.run("DELETE FROM row WHERE first = ?", [.sequence(head.first)], doing: "delete a row")
        state.count(head.lane, head.priority, head.amount, isGone: true)
    }

    private mutating func note(lost chunk: OutboxChunk, reason: SensorLoss.Reason) throws(OutboxError) {
        let list = FragmentList(chunk.fragments)
        // Of a damaged row nobody knows more than its range.
        var runs = chunk.fragments.isEmpty ? [Run(start: chunk.first, count: chunk.count)] : list.runs
        if PlantedBug.agentDeclaresTooMuch.isPlanted {
            runs = [Run(start: chunk.first, count: chunk.last - chunk.first + 1)]
        }
        for run in runs { try OutboxTables.declare(run, connection) }
        for loss in LossReport.losses(in: list, reason: reason) { try LossTable.add(loss, connection) }
        dropped += runs
        switch reason {
        case .dropped: writes.droppedCount += chunk.count
        case .expired: writes.expiredCount += chunk.count
        }
    }
}

extension PlantedBug {
    /// The gateway declares the whole span of a lost row, with what stands in other rows between.
    static var agentDeclaresTooMuch: PlantedBug { PlantedBug("agentDeclaresTooMuch") }
}
