import EdgeStore
import Outbox
import Primitives
import Synchronization
import Telemetry

/// The store contract without a disk: the suite runs on it and on SQLite, so that both mean the same.
final class MemoryOutbox: OutboxStore {
    struct Row {
        var chunk: OutboxChunk
        /// On the axis of known time.
        var expires: Duration?
        var acknowledged = Duration.zero

        var bytes: Int { chunk.fragments.count + 64 }
    }

    struct Contents {
        var next: UInt64 = 1
        var rows: [UInt64: Row] = [:]
        var sent: [UInt64: Row] = [:]
        var dropped: [Run] = []
        var lost: [SensorLoss] = []
        var kept: [String: [UInt8]] = [:]
        var wall: WallInstant?
        var receipts: [StoredReceipt] = []
        var commands: [(command: QueuedCommand, state: Int, outcome: String)] = []
        var elapsed: KnownElapsed
        var account = WriteAccount()

        mutating func lose(_ chunk: OutboxChunk, _ reason: SensorLoss.Reason) -> [Run] {
            let list = FragmentList(chunk.fragments)
            dropped = Run.joined(dropped + list.runs)
            for loss in LossReport.losses(in: list, reason: reason) { change(loss, by: loss.count, isReport: false) }
            switch reason {
            case .dropped: account.droppedCount += chunk.count
            case .expired: account.expiredCount += chunk.count
            }
            return list.runs
        }

        mutating func change(_ loss: SensorLoss, by count: UInt64, isReport: Bool) {
            let old = lost.first { $0.sensor == loss.sensor && $0.reason == loss.reason }?.count ?? 0
            lost.removeAll { $0.sensor == loss.sensor && $0.reason == loss.reason }
            let new = isReport ? old - min(old, count) : old + count
            if new > 0 { lost.append(SensorLoss(sensor: loss.sensor, reason: loss.reason, count: new)) }
            lost.sort { $0.sensor < $1.sensor }
        }
    }

    let epoch = Epoch(value: 7)
    let limits: OutboxLimits
    let clock: OutboxClock
    private let contents: Mutex<Contents>

    init(limits: OutboxLimits, clock: OutboxClock) {
        self.limits = limits
        self.clock = clock
        contents = Mutex(Contents(elapsed: KnownElapsed(after: nil, now: clock.now())))
    }

    func status() -> OutboxStatus {
        contents.withLock { contents in
            func amount(_ rows: [Row]) -> OutboxAmount {
                OutboxAmount(records: rows.reduce(0) { $0 + $1.chunk.count }, bytes: rows.reduce(0) { $0 + $1.bytes })
            }
            let rows = Array(contents.rows.values)
            var status = OutboxStatus(
                nextSequence: contents.next, recordCount: amount(rows).records, storedBytes: amount(rows).bytes,
                lastWallTime: contents.wall, undeclaredCount: contents.dropped.reduce(0) { $0 + $1.count })
            for lane in OutboxLane.allCases {
                for priority in Retention.Priority.allCases {
                    let mine = rows.filter { $0.chunk.lane == lane && $0.chunk.retention.priority == priority }
                    guard !mine.isEmpty else { continue }
                    status.tallies.append(OutboxTally(lane: lane, priority: priority, amount: amount(mine)))
                }
            }
            status.replayable = amount(Array(contents.sent.values))
            status.account = contents.account
            return status
        }
    }

    func kept(_ key: String) -> [UInt8]? { contents.withLock { $0.kept[key] } }

    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            for (index, record) in commit.records.enumerated() where record.sequence != contents.next + UInt64(index) {
                throw OutboxError(.wrongRecords, doing: "append", which: "memory")
            }
            let now = contents.elapsed.elapsed(clock.now())
            let incoming = OutboxChunk.chunks(of: commit).map {
                Row(chunk: $0, expires: $0.retention.timeToLive.map { now + $0 })
            }
            let (rows, sent) = (contents.rows, contents.sent)
            let used = (Array(rows.values) + Array(sent.values) + incoming).reduce(0) { $0 + $1.bytes }
            let eviction = try OutboxEviction.decide(
                excess: used - limits.quotaBytes,
                incoming: incoming.map { StoredRow(first: $0.chunk.first, rank: $0.chunk.rank, bytes: $0.bytes) }
            ) { rank, after throws(OutboxError) in
                let all = rank == .acknowledged ? sent.values : rows.values
                return all.filter { (rank == .acknowledged || $0.chunk.rank == rank) && $0.chunk.first > after }
                    .min { $0.chunk.first < $1.chunk.first }
                    .map { StoredRow(first: $0.chunk.first, rank: rank, bytes: $0.bytes) }
            }
            var dropped: [Run] = []
            for row in eviction.stored {
                if row.rank == .acknowledged {
                    contents.sent[row.first] = nil
                } else if let lost = contents.rows.removeValue(forKey: row.first) {
                    dropped += contents.lose(lost.chunk, .dropped)
                }
            }
            for row in incoming {
                if eviction.refused.contains(where: { $0.first == row.chunk.first }) {
                    dropped += contents.lose(row.chunk, .dropped)
                } else {
                    contents.rows[row.chunk.first] = row
                }
                contents.account.payloadBytes += UInt64(row.chunk.fragments.count)
            }
            for loss in commit.reported { contents.change(loss, by: loss.count, isReport: true) }
            for kept in commit.kept { contents.kept[kept.key] = kept.bytes }
            contents.next += UInt64(commit.records.count)
            contents.wall = commit.lastWallTime(after: contents.wall)
            return Run.joined(dropped)
        }
    }

    func take(_ request: TakeRequest) -> OutboxBatch? {
        contents.withLock { contents in
            let now = contents.elapsed.elapsed(clock.now())
            var builder = OutboxBatchBuilder(bytesMax: request.bytesMax)
            for row in contents.rows.values.sorted(by: { $0.chunk.first < $1.chunk.first })
            where row.chunk.lane == request.lane && row.chunk.first > request.after
                && row.chunk.first < request.before ?? .max && row.expires.map({ $0 > now }) ?? true
            {
                guard builder.add(row.chunk) else { break }
            }
            return builder.batch(dropped: Array(contents.dropped.prefix(OutboxLimits.declaredRunCountMax)))
        }
    }

    func acknowledge(_ batches: [OutboxBatch]) {
        contents.withLock { contents in
            let now = contents.elapsed.elapsed(clock.now())
            for batch in batches {
                for first in batch.rows {
                    guard var row = contents.rows.removeValue(forKey: first) else { continue }
                    row.acknowledged = now
                    if limits.replayKeep > .zero, row.chunk.lane != .replays { contents.sent[first] = row }
                }
                contents.dropped.removeAll { batch.dropped.contains($0) }
            }
            var bytes = contents.sent.values.reduce(0) { $0 + $1.bytes }
            for first in contents.sent.keys.sorted() where bytes > limits.replayBytes {
                bytes -= contents.sent.removeValue(forKey: first)?.bytes ?? 0
            }
        }
    }

    func tidy() -> [Run] {
        contents.withLock { contents in
            let now = contents.elapsed.elapsed(clock.now())
            var expired: [Run] = []
            for (first, row) in contents.rows where row.expires.map({ $0 <= now }) ?? false {
                contents.rows[first] = nil
                expired += contents.lose(row.chunk, .expired)
            }
            for (first, row) in contents.sent where row.acknowledged + limits.replayKeep < now {
                contents.sent[first] = nil
            }
            return Run.joined(expired)
        }
    }

    func losses() -> [SensorLoss] { contents.withLock { $0.lost } }

    func replay(_ run: Run) -> ReplayOutcome {
        contents.withLock { contents in
            let made = Run(start: 1, count: contents.next - 1)
            guard let asked = made.subtracting(made.subtracting([run])).first else {
                return ReplayOutcome(restored: [], waiting: [], gone: [], rest: nil)
            }
            func inside(_ runs: [Run]) -> [Run] {
                Run.joined(runs).flatMap { part in asked.subtracting(asked.subtracting([part])) }
            }
            func reaches(_ row: Row) -> Bool { row.chunk.first <= asked.last && row.chunk.last >= asked.start }
            let waiting = contents.rows.values.filter(reaches).flatMap { FragmentList($0.chunk.fragments).runs }
            var restored: [Run] = []
            for row in contents.sent.values where reaches(row) {
                let list = FragmentList(row.chunk.fragments)
                for record in list
                where asked.contains(record.sequence) && !waiting.contains(where: { $0.contains(record.sequence) }) {
                    restored.append(Run(start: record.sequence, count: 1))
                    contents.rows[record.sequence] = Row(
                        chunk: OutboxChunk(
                            lane: .replays, first: record.sequence, last: record.sequence, count: 1,
                            fragments: Array(list.bytes[record.range])))
                }
            }
            let gone = asked.subtracting(restored + waiting)
            contents.dropped = Run.joined(contents.dropped + gone)
            return ReplayOutcome(restored: inside(restored), waiting: inside(waiting), gone: gone, rest: nil)
        }
    }

    func keepReceipt(_ receipt: [UInt8], at time: WallInstant) {
        contents.withLock {
            $0.receipts.insert(StoredReceipt(time: time, bytes: receipt), at: 0)
            $0.receipts = Array($0.receipts.prefix(OutboxLimits.receiptCountMax))
        }
    }

    func receipts(countMax: Int) -> [StoredReceipt] { contents.withLock { Array($0.receipts.prefix(countMax)) } }

    func keepCommand(_ command: QueuedCommand) -> Bool {
        contents.withLock { contents in
            guard !contents.commands.contains(where: { $0.command.messageID == command.messageID }) else {
                return false
            }
            contents.commands.append((command, 0, ""))
            return true
        }
    }

    func beginCommand(isTimeKnown: Bool) -> QueuedCommand? {
        contents.withLock { contents in
            var held: Set<DeviceID> = []
            let index = contents.commands.firstIndex { command, state, _ in
                guard state == 0 else { return false }
                if isTimeKnown || command.expiresAt == nil && !held.contains(command.device) { return true }
                held.insert(command.device)
                return false
            }
            guard let index else { return nil }
            contents.commands[index].state = 1
            return contents.commands[index].command
        }
    }

    func endCommand(_ messageID: String, outcome: String) {
        contents.withLock { contents in
            guard let index = contents.commands.firstIndex(where: { $0.command.messageID == messageID }) else { return }
            contents.commands[index].state = 2
            contents.commands[index].outcome = outcome
        }
    }

    func endedCommands(countMax: Int) -> [EndedCommand] {
        contents.withLock { contents in
            contents.commands.filter { $0.state == 2 }.suffix(countMax).reversed().map {
                EndedCommand(device: $0.command.device, name: $0.command.name, outcome: $0.outcome)
            }
        }
    }
}
