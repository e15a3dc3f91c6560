import EventLog
import Foundation
import Primitives
import Synchronization
import Telemetry

/// Reads beside the writer and beside each other. A connection is opened when all others are busy, and kept until the
/// end; who finds `countMax` reads under way waits for the first of them to end.
final class LogReaders: Sendable {
    /// Reads at a time: the hub's consumers and a few people who look. Each costs two descriptors and its page cache.
    static let countMax = 4
    /// A read goes through the rows once, so what it has passed need not be kept.
    private static let cacheKiB = 512

    /// One connection; only ever touched by the one who borrowed it.
    private final class Reader: @unchecked Sendable {
        let connection: LogConnection
        let floor: LogStatement
        let rows: LogStatement

        init(path: String) throws(EventLogError) {
            connection = try LogConnection(path: path, isReadOnly: true)
            try connection.execute("PRAGMA cache_size = -\(cacheKiB)", doing: "open the event log")
            floor = try connection.prepare(
                "SELECT position FROM event WHERE position >= ?1 AND position <= ?2 ORDER BY position DESC LIMIT 1")
            rows = try connection.prepare(
                "SELECT position, enqueued, bytes FROM event WHERE position >= ?1 AND position < ?2 ORDER BY position")
        }
    }

    private enum Turn { case use(Reader), open, wait, closed }

    private struct Pool {
        var idle: [Reader]
        /// Idle, borrowed or about to be opened.
        var count: Int
        var isClosed = false

        mutating func next(mayOpen: Bool) -> Turn {
            if isClosed { return .closed }
            if let reader = idle.popLast() { return .use(reader) }
            guard mayOpen, count < countMax else { return .wait }
            count += 1
            return .open
        }
    }

    private let path: String
    private let pool: Mutex<Pool>
    // Guards nothing by itself: the pool has its own lock, and the condition is only slept on.
    private let condition = NSCondition()

    /// Opens the first connection, so that a log that cannot be read is known at once.
    init(path: String) throws(EventLogError) {
        self.path = path
        pool = Mutex(Pool(idle: [try Reader(path: path)], count: 1))
    }

    /// Closes the connections, those that are borrowed when they come back. Later reads are answered `.closed`.
    func close() {
        let idle = pool.withLock { pool in
            defer { pool.idle = [] }
            pool.isClosed = true
            return pool.idle
        }
        condition.lock()
        condition.broadcast()
        condition.unlock()
        withExtendedLifetime(idle) {}  // closed here, outside the lock
    }

    func read(
        partition: Int, limits: EventChunk.ReadLimits, into run: inout EventRun,
        selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) {
        let reader = try borrow(doing: "read partition \(partition)")
        defer { giveBack(reader) }
        try Self.read(reader, partition: partition, limits: limits, into: &run, selecting: isWanted)
    }

    private static func read(
        _ reader: Reader, partition: Int, limits: EventChunk.ReadLimits, into run: inout EventRun,
        selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) {
        let offset = run.nextOffset
        let doing = "read partition \(partition) from offset \(offset)"
        let wanted = LogSchema.position(partition: partition, offset: max(0, offset))
        defer {
            reader.floor.reset()
            reader.rows.reset()
        }
        reader.floor.bind(LogSchema.position(partition: partition, offset: 0), 1)
        reader.floor.bind(wanted, 2)
        let start = try reader.connection.step(reader.floor, doing: doing) ? reader.floor.integer(0) : wanted
        reader.rows.bind(start, 1)
        reader.rows.bind(LogSchema.position(partition: partition + 1, offset: 0), 2)
        var mayGoOn = true
        while mayGoOn, try reader.connection.step(reader.rows, doing: doing) {
            let row = EventChunk.Row(
                partition: partition, baseOffset: LogSchema.offset(ofPosition: reader.rows.integer(0)),
                enqueuedAt: WallInstant(milliseconds: reader.rows.integer(1)))
            mayGoOn = try EventChunk.decode(
                reader.rows.blob(2), row: row, from: offset, limits: limits, into: &run, selecting: isWanted)
        }
    }

    func sequences(gateway: DeviceID) throws(EventLogError) -> [OutboxSequences] {
        try sequences(where: "gateway = ?1 ORDER BY changed DESC LIMIT 64") { $0.bind(gateway.text, 1) }
    }

    func sequences(changedFrom time: WallInstant, countMax: Int) throws(EventLogError) -> [OutboxSequences] {
        try sequences(where: "changed >= ?1 ORDER BY changed LIMIT ?2") {
            $0.bind(time.milliseconds, 1)
            $0.bind(Int64(countMax), 2)
        }
    }

    private func sequences(
        where condition: String, bind: (LogStatement) -> Void
    ) throws(EventLogError) -> [OutboxSequences] {
        let doing = "read the sequence numbers of gateways"
        let reader = try borrow(doing: doing)
        defer { giveBack(reader) }
        let statement = try reader.connection.prepare(
            "SELECT gateway, epoch, seen, dropped, changed FROM sequence WHERE \(condition)")
        bind(statement)
        var result: [OutboxSequences] = []
        while try reader.connection.step(statement, doing: doing) {
            guard let gateway = DeviceID(statement.text(0)) else { continue }
            let entry = try LogSequences.Entry(
                epoch: statement.text(1), seen: statement.blob(2), dropped: statement.blob(3))
            result.append(
                OutboxSequences(
                    gateway: gateway, epoch: entry.epoch, seen: entry.seen, dropped: entry.dropped,
                    changedAt: WallInstant(milliseconds: statement.integer(4))))
        }
        return result
    }

    func quarantine(gateway: DeviceID?, countMax: Int) throws(EventLogError) -> [StoredQuarantine] {
        let reader = try borrow(doing: "read the quarantine")
        defer { giveBack(reader) }
        let statement = try reader.connection.prepare(
            """
            SELECT id, at, gateway, epoch, sequence, code, reason, body FROM quarantine
            WHERE ?1 IS NULL OR gateway = ?1 ORDER BY id DESC LIMIT ?2
            """)
        if let gateway { statement.bind(gateway.text, 1) } else { statement.bind(Int64?.none, 1) }
        statement.bind(Int64(countMax), 2)
        var result: [StoredQuarantine] = []
        while try reader.connection.step(statement, doing: "read the quarantine") {
            guard let gateway = DeviceID(statement.text(2)) else { continue }
            let record = QuarantinedRecord(
                gateway: gateway, epoch: Epoch(statement.text(3)), sequence: UInt64(statement.text(4)),
                code: statement.text(5), reason: statement.text(6), body: Array(statement.blob(7)))
            result.append(
                StoredQuarantine(
                    id: statement.integer(0), at: WallInstant(milliseconds: statement.integer(1)), record: record))
        }
        return result
    }

    // MARK: - The pool

    /// Blocks while all connections are busy.
    private func borrow(doing: String) throws(EventLogError) -> Reader {
        var mayOpen = true
        while true {
            switch nextTurn(mayOpen: mayOpen) {
            case .use(let reader): return reader
            case .open:
                if let reader = try? Reader(path: path) { return reader }
                // No descriptor or memory is left: one that is open will come back, the first one at least.
                mayOpen = false
                returned { $0.count -= 1 }
            case .closed: throw EventLogError(.closed, doing: doing, detail: "the log was closed")
            case .wait: preconditionFailure("the wait ends with another turn")
            }
        }
    }

    private func nextTurn(mayOpen: Bool) -> Turn {
        condition.lock()
        defer { condition.unlock() }
        while true {
            let turn = pool.withLock { $0.next(mayOpen: mayOpen) }
            guard case .wait = turn else { return turn }
            condition.wait()
        }
    }

    private func giveBack(_ reader: Reader) {
        returned { if !$0.isClosed { $0.idle.append(reader) } }
    }

    private func returned(_ change: (inout Pool) -> Void) {
        pool.withLock { change(&$0) }
        condition.lock()
        condition.signal()
        condition.unlock()
    }
}
