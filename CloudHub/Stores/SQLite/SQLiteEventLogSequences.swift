import EventLog
import Logging
public import Primitives
import Telemetry

/// Which readings of which gateway the log has: changed in the transaction that appends them, so that a repeat is
/// recognised after any crash.
final class LogSequences {
    /// Interval sets kept in memory; beyond that all are dropped and read again as they are needed.
    static let cachedMax = 20_000

    struct Key: Hashable {
        let gateway: DeviceID
        let epoch: Epoch
    }

    /// One gateway's outbox.
    struct Entry {
        let epoch: Epoch
        /// Appended, quarantined, or declared by the gateway as never to come.
        var seen: IntervalSet
        /// What the gateway declared, also what `seen` had no room for; when this set is full, the rest is only in `seen`.
        var dropped: IntervalSet

        init(epoch: Epoch) {
            self.epoch = epoch
            seen = IntervalSet()
            dropped = IntervalSet()
        }

        init(
            epoch: String, seen: UnsafeRawBufferPointer, dropped: UnsafeRawBufferPointer
        ) throws(EventLogError) {
            guard let epoch = Epoch(epoch), let seen = IntervalSet(decoding: Array(seen)),
                let dropped = IntervalSet(decoding: Array(dropped))
            else {
                throw EventLogError(
                    .damaged, doing: "read the sequence numbers of a gateway", detail: "an interval set is damaged")
            }
            self.epoch = epoch
            self.seen = seen
            self.dropped = dropped
        }
    }

    /// What is done with the batches of a chunk.
    struct Verdict {
        var edits: [AppendGroup.Chunk.BatchEdit] = []
        var quarantined: [QuarantinedRecord] = []
        var receipts: [AppendOutcome.GatewayReceipt] = []
        var repeatedCount = 0
    }

    private let connection: LogConnection
    private var cache: [Key: Entry] = [:]
    private var changed: Set<Key> = []
    private var select: LogStatement?
    private var upsert: LogStatement?
    private let logger: Logger
    /// Outboxes whose holes were too many, as told in the log.
    private var namedFull: Set<Key> = []
    /// Outboxes whose losses were too many, as told in the log.
    private var namedLost: Set<Key> = []

    init(connection: LogConnection, logger: Logger) {
        self.connection = connection
        self.logger = logger
    }

    /// Decides for each batch what of it is new, and counts that as seen.
    func settle(_ chunk: AppendGroup.Chunk) throws(EventLogError) -> Verdict {
        var verdict = Verdict()
        for batch in chunk.batches {
            let key = Key(gateway: batch.gateway, epoch: batch.epoch)
            var entry = try entry(of: key)
            let before = PlantedBug.hubKeepsRepeats.isPlanted ? IntervalSet() : entry.seen
            if !Self.addDropped(of: batch, to: &entry) { nameLost(key) }
            let declared = entry
            let isRoomLeft = Self.addRuns(of: batch, to: &entry)
            guard isRoomLeft else {
                // What it declared counts all the same: it may make room for what comes next.
                cache[key] = declared
                changed.insert(key)
                nameFull(key)
                verdict.edits.append(.drop)
                let body = chunk.body(of: batch)
                verdict.quarantined.append(Self.tooManyGaps(batch, body: body))
                verdict.receipts.append(Self.tooManyGapsReceipt(batch, body: body))
                continue
            }
            if entry.seen != before || !batch.dropped.isEmpty {
                cache[key] = entry
                changed.insert(key)
            }
            let total = Self.count(batch.runs)
            let new = Self.count(batch.runs.flatMap { before.missing(in: $0) })
            verdict.repeatedCount += Int(clamping: total - new)
            verdict.quarantined += batch.quarantined.filter { $0.sequence.map { !before.contains($0) } ?? true }
            if new == total {
                verdict.edits.append(.keep)
            } else {
                verdict.edits.append(new == 0 ? .drop : Self.trimmed(chunk, batch, seen: before))
            }
        }
        return verdict
    }

    /// Writes what changed; inside the transaction.
    func store(at milliseconds: Int64) throws(EventLogError) {
        guard !changed.isEmpty else { return }
        let statement = try connection.prepare(
            """
            INSERT INTO sequence VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT DO UPDATE SET seen = excluded.seen, dropped = excluded.dropped, changed = excluded.changed
            """, keptIn: &upsert)
        for key in changed {
            guard let entry = cache[key] else { continue }
            statement.bind(key.gateway.text, 1)
            statement.bind(key.epoch.text, 2)
            statement.bind(copying: entry.seen.encoded(), 3)
            statement.bind(copying: entry.dropped.encoded(), 4)
            statement.bind(milliseconds, 5)
            try connection.run(statement, doing: "store the sequence numbers of a gateway")
        }
    }

    func committed() {
        changed.removeAll(keepingCapacity: true)
        guard cache.count > Self.cachedMax else { return }
        cache.removeAll()
        namedFull.removeAll()
        namedLost.removeAll()
    }

    /// The transaction was taken back: what it changed is read again.
    func tookBack() {
        for key in changed { cache[key] = nil }
        changed.removeAll()
    }

    private func entry(of key: Key) throws(EventLogError) -> Entry {
        if let known = cache[key] { return known }
        let statement = try connection.prepare(
            "SELECT seen, dropped FROM sequence WHERE gateway = ?1 AND epoch = ?2", keptIn: &select)
        statement.bind(key.gateway.text, 1)
        statement.bind(key.epoch.text, 2)
        defer { statement.reset() }
        let doing = "read the sequence numbers of a gateway"
        guard try connection.step(statement, doing: doing) else {
            let fresh = Entry(epoch: key.epoch)
            cache[key] = fresh
            return fresh
        }
        let stored = try Entry(epoch: key.epoch.text, seen: statement.blob(0), dropped: statement.blob(1))
        cache[key] = stored
        return stored
    }

    /// Before the batch's own runs, because a declared drop closes a hole and so makes room. What came is not lost,
    /// whatever the gateway says of it. What `dropped` has no room for closes its hole all the same, and is not counted
    /// as lost; what `seen` has no room for either shows as a gap.
    ///
    /// - Returns: `false` when `dropped` had no room for all of it.
    private static func addDropped(of batch: BatchMark, to entry: inout Entry) -> Bool {
        var isRoomLeft = true
        for run in batch.dropped.flatMap({ entry.seen.missing(in: $0) }) where entry.dropped.insert(run) == .full {
            isRoomLeft = false
            break
        }
        for run in batch.dropped where entry.seen.insert(run) == .full { break }
        return isRoomLeft
    }

    /// - Returns: `false` when the gateway left so many holes that no more can be remembered.
    private static func addRuns(of batch: BatchMark, to entry: inout Entry) -> Bool {
        for run in batch.runs where entry.seen.insert(run) == .full { return false }
        return true
    }

    /// Once for each outbox, until the cache starts anew.
    private func nameFull(_ key: Key) {
        guard namedFull.insert(key).inserted else { return }
        logger.error(
            "a gateway left more holes in its sequence numbers than are remembered; what makes another hole is quarantined until the holes close; give it a new outbox if they do not",
            metadata: [
                "gateway": "\(key.gateway)", "epoch": "\(key.epoch.text)",
                "holes_max": "\(IntervalSet.intervalCountMaxDefault)",
            ])
    }

    /// Once for each outbox, until the cache starts anew.
    private func nameLost(_ key: Key) {
        guard namedLost.insert(key).inserted else { return }
        logger.warning(
            "a gateway declared more separate losses than are remembered; further ones close their gaps, but device gaps does not count them as lost, and trace calls them gone",
            metadata: [
                "gateway": "\(key.gateway)", "epoch": "\(key.epoch.text)",
                "losses_max": "\(IntervalSet.intervalCountMaxDefault)",
            ])
    }

    private static func count(_ runs: [Run]) -> UInt64 { runs.reduce(0) { $0 &+ $1.count } }

    private static func tooManyGaps(_ batch: BatchMark, body: [UInt8]) -> QuarantinedRecord {
        QuarantinedRecord(
            gateway: batch.gateway, epoch: batch.epoch, sequence: batch.runs.first?.start,
            code: QuarantineCode.tooManyGaps.rawValue, reason: tooManyGapsReason, body: body)
    }

    private static func tooManyGapsReceipt(_ batch: BatchMark, body: [UInt8]) -> AppendOutcome.GatewayReceipt {
        let records = (try? Batch(parsing: body))?.records ?? []
        let entries = batch.runs.map { run in
            Receipt.Entry(
                run: run, code: .tooManyGaps, reason: tooManyGapsReason,
                first: records.first { $0.sequence == run.start }.map { .init($0.record) })
        }
        return AppendOutcome.GatewayReceipt(
            gateway: batch.gateway, bytes: Receipt(epoch: batch.epoch, entries: entries).encoded())
    }

    private static let tooManyGapsReason =
        "the gateway left more than \(IntervalSet.intervalCountMaxDefault) holes in its sequence numbers, so repeats can no "
        + "longer be recognised; the hub asks for what is missing (cloud-hub device gaps); if the holes stay, stop the "
        + "gateway when its outbox is empty and move the outbox file away, so that it begins a new one"

    /// The batch without what is known. Ingest parsed it before; should it not parse here, it is kept whole, because a
    /// repeat is better than a loss.
    private static func trimmed(
        _ chunk: AppendGroup.Chunk, _ batch: BatchMark, seen: IntervalSet
    ) -> AppendGroup.Chunk.BatchEdit {
        guard !batch.entry.isEmpty, let parsed = try? Batch(parsing: chunk.body(of: batch)) else { return .keep }
        let rest = parsed.removing { seen.contains($0) }
        return rest.records.isEmpty ? .drop : .replaceBody(rest.encoded())
    }
}

extension PlantedBug {
    /// The hub stores what it has already.
    public static var hubKeepsRepeats: PlantedBug { PlantedBug("hubKeepsRepeats") }
}
