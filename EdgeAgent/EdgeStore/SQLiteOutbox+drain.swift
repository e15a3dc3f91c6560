public import Outbox
internal import Primitives
public import Telemetry

// MARK: Sending and forgetting

/// When `tidy` last did what it does rarely.
struct TidyPace {
    var lastExpiry: MonotonicInstant?
    var lastTrim: MonotonicInstant?

    /// Whether it is time again; notes it when it is.
    static func isDue(_ last: inout MonotonicInstant?, every pause: Duration, now: MonotonicInstant) -> Bool {
        if let last, now - last < pause { return false }
        last = now
        return true
    }
}

extension SQLiteOutbox {
    /// How long acknowledgements wait for a commit that takes them along.
    static let settleAfter = Duration.seconds(2)

    public func take(_ request: TakeRequest) throws(OutboxError) -> OutboxBatch? {
        try use { (contents: inout Contents) throws(OutboxError) in
            var builder = OutboxBatchBuilder(bytesMax: request.bytesMax)
            let now = Int64(clamping: contents.elapsed.elapsed(clock.now()).milliseconds)
            var damaged: [UInt64] = []
            // The partial indexes are used only when their conditions are written into the statement.
            let lane = request.lane == .readings ? "lane = 0" : "lane = \(request.lane.rawValue) AND lane <> 0"
            try contents.connection.scan(
                """
                SELECT \(RowHead.columns), expires, fragments FROM row WHERE \(lane) AND first > ? AND first < ?
                ORDER BY first
                """,
                [.sequence(request.after), .sequence(request.before ?? .max)], doing: "read a batch"
            ) {
                let head = RowHead($0)
                if contents.pending.contains(head.first) { return true }
                if !$0.isNull(8), $0.integer(8) <= now { return true }
                let fragments = contents.codec.decoded($0.blob(9), encoding: head.encoding, count: head.plainBytes)
                guard let fragments else {
                    damaged.append(head.first)
                    return true
                }
                return builder.add(head.chunk(fragments))
            }
            contents.damaged.formUnion(damaged)
            var dropped: [Run] = []
            try contents.connection.run(
                "SELECT start, count FROM dropped ORDER BY start LIMIT ?",
                [.count(OutboxLimits.declaredRunCountMax + contents.pending.declared.count)], doing: "read a batch"
            ) {
                let run = Run(start: $0.sequence(0), count: $0.sequence(1))
                if dropped.count < OutboxLimits.declaredRunCountMax, !contents.pending.declared.contains(run) {
                    dropped.append(run)
                }
            }
            return builder.batch(dropped: dropped)
        }
    }

    public func acknowledge(_ batches: [OutboxBatch]) throws(OutboxError) {
        try use { (contents: inout Contents) throws(OutboxError) in
            let now = clock.now()
            for batch in batches {
                for first in batch.rows where !contents.pending.contains(first) {
                    let draft = Draft(contents, now: now, limits: limits)
                    guard let head = try draft.head(first) else { continue }
                    contents.pending.add(head, now: now.monotonic)
                    contents.state.count(head.lane, head.priority, head.amount, isGone: true)
                }
                contents.pending.add(declared: batch.dropped, now: now.monotonic)
            }
            if contents.pending.isFull {
                try Self.small(&contents) { (contents: inout Contents) throws(OutboxError) in
                    try settle(&contents, isFiled: true)
                }
            }
        }
    }

    /// Says how the outbox is doing to whoever looks from outside. Best effort; no sync.
    public func note(_ words: String) {
        contents.withLock { $0.fileLock.note(words) }
    }

    /// Writes what acknowledgements have left; for the end of the program.
    public func flush() throws(OutboxError) {
        try small { (contents: inout Contents) throws(OutboxError) in
            if contents.pending.since != nil { try settle(&contents, isFiled: false) }
        }
    }

    /// - Parameter isFiled: the rows go into table `sent`; else their list is written down.
    func settle(_ contents: inout Contents, isFiled: Bool) throws(OutboxError) {
        var draft = Draft(contents, now: clock.now(), limits: limits)
        try contents.connection.transaction(doing: "forget acknowledged records") { () throws(OutboxError) in
            try draft.settle(isDue: isFiled)
            try draft.writeState()
        }
        draft.take(into: &contents)
    }

    // MARK: Housekeeping

    public func tidy() throws(OutboxError) -> [Run] {
        try small { (contents: inout Contents) throws(OutboxError) in
            let now = clock.now().monotonic
            if let since = contents.pending.since, now - since >= Self.settleAfter {
                try settle(&contents, isFiled: false)
            }
            var expired: [Run] = []
            if TidyPace.isDue(&contents.pace.lastExpiry, every: .seconds(1), now: now) {
                expired = try expire(&contents)
            }
            if TidyPace.isDue(&contents.pace.lastTrim, every: .seconds(60), now: now) {
                if !contents.pending.isEmpty { try settle(&contents, isFiled: true) }
                try trim(&contents)
                try giveBack(contents)
            }
            return expired
        }
    }

    /// At most 256 rows at once; the others follow a second later.
    private func expire(_ contents: inout Contents) throws(OutboxError) -> [Run] {
        var draft = Draft(contents, now: clock.now(), limits: limits)
        var rows: [(first: UInt64, reason: SensorLoss.Reason)] = contents.damaged.map { ($0, .dropped) }
        try contents.connection.run(
            "SELECT first FROM row WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT 256",
            [.integer(draft.now)], doing: "find expired rows"
        ) { if !contents.pending.contains($0.sequence(0)) { rows.append(($0.sequence(0), .expired)) } }
        guard !rows.isEmpty else { return [] }
        try contents.connection.transaction(doing: "let records expire") { () throws(OutboxError) in
            for row in rows { try draft.lose(row.first, rank: .readings(.low), reason: row.reason) }
            draft.damaged = []
            try draft.writeState()
        }
        draft.take(into: &contents)
        return Run.joined(draft.dropped)
    }

    private func trim(_ contents: inout Contents) throws(OutboxError) {
        var draft = Draft(contents, now: clock.now(), limits: limits)
        let isTrimmed = try contents.connection.transaction(doing: "forget old sent records") {
            () throws(OutboxError) in
            guard try SentTable.trim(&draft) else { return false }
            try draft.writeState()
            return true
        }
        if isTrimmed { draft.take(into: &contents) }
    }

    /// A little at a time: moving pages costs writing, too.
    private func giveBack(_ contents: Contents) throws(OutboxError) {
        let free = try contents.connection.number("PRAGMA freelist_count")
        guard free > 1024, free > (try contents.connection.number("PRAGMA page_count")) / 4 else { return }
        try contents.connection.execute("PRAGMA incremental_vacuum(\(free / 2))", doing: "give space back")
    }

    public func losses() throws(OutboxError) -> [SensorLoss] {
        try use { (contents: inout Contents) throws(OutboxError) in
            try LossTable.read(contents.connection)
        }
    }
}
