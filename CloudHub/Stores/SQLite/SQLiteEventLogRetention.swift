import EventLog
import Logging
import Primitives

/// Deletes the oldest events by age and by bytes, a bounded number of rows at a time.
final class LogRetention {
    /// Rows deleted in one transaction: appends wait for no more than that.
    static let rowsMax = 64
    /// A consumer is named when what it has not read is within this part of the age or the bytes allowed.
    static let warningShare = 0.8

    private let connection: LogConnection
    private let options: SQLiteEventLog.Options
    private let logger: Logger
    /// Consumers that are about to lose events, or have begun to.
    private(set) var named: Set<String> = []
    private var oldestRows: LogStatement?
    private var deleteRow: LogStatement?

    init(connection: LogConnection, options: SQLiteEventLog.Options, logger: Logger) {
        self.connection = connection
        self.options = options
        self.logger = logger
    }

    /// What each partition holds, read from the file.
    static func measure(
        _ connection: LogConnection, partitionCount: Int
    ) throws(EventLogError) -> [PartitionStatus] {
        let statement = try connection.prepare(
            """
            SELECT min(position), total(length(bytes)),
                   (SELECT position + count FROM event WHERE position < ?2 ORDER BY position DESC LIMIT 1),
                   (SELECT enqueued FROM event WHERE position >= ?1 ORDER BY position LIMIT 1)
            FROM event WHERE position >= ?1 AND position < ?2
            """)
        var statuses: [PartitionStatus] = []
        for partition in 0..<partitionCount {
            statement.bind(LogSchema.position(partition: partition, offset: 0), 1)
            statement.bind(LogSchema.position(partition: partition + 1, offset: 0), 2)
            defer { statement.reset() }
            guard try connection.step(statement, doing: "measure the event log"),
                let first = statement.optionalInteger(0)
            else {
                statuses.append(
                    PartitionStatus(partition: partition, firstOffset: 0, nextOffset: 0, firstEnqueuedAt: nil, bytes: 0)
                )
                continue
            }
            statuses.append(
                PartitionStatus(
                    partition: partition, firstOffset: LogSchema.offset(ofPosition: first),
                    nextOffset: LogSchema.offset(ofPosition: statement.integer(2)),
                    firstEnqueuedAt: WallInstant(milliseconds: statement.integer(3)), bytes: statement.integer(1)))
        }
        return statuses
    }

    /// When the newest event was stored; `nil` when the log is empty.
    static func newestEnqueued(_ connection: LogConnection, partitionCount: Int) throws(EventLogError) -> Int64? {
        let newest = try connection.prepare(
            "SELECT enqueued FROM event WHERE position >= ?1 AND position < ?2 ORDER BY position DESC LIMIT 1")
        var result: Int64?
        for partition in 0..<partitionCount {
            newest.bind(LogSchema.position(partition: partition, offset: 0), 1)
            newest.bind(LogSchema.position(partition: partition + 1, offset: 0), 2)
            defer { newest.reset() }
            guard try connection.step(newest, doing: "find the newest event") else { continue }
            result = max(result ?? .min, newest.integer(0))
        }
        return result
    }

    /// Deletes what is too old or too much, the oldest row of all partitions first. The newest row of a partition always
    /// stays: it carries the next offset.
    ///
    /// - Parameter statuses: what the partitions hold; kept true to the file, also when a later delete fails.
    func trim(
        _ statuses: inout [PartitionStatus], now: WallInstant, consumers: [String: [Int64]]
    ) throws(EventLogError) {
        warn(statuses, now: now, consumers: consumers)
        let cutoff = now.milliseconds - options.ageMax.millisecondsClamped
        let doing = "delete old events"
        // Partitions of which only the newest row is left.
        var bare: Set<Int> = []
        while oldest(statuses, besides: bare, cutoff: cutoff) != nil {
            var rest = statuses
            try connection.execute("BEGIN IMMEDIATE", doing: doing)
            for _ in 0..<Self.rowsMax {
                guard let partition = oldest(rest, besides: bare, cutoff: cutoff) else { break }
                if try !deleteOldestRow(&rest[partition], doing: doing) { bare.insert(partition) }
            }
            try connection.execute("COMMIT", doing: doing)
            statuses = rest
        }
    }

    /// The partition whose oldest row is to go next; `nil` when nothing is too old and all together are not too much.
    private func oldest(_ statuses: [PartitionStatus], besides bare: Set<Int>, cutoff: Int64) -> Int? {
        let oldest =
            statuses
            .filter { $0.firstEnqueuedAt != nil && !bare.contains($0.partition) }
            .min { ($0.firstEnqueuedAt?.milliseconds ?? .max) < ($1.firstEnqueuedAt?.milliseconds ?? .max) }
        guard let oldest, let first = oldest.firstEnqueuedAt else { return nil }
        let isTooMuch = statuses.reduce(0) { $0 + $1.bytes } > options.bytesMax
        return isTooMuch || first.milliseconds < cutoff ? oldest.partition : nil
    }

    /// - Returns: `false` when the partition has no row but its newest.
    private func deleteOldestRow(_ status: inout PartitionStatus, doing: String) throws(EventLogError) -> Bool {
        let rows = try connection.prepare(
            """
            SELECT position, enqueued, length(bytes) FROM event
            WHERE position >= ?1 AND position < ?2 ORDER BY position LIMIT 2
            """, keptIn: &oldestRows)
        let delete = try connection.prepare("DELETE FROM event WHERE position = ?1", keptIn: &deleteRow)
        rows.bind(LogSchema.position(partition: status.partition, offset: 0), 1)
        rows.bind(LogSchema.position(partition: status.partition + 1, offset: 0), 2)
        defer { rows.reset() }
        guard try connection.step(rows, doing: doing) else { return false }
        let (position, size) = (rows.integer(0), rows.integer(2))
        guard try connection.step(rows, doing: doing) else { return false }
        let (next, enqueued) = (rows.integer(0), rows.integer(1))
        rows.reset()
        delete.bind(position, 1)
        try connection.run(delete, doing: doing)
        status = PartitionStatus(
            partition: status.partition, firstOffset: LogSchema.offset(ofPosition: next),
            nextOffset: status.nextOffset, firstEnqueuedAt: WallInstant(milliseconds: enqueued),
            bytes: status.bytes - size)
        return true
    }

    /// Names a consumer once when it comes near to losing events, and again after it had caught up.
    private func warn(_ statuses: [PartitionStatus], now: WallInstant, consumers: [String: [Int64]]) {
        let bytes = Double(statuses.reduce(0) { $0 + $1.bytes })
        for (name, checkpoints) in consumers {
            let isNear = statuses.contains { status in
                guard let first = status.firstEnqueuedAt, checkpoints.indices.contains(status.partition),
                    checkpoints[status.partition] <= status.firstOffset, status.nextOffset > status.firstOffset
                else { return false }
                let age = Double((now - first).millisecondsClamped)
                return age > Double(options.ageMax.millisecondsClamped) * Self.warningShare
                    || bytes > Double(options.bytesMax) * Self.warningShare
            }
            if isNear, named.insert(name).inserted {
                logger.error(
                    "a consumer is about to lose events to retention; start it, or raise the log's retention",
                    metadata: ["consumer": "\(name)"])
            } else if !isNear {
                named.remove(name)
            }
        }
    }
}
