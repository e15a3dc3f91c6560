import EventLog
import Foundation
import Primitives
import Synchronization
import Telemetry

/// Reads beside the writer, on a connection of its own, one call at a time.
final class LogReaders: Sendable {
    private struct Reader {
        let connection: LogConnection
        let floor: LogStatement
        let rows: LogStatement
    }

    /// Only ever touched inside the lock.
    private final class ReaderBox: @unchecked Sendable {
        let value: Reader
        init(_ value: Reader) { self.value = value }
    }

    private let reader: Mutex<ReaderBox>

    init(path: String) throws(EventLogError) {
        let connection = try LogConnection(path: path, isReadOnly: true)
        let floor = try connection.prepare(
            "SELECT position FROM event WHERE position >= ?1 AND position <= ?2 ORDER BY position DESC LIMIT 1")
        let rows = try connection.prepare(
            "SELECT position, enqueued, bytes FROM event WHERE position >= ?1 AND position < ?2 ORDER BY position")
        reader = Mutex(ReaderBox(Reader(connection: connection, floor: floor, rows: rows)))
    }

    func read(
        partition: Int, limits: EventChunk.ReadLimits, into run: inout EventRun,
        selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) {
        let start = run
        run = try locked { (reader) throws(EventLogError) in
            var run = start
            try Self.read(reader, partition: partition, limits: limits, into: &run, selecting: isWanted)
            return run
        }
    }

    private static func read(
        _ reader: Reader, partition: Int, limits: EventChunk.ReadLimits, into run: inout EventRun,
        selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) {
        let offset = run.nextOffset
        let doing = "read partition \(partition) from offset \(offset)"
        let wanted = LogSchema.position(partition: partition, offset: max(0, offset))
        reader.floor.bind(LogSchema.position(partition: partition, offset: 0), 1)
        reader.floor.bind(wanted, 2)
        let start = try reader.connection.step(reader.floor, doing: doing) ? reader.floor.integer(0) : wanted
        reader.floor.reset()
        reader.rows.bind(start, 1)
        reader.rows.bind(LogSchema.position(partition: partition + 1, offset: 0), 2)
        defer { reader.rows.reset() }
        var mayGoOn = true
        while mayGoOn, try reader.connection.step(reader.rows, doing: doing) {
            let row = EventChunk.Row(
                partition: partition, baseOffset: LogSchema.offset(ofPosition: reader.rows.integer(0)),
                enqueuedAt: WallInstant(milliseconds: reader.rows.integer(1)))
            mayGoOn = try EventChunk.decode(
                reader.rows.blob(2), row: row, from: offset, limits: limits, into: &run, selecting: isWanted)
        }
    }

    func gaps(gateway: DeviceID) throws(EventLogError) -> [(epoch: Epoch, holes: [Run])] {
        try locked { (reader) throws(EventLogError) in
            let statement = try reader.connection.prepare(
                "SELECT epoch, seen, dropped FROM sequence WHERE gateway = ?1 ORDER BY changed DESC LIMIT 64")
            statement.bind(gateway.text, 1)
            var result: [(epoch: Epoch, holes: [Run])] = []
            while try reader.connection.step(statement, doing: "read the gaps of a gateway") {
                let entry = try LogSequences.Entry(
                    epoch: statement.text(0), seen: statement.blob(1), dropped: statement.blob(2))
                result.append((entry.epoch, entry.gaps))
            }
            return result
        }
    }

    func quarantine(gateway: DeviceID?, countMax: Int) throws(EventLogError) -> [StoredQuarantine] {
        try locked { (reader) throws(EventLogError) in
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
    }

    private func locked<Value: Sendable>(
        _ body: (Reader) throws(EventLogError) -> Value
    ) throws(EventLogError) -> Value {
        let result: Result<Value, EventLogError> = reader.withLock { box in
            Result { () throws(EventLogError) in try body(box.value) }
        }
        return try result.get()
    }
}
