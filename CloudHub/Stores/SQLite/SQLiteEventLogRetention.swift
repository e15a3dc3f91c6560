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

    /// Deletes what is too old or too much. The newest row of a partition always stays: it carries the next offset.
    /// - Returns: what the partitions hold afterwards.
    func trim(
        _ statuses: [PartitionStatus], now: WallInstant, consumers: [String: [Int64]]
    ) throws(EventLogError) -> [PartitionStatus] {
        warn(statuses, now: now, consumers: consumers)
        let bytesEach = options.bytesMax / Int64(max(1, statuses.count))
        let cutoff = now.milliseconds - options.ageMax.millisecondsClamped
        var result = statuses
        var deletedAny = false
        for status in statuses where isOver(status, bytesEach: bytesEach, cutoff: cutoff) {
            try trim(status.partition, &result[status.partition], bytesEach: bytesEach, cutoff: cutoff)
            deletedAny = true
        }
        if deletedAny { logger.debug("old events were deleted") }
        return result
    }

    private func isOver(_ status: PartitionStatus, bytesEach: Int64, cutoff: Int64) -> Bool {
        guard let first = status.firstEnqueuedAt else { return false }
        return status.bytes > bytesEach || first.milliseconds < cutoff
    }

    private func trim(
        _ partition: Int, _ status: inout PartitionStatus, bytesEach: Int64, cutoff: Int64
    ) throws(EventLogError) {
        let oldest = try connection.prepare(
            """
            SELECT position, enqueued, length(bytes), count FROM event
            WHERE position >= ?1 AND position < ?2 ORDER BY position LIMIT \(Self.rowsMax + 1)
            """)
        let delete = try connection.prepare("DELETE FROM event WHERE position >= ?1 AND position < ?2")
        let start = LogSchema.position(partition: partition, offset: 0)
        while isOver(status, bytesEach: bytesEach, cutoff: cutoff) {
            oldest.bind(start, 1)
            oldest.bind(LogSchema.position(partition: partition + 1, offset: 0), 2)
            var keepFrom: (position: Int64, enqueued: Int64)?
            var bytes = status.bytes
            var size: Int64 = 0
            var rows = 0
            while try connection.step(oldest, doing: "find old events") {
                keepFrom = (oldest.integer(0), oldest.integer(1))
                bytes -= size  // of the row before, now known not to be the last
                rows += 1
                size = oldest.integer(2)
                if bytes <= bytesEach, oldest.integer(1) >= cutoff { break }
            }
            oldest.reset()
            guard let keepFrom, rows > 1 else { return }
            try connection.execute("BEGIN IMMEDIATE", doing: "delete old events")
            delete.bind(start, 1)
            delete.bind(keepFrom.position, 2)
            try connection.run(delete, doing: "delete old events")
            try connection.execute("COMMIT", doing: "delete old events")
            status = PartitionStatus(
                partition: partition, firstOffset: LogSchema.offset(ofPosition: keepFrom.position),
                nextOffset: status.nextOffset, firstEnqueuedAt: WallInstant(milliseconds: keepFrom.enqueued),
                bytes: bytes)
        }
    }

    /// Names a consumer once when it comes near to losing events, and again after it had caught up.
    private func warn(_ statuses: [PartitionStatus], now: WallInstant, consumers: [String: [Int64]]) {
        let bytesEach = Double(options.bytesMax) / Double(max(1, statuses.count))
        for (name, checkpoints) in consumers {
            let isNear = statuses.contains { status in
                guard let first = status.firstEnqueuedAt, checkpoints.indices.contains(status.partition),
                    checkpoints[status.partition] <= status.firstOffset, status.nextOffset > status.firstOffset
                else { return false }
                let age = Double((now - first).millisecondsClamped)
                return age > Double(options.ageMax.millisecondsClamped) * Self.warningShare
                    || Double(status.bytes) > bytesEach * Self.warningShare
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
