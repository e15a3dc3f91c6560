import Outbox
import Primitives
import Synchronization
import Telemetry

/// The store contract without a disk: the suite runs on it and on SQLite, so that both mean the same.
final class MemoryOutbox: OutboxStore {
    struct Contents {
        var next: UInt64 = 1
        var rows: [UInt64: OutboxChunk] = [:]
        var dropped: [Run] = []
        var kept: [String: [UInt8]] = [:]
        var wall: WallInstant?
        var receipts: [StoredReceipt] = []
        var commands: [(command: QueuedCommand, state: Int, outcome: String)] = []

        var storedBytes: Int { rows.values.reduce(0) { $0 + $1.quotaBytes } }
    }

    let epoch = Epoch(value: 7)
    let limits: OutboxLimits
    private let contents = Mutex(Contents())

    init(limits: OutboxLimits) { self.limits = limits }

    func status() -> OutboxStatus {
        contents.withLock {
            OutboxStatus(
                nextSequence: $0.next, recordCount: $0.rows.values.reduce(0) { $0 + $1.count },
                storedBytes: $0.storedBytes, lastWallTime: $0.wall,
                undeclaredCount: $0.dropped.reduce(0) { $0 + $1.count })
        }
    }

    func kept(_ key: String) -> [UInt8]? { contents.withLock { $0.kept[key] } }

    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        try contents.withLock { (contents: inout Contents) throws(OutboxError) in
            for (index, record) in commit.records.enumerated() where record.sequence != contents.next + UInt64(index) {
                throw OutboxError(.wrongRecords, doing: "append", which: "memory")
            }
            let rows = contents.rows
            let eviction = try OutboxEviction.decide(
                storedBytes: contents.storedBytes, quotaBytes: limits.quotaBytes,
                incoming: OutboxChunk.chunks(of: commit.records)
            ) { lane, after throws(OutboxError) in
                rows.values.filter { $0.lane == lane && $0.first > after }.min { $0.first < $1.first }
                    .map { StoredRow(first: $0.first, count: $0.count, fragmentBytes: $0.fragments.count) }
            }
            for first in eviction.storedRows { contents.rows[first] = nil }
            for chunk in eviction.incoming { contents.rows[chunk.first] = chunk }
            contents.dropped = Run.joined(contents.dropped + eviction.dropped)
            for kept in commit.kept { contents.kept[kept.key] = kept.bytes }
            contents.next += UInt64(commit.records.count)
            contents.wall = commit.lastWallTime(after: contents.wall)
            return eviction.dropped
        }
    }

    func take(_ request: TakeRequest) -> OutboxBatch? {
        contents.withLock { contents in
            var rows: [UInt64] = []
            var runs: [Run] = []
            var fragments: [UInt8] = []
            let before = request.before ?? .max
            for row in contents.rows.values.sorted(by: { $0.first < $1.first })
            where row.lane == request.lane && row.first > request.after && row.first < before {
                guard rows.isEmpty || fragments.count + 1 + row.fragments.count <= request.bytesMax else { break }
                if !rows.isEmpty { fragments.append(UInt8(ascii: ",")) }
                fragments += row.fragments
                rows.append(row.first)
                runs.append(row.run)
            }
            guard !rows.isEmpty else { return nil }
            return OutboxBatch(
                rows: rows, runs: Run.joined(runs), fragments: fragments,
                dropped: Array(contents.dropped.prefix(OutboxLimits.declaredRunCountMax)))
        }
    }

    func acknowledge(_ batches: [OutboxBatch]) {
        contents.withLock { contents in
            for batch in batches {
                for first in batch.rows { contents.rows[first] = nil }
                contents.dropped.removeAll { batch.dropped.contains($0) }
            }
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

    func beginCommand() -> QueuedCommand? {
        contents.withLock { contents in
            guard let index = contents.commands.firstIndex(where: { $0.state == 0 }) else { return nil }
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
