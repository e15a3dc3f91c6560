internal import Outbox
internal import Primitives
internal import Telemetry

/// Table `sent`: acknowledged records that are kept for a replay, many to a row.
enum SentTable {
    /// As `RowHead.columns` has them.
    static let columns = "first, count, lane, last, 1, encoding, bytes, length(fragments)"

    static func delete(_ first: UInt64, _ draft: inout Draft) throws(OutboxError) {
        guard let head = try draft.head(first, in: "sent") else { return }
        try draft.connection.run("DELETE FROM sent WHERE first = ?", [.sequence(first)], doing: "forget a sent row")
        let old = draft.state.replayable
        draft.state.replayable = OutboxAmount(
            records: old.records - min(old.records, head.count), bytes: max(old.bytes - head.cost, 0))
    }

    static func insert(_ row: EncodedRow, _ draft: inout Draft) throws(OutboxError) {
        let chunk = row.chunk
        try delete(chunk.first, &draft)
        try draft.connection.run(
            """
            INSERT INTO sent(first, count, lane, last, acknowledged, encoding, bytes, fragments)
            VALUES(?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                .sequence(chunk.first), .sequence(chunk.count), .count(chunk.lane.rawValue), .sequence(chunk.last),
                .integer(draft.now), .count(row.encoding), .count(chunk.fragments.count), .blob(row.bytes),
            ], doing: "keep a sent row")
        draft.state.replayable.records += chunk.count
        draft.state.replayable.bytes += row.cost
    }

    /// Forgets the oldest ones while there are too many bytes, or while they are too old; at most 256 at once.
    ///
    /// - Returns: whether anything was forgotten.
    static func trim(_ draft: inout Draft) throws(OutboxError) -> Bool {
        let oldestKept = draft.now - Int64(clamping: draft.limits.replayKeep.milliseconds)
        let bytesKept = draft.limits.replayBytes - draft.limits.replayBytes / 32
        let isOver = draft.state.replayable.bytes > draft.limits.replayBytes
        var old: [UInt64] = []
        var bytes = draft.state.replayable.bytes
        try draft.connection.scan(
            "SELECT first, acknowledged, length(fragments) FROM sent ORDER BY first LIMIT 256",
            doing: "find old sent rows"
        ) {
            guard $0.integer(1) < oldestKept || isOver && bytes > bytesKept else { return false }
            old.append($0.sequence(0))
            bytes -= Cost.of($0.int(2))
            return true
        }
        for first in old { try delete(first, &draft) }
        return !old.isEmpty
    }
}

extension Draft {
    /// Writes what acknowledgements have left, as far as it is worth it or due.
    mutating func settle(isDue: Bool) throws(OutboxError) {
        for run in pending.declared {
            try connection.run(
                "DELETE FROM dropped WHERE start = ? AND count = ?", [.sequence(run.start), .sequence(run.count)],
                doing: "forget declared records")
        }
        pending.forgetDeclared()
        guard limits.replayKeep > .zero else {
            for first in pending.rows { try deleteAcknowledged(first) }
            return pending.forgetRows()
        }
        guard isDue || pending.isWorthFiling else { return }
        var groups: [OutboxLane: [RowHead]] = [:]
        for first in pending.rows {
            guard let head = try head(first) else { continue }
            switch head.lane {
            case .replays: try deleteAcknowledged(first)
            case .readings, .faults: groups[head.lane, default: []].append(head)
            }
        }
        for lane in OutboxLane.allCases { try file(groups[lane] ?? []) }
        pending.forgetRows()
        if state.replayable.bytes > limits.replayBytes { _ = try SentTable.trim(&self) }
    }

    private func deleteAcknowledged(_ first: UInt64) throws(OutboxError) {
        // It is out of the counts since it was acknowledged.
        try connection.run("DELETE FROM row WHERE first = ?", [.sequence(first)], doing: "delete a row")
    }

    /// Joins acknowledged rows of one lane into large ones, none wider than a row may be. Rows join only when none that
    /// waits lies between them, so that large rows do not overlap.
    private mutating func file(_ heads: [RowHead]) throws(OutboxError) {
        var group: [RowHead] = []
        var bytes = 0
        for head in heads {
            let isRowBetween = try isRowBetween(group.last, head)
            let isTooWide = head.last - (group.first?.first ?? head.first) >= OutboxLimits.rowSpanMax
            if isRowBetween || isTooWide || bytes + head.plainBytes >= OutboxLimits.rowBytesMax {
                try write(group)
                (group, bytes) = ([], 0)
            }
            group.append(head)
            bytes += head.plainBytes + 1
        }
        try write(group)
    }

    private func isRowBetween(_ earlier: RowHead?, _ later: RowHead) throws(OutboxError) -> Bool {
        guard let earlier, later.first > earlier.last + 1 else { return false }
        var isThere = false
        try connection.scan(
            "SELECT first FROM row WHERE first > ? AND first < ? AND lane = ?",
            [.sequence(earlier.last), .sequence(later.first), .count(later.lane.rawValue)], doing: "find a row"
        ) { _ in
            isThere = true
            return false
        }
        return isThere
    }

    private mutating func write(_ group: [RowHead]) throws(OutboxError) {
        var chunks: [OutboxChunk] = []
        for head in group {
            if let fragments = try fragments(of: head) { chunks.append(head.chunk(fragments)) }
            try deleteAcknowledged(head.first)
        }
        guard let first = chunks.first else { return }
        let joined = chunks.count == 1 ? first.fragments : OutboxBatchBuilder.merged(chunks)
        let chunk = OutboxChunk(
            lane: first.lane, first: first.first, last: chunks.map(\.last).max() ?? first.last,
            count: chunks.reduce(0) { $0 + $1.count }, fragments: joined)
        try SentTable.insert(EncodedRow(chunk, codec), &self)
    }
}
