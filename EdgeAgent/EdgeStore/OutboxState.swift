internal import Outbox
internal import Primitives
internal import Telemetry

/// The one row of table `state`, kept in memory between commits.
struct OutboxState {
    var nextSequence: UInt64
    var storedBytes: Int
    var recordCount: UInt64
    var lastWallTime: WallInstant?
    /// By lane and priority, in order.
    var tallies: [OutboxTally] = []
    var replayable = OutboxAmount()
    /// Up to the last write of this row.
    var account = WriteAccount()
    /// `nil` in a file that an older program made.
    var mark: KnownElapsed.Mark?
    /// Rows that the hub has acknowledged and that are still in table `row`: first sequences, rising.
    var acknowledged: [UInt64] = []

    init(reading connection: SQLiteConnection) throws(OutboxError) {
        var read: OutboxState?
        var isNew = false
        try connection.run(
            "SELECT next_sequence, stored_bytes, record_count, wall_milliseconds, facts FROM state",
            doing: "read the state"
        ) {
            read = OutboxState(
                nextSequence: $0.sequence(0), storedBytes: $0.int(1), recordCount: $0.sequence(2),
                lastWallTime: $0.isNull(3) ? nil : WallInstant(milliseconds: $0.integer(3)))
            isNew = $0.isNull(4)
            if !isNew, read?.take($0.blob(4)) == false { read = nil }
        }
        guard var read else { throw OutboxError(.damaged, doing: "read the state", which: connection.path) }
        if PlantedBug.agentCountsSequencesAnew.isPlanted {
            read.nextSequence = 1
            try connection.run("SELECT first, last FROM row ORDER BY first", doing: "read the state") {
                if !read.acknowledged.contains($0.sequence(0)) { read.nextSequence = $0.sequence(1) + 1 }
            }
        }
        if isNew, read.recordCount > 0 { read.tallies = try Self.tallies(connection) }
        self = read
    }

    /// Of a file that an older program made.
    private static func tallies(_ connection: SQLiteConnection) throws(OutboxError) -> [OutboxTally] {
        var tallies: [OutboxTally] = []
        try connection.run(
            "SELECT lane, sum(count), sum(length(fragments)) FROM row GROUP BY lane ORDER BY lane",
            doing: "count the rows"
        ) {
            guard let lane = OutboxLane(rawValue: $0.int(0)) else { return }
            let amount = OutboxAmount(records: $0.sequence(1), bytes: $0.int(2))
            tallies.append(OutboxTally(lane: lane, priority: .normal, amount: amount))
        }
        return tallies
    }

    private init(nextSequence: UInt64, storedBytes: Int, recordCount: UInt64, lastWallTime: WallInstant?) {
        self.nextSequence = nextSequence
        self.storedBytes = storedBytes
        self.recordCount = recordCount
        self.lastWallTime = lastWallTime
    }

    func write(_ connection: SQLiteConnection) throws(OutboxError) {
        try connection.run(
            "UPDATE state SET next_sequence = ?, stored_bytes = ?, record_count = ?, wall_milliseconds = ?, facts = ?",
            [
                .sequence(nextSequence), .count(storedBytes), .sequence(recordCount),
                lastWallTime.map { .integer($0.milliseconds) } ?? .null, .blob(facts),
            ], doing: "write the state")
    }

    /// Notes that records have come (or, with `isGone`, have gone).
    mutating func count(_ lane: OutboxLane, _ priority: Retention.Priority, _ amount: OutboxAmount, isGone: Bool) {
        let priority = lane == .readings ? priority : .normal
        func changed(_ old: OutboxAmount) -> OutboxAmount {
            guard isGone else {
                return OutboxAmount(records: old.records + amount.records, bytes: old.bytes + amount.bytes)
            }
            let records = old.records - min(old.records, amount.records)
            return OutboxAmount(records: records, bytes: records == 0 ? 0 : max(old.bytes - amount.bytes, 0))
        }
        let all = changed(OutboxAmount(records: recordCount, bytes: storedBytes))
        (recordCount, storedBytes) = (all.records, all.bytes)
        if let place = tallies.firstIndex(where: { $0.lane == lane && $0.priority == priority }) {
            tallies[place].amount = changed(tallies[place].amount)
        } else if !isGone {
            tallies.append(OutboxTally(lane: lane, priority: priority, amount: amount))
            tallies.sort { ($0.lane.rawValue, $0.priority) < ($1.lane.rawValue, $1.priority) }
        }
    }

    func status(_ connection: SQLiteConnection) throws(OutboxError) -> OutboxStatus {
        var undeclared: UInt64 = 0
        try connection.run("SELECT coalesce(sum(count), 0) FROM dropped", doing: "read the state") {
            undeclared = $0.sequence(0)
        }
        var status = OutboxStatus(
            nextSequence: nextSequence, recordCount: recordCount, storedBytes: storedBytes,
            lastWallTime: lastWallTime, undeclaredCount: undeclared)
        status.tallies = tallies.filter { $0.amount.records > 0 }
        status.replayable = replayable
        status.account = account
        return status
    }

    // MARK: Facts

    private static let version: UInt8 = 1

    /// Layout: `01`, then numbers: the account's five, replayable records and bytes, the tallies (their number, then
    /// lane, priority, records and bytes of each), the acknowledged rows (their number, then each one's distance from
    /// the one before), and, when there is a mark, 1, elapsed milliseconds, monotonic nanoseconds, wall milliseconds
    /// with its sign last, quality, and the bytes that name the start of the machine. Numbers are base 128, low group
    /// first.
    private var facts: [UInt8] {
        var bytes = [Self.version]
        func put(_ number: UInt64) {
            var rest = number
            while rest >= 0x80 {
                bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        put(account.payloadBytes)
        put(account.writtenBytes)
        put(account.running.milliseconds)
        put(account.droppedCount)
        put(account.expiredCount)
        put(replayable.records)
        put(UInt64(replayable.bytes))
        put(UInt64(tallies.count))
        for tally in tallies {
            put(UInt64(tally.lane.rawValue))
            put(UInt64(tally.priority.rawValue))
            put(tally.amount.records)
            put(UInt64(tally.amount.bytes))
        }
        put(UInt64(acknowledged.count))
        var before: UInt64 = 0
        for first in acknowledged {
            put(first - before)
            before = first
        }
        put(mark == nil ? 0 : 1)
        if let mark {
            put(mark.elapsed.milliseconds)
            put(UInt64(max(mark.clocks.monotonic.nanoseconds, 0)))
            let wall = mark.clocks.wall.milliseconds
            put(UInt64(bitPattern: wall << 1 ^ wall >> 63))
            put(UInt64(ClockQuality.allCases.firstIndex(of: mark.clocks.quality) ?? 0))
            bytes += mark.clocks.boot
        }
        return bytes
    }

    private mutating func take(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        guard rest.popFirst() == Self.version else { return false }
        func next() -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), through: 63, by: 7) {
                guard let byte = rest.popFirst() else { return 0 }
                value |= UInt64(byte & 0x7F) << shift
                if byte < 0x80 { break }
            }
            return value
        }
        account.payloadBytes = next()
        account.writtenBytes = next()
        account.running = .milliseconds(Int64(clamping: next()))
        account.droppedCount = next()
        account.expiredCount = next()
        replayable = OutboxAmount(records: next(), bytes: Int(clamping: next()))
        tallies = []
        for _ in 0..<min(next(), 16) {
            guard let lane = OutboxLane(rawValue: Int(clamping: next())),
                let priority = Retention.Priority(rawValue: Int(clamping: next()))
            else { return false }
            let amount = OutboxAmount(records: next(), bytes: Int(clamping: next()))
            tallies.append(OutboxTally(lane: lane, priority: priority, amount: amount))
        }
        var before: UInt64 = 0
        for _ in 0..<min(next(), 4096) {
            before += next()
            acknowledged.append(before)
        }
        guard next() == 1 else { return true }
        let elapsed = Duration.milliseconds(Int64(clamping: next()))
        let monotonic = MonotonicInstant(nanoseconds: Int64(clamping: next()))
        let folded = next()
        let wall = WallInstant(milliseconds: Int64(bitPattern: folded >> 1) ^ -Int64(bitPattern: folded & 1))
        let quality = Int(clamping: next())
        guard ClockQuality.allCases.indices.contains(quality) else { return false }
        mark = KnownElapsed.Mark(
            elapsed: elapsed,
            clocks: .init(monotonic: monotonic, wall: wall, quality: ClockQuality.allCases[quality], boot: Array(rest)))
        return true
    }
}

extension Duration {
    /// Whole milliseconds; never negative.
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        return seconds < 0 ? 0 : UInt64(seconds) * 1000 + UInt64(max(attoseconds, 0) / 1_000_000_000_000_000)
    }
}

extension PlantedBug {
    /// The gateway goes on behind the last record that waits, not behind the last sequence that it gave out.
    static var agentCountsSequencesAnew: PlantedBug { PlantedBug("agentCountsSequencesAnew") }
}
