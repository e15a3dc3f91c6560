public import Outbox
internal import Primitives
public import Telemetry

extension SQLiteOutbox {
    public func replay(_ run: Run) throws(OutboxError) -> ReplayOutcome {
        try small { (contents: inout Contents) throws(OutboxError) in
            if !contents.pending.isEmpty { try settle(&contents, isFiled: true) }
            var draft = Draft(contents, now: clock.now(), limits: limits)
            // What is not made yet is neither here nor gone.
            let made = Run(start: 1, count: draft.state.nextSequence - 1)
            guard let asked = made.subtracting(made.subtracting([run])).first else {
                return ReplayOutcome(restored: [], waiting: [], gone: [], rest: nil)
            }
            var search = ReplaySearch(asked)
            let outcome = try contents.connection.transaction(doing: "put records back on their way") {
                () throws(OutboxError) in
                let outcome = try search.perform(&draft)
                for run in outcome.gone { try OutboxTables.declare(run, draft.connection) }
                if !outcome.restored.isEmpty || !outcome.gone.isEmpty { try draft.writeState() }
                return outcome
            }
            draft.take(into: &contents)
            return outcome
        }
    }
}

/// Looks for the records of a range in both tables, and says where each one is. Exact as far as it goes: every row that
/// can hold a record below its end was seen. What is in neither table then will never be sent again.
///
/// A row begins less than `OutboxLimits.rowSpanMax` before its last record, so that the rows of a range lie together;
/// the few wider ones that an older program has left are in indexes of their own.
struct ReplaySearch {
    /// Heads of rows that one search reads in table `row`. A row with holes counts more, because its records are read.
    private static let waitingCostMax = 4096
    private static let holedCost = 16
    /// Rows of table `sent` that one search reads; it puts `OutboxLimits.replayRowsMax` back at most.
    private static let sentRowsMax = 128

    private let asked: Run
    /// The search has seen everything below; it is above the start of what was asked for.
    private var end: UInt64

    init(_ asked: Run) {
        self.asked = asked
        end = asked.last + 1
    }

    mutating func perform(_ draft: inout Draft) throws(OutboxError) -> ReplayOutcome {
        var here = IntervalSet(intervalCountMax: .max)
        for run in Run.joined(try waiting(draft)) { _ = here.insert(run) }
        let waiting = here
        let restored = try restore(&draft, &here)
        var gone = here.missing(in: searched)
        if gone.count > OutboxLimits.goneRunsMax {
            end = gone[OutboxLimits.goneRunsMax].start
            gone.removeSubrange(OutboxLimits.goneRunsMax...)
        }
        return ReplayOutcome(
            restored: inside(restored), waiting: inside(waiting.runs), gone: gone,
            rest: end > asked.last ? nil : Run(start: end, count: asked.last - end + 1))
    }

    private var searched: Run { Run(start: asked.start, count: end - asked.start) }

    private func inside(_ runs: [Run]) -> [Run] {
        Run.joined(runs).flatMap { part in searched.subtracting(searched.subtracting([part])) }
    }

    // MARK: Table row

    private mutating func waiting(_ draft: Draft) throws(OutboxError) -> [Run] {
        var runs: [Run] = []
        var cost = 0
        for head in try heads(in: .row, draft, countMax: Self.waitingCostMax) {
            if cost >= Self.waitingCostMax, head.first > asked.start {
                end = min(end, head.first)
                break
            }
            let whole = Run(start: head.first, count: head.last - head.first + 1)
            if head.count == whole.count {
                cost += 1
                runs.append(whole)
            } else {
                cost += Self.holedCost
                // Of a row that cannot be read nobody knows which records are in it: it is given up as a whole later.
                let fragments = try draft.fragments(of: head)
                runs += fragments.map { FragmentList($0).runs } ?? [whole]
            }
        }
        return runs
    }

    /// Adds those records in table `row` that a row of table `sent` may hold, also where nobody asked for them.
    ///
    /// - Returns: how far that is known.
    private func waiting(
        besides sent: RowHead, _ draft: Draft, _ here: inout IntervalSet
    ) throws(OutboxError) -> Run {
        var search = ReplaySearch(Run(start: sent.first, count: sent.last - sent.first + 1))
        for run in Run.joined(try search.waiting(draft)) { _ = here.insert(run) }
        return search.searched
    }

    // MARK: Table sent

    private mutating func restore(
        _ draft: inout Draft, _ here: inout IntervalSet
    ) throws(OutboxError) -> [Run] {
        var restored: [Run] = []
        var rowCount = 0
        for head in try heads(in: .sent, draft, countMax: Self.sentRowsMax) {
            guard head.first < end else { break }
            if rowCount >= OutboxLimits.replayRowsMax, head.first > asked.start {
                end = head.first
                break
            }
            // Without its bytes a row has nothing to send again.
            guard let fragments = try draft.fragments(of: head, in: "sent") else { continue }
            let list = FragmentList(fragments)
            var isWanted = { [asked, end, here] (sequence: UInt64) in
                sequence >= asked.start && sequence < end && !here.contains(sequence)
            }
            var chunks = Self.chunks(of: list, isWanted)
            guard !chunks.isEmpty else { continue }
            if try draft.excess(chunks.reduce(0) { $0 + Cost.of($1.fragments.count) }) > 0 {
                // No room for both: all of it is moved, what was not asked for as well, and it may be asked for next.
                let known = try waiting(besides: head, draft, &here)
                isWanted = { [isWanted, here] in known.contains($0) && !here.contains($0) || isWanted($0) }
                chunks = Self.chunks(of: list, isWanted)
                try SentTable.delete(head.first, &draft)
            }
            for chunk in chunks {
                try draft.insert(EncodedRow(chunk, draft.codec))
                rowCount += 1
            }
            for run in Run.joining(list.lazy.map(\.sequence).filter(isWanted)) {
                _ = here.insert(run)
                restored.append(run)
            }
        }
        return restored
    }

    /// The wanted records of a row, in rows without holes: so no row of this lane reaches over another one, and a batch
    /// never has to take several at once.
    private static func chunks(of list: FragmentList, _ isWanted: (UInt64) -> Bool) -> [OutboxChunk] {
        var chunks: [OutboxChunk] = []
        for record in list where isWanted(record.sequence) {
            let bytes = list.bytes[record.range]
            if let last = chunks.indices.last, record.sequence - 1 == chunks[last].last,
                record.sequence - chunks[last].first < OutboxLimits.rowSpanMax
            {
                chunks[last].append(bytes, sequence: record.sequence)
            } else {
                chunks.append(
                    OutboxChunk(
                        lane: .replays, first: record.sequence, last: record.sequence, count: 1, fragments: Array(bytes)
                    ))
            }
        }
        return chunks
    }

    // MARK: Rows of a range

    private enum Table {
        case row, sent

        var columns: String {
            switch self {
            case .row: RowHead.columns
            case .sent: SentTable.columns
            }
        }
        /// A row of version 1 has no `last`; it has no holes either.
        var narrow: String {
            switch self {
            case .row: "row WHERE first > ? AND first <= ? AND coalesce(last, first + count - 1) >= ?"
            case .sent: "sent WHERE first > ? AND first <= ? AND last >= ?"
            }
        }
        var wide: String {
            let table =
                switch self {
                case .row: "row INDEXED BY row_wide"
                case .sent: "sent INDEXED BY sent_wide"
                }
            // As the index has it, to the letter.
            return table + " WHERE last - first >= \(OutboxLimits.rowSpanMax) AND first <= ? AND last >= ?"
        }
    }

    /// Rows that reach into the range, in order of their first sequences. Those beyond `countMax` are left out, and then
    /// the search ends before them.
    private mutating func heads(in table: Table, _ draft: Draft, countMax: Int) throws(OutboxError) -> [RowHead] {
        let doing = "find records for a replay"
        let reach = asked.start - min(asked.start, OutboxLimits.rowSpanMax)
        var found: [RowHead] = []
        try draft.connection.run(
            "SELECT \(table.columns) FROM \(table.wide) ORDER BY first",
            [.sequence(reach), .sequence(asked.start)], doing: doing
        ) { found.append(RowHead($0)) }
        var (end, count) = (end, 0)
        try draft.connection.scan(
            "SELECT \(table.columns) FROM \(table.narrow) ORDER BY first",
            [.sequence(reach), .sequence(asked.last), .sequence(asked.start)], doing: doing
        ) {
            let head = RowHead($0)
            count += 1
            guard count <= countMax || head.first <= asked.start else {
                end = min(end, head.first)
                return false
            }
            found.append(head)
            return true
        }
        self.end = end
        return found
    }
}
