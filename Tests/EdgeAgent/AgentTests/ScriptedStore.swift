import Foundation
import Outbox
import Primitives
import Synchronization
import Telemetry

/// Keeps records in memory; its commits can be held as by a disk that does not answer, and refused as by a full one.
final class ScriptedStore: OutboxStore {
    private struct Contents {
        var kept: [String: [UInt8]] = [:]
        var records: [SequencedRecord] = []
        var commitSizes: [Int] = []
        var isHeld = false
        var heldCount = 0
        /// Commits to come that are refused; negative for all.
        var toRefuse = 0
        var refusedCount = 0
    }

    let epoch = Epoch(value: 7)
    private let contents = Mutex(Contents())
    private let changed = NSCondition()

    private func change<Result>(_ body: (inout Contents) -> Result) -> Result where Result: Sendable {
        changed.lock()
        defer {
            changed.broadcast()
            changed.unlock()
        }
        return contents.withLock { body(&$0) }
    }

    /// From now on no commit ends, until it is let go.
    func hold() { change { $0.isHeld = true } }
    /// What is held ends; the next `refused` commits, that one among them, are refused.
    func letGo(refused: Int = 0) {
        change {
            $0.isHeld = false
            $0.toRefuse = refused
        }
    }
    func refuses(_ isRefusing: Bool) { change { $0.toRefuse = isRefusing ? -1 : 0 } }

    /// Commits that wait for the disk at this moment.
    var heldCount: Int { contents.withLock { $0.heldCount } }
    var refusedCount: Int { contents.withLock { $0.refusedCount } }
    var records: [SequencedRecord] { contents.withLock { $0.records } }
    /// Records of each commit that was kept.
    var commitSizes: [Int] { contents.withLock { $0.commitSizes } }
    var faults: [FaultTransition] {
        records.compactMap { if case .fault(let fault) = $0.record { fault } else { nil } }
    }

    func status() -> OutboxStatus {
        contents.withLock {
            OutboxStatus(
                nextSequence: UInt64($0.records.count) + 1, recordCount: UInt64($0.records.count), storedBytes: 0,
                lastWallTime: nil, undeclaredCount: 0)
        }
    }

    func kept(_ key: String) -> [UInt8]? { contents.withLock { $0.kept[key] } }

    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        waitForTheDisk()
        let problem: OutboxError.Problem? = change { contents in
            if contents.toRefuse != 0 {
                contents.toRefuse -= contents.toRefuse > 0 ? 1 : 0
                contents.refusedCount += 1
                return .full
            }
            let next = UInt64(contents.records.count) + 1
            guard commit.records.enumerated().allSatisfy({ $1.sequence == next + UInt64($0) }) else {
                return .wrongRecords
            }
            contents.records += commit.records
            contents.commitSizes.append(commit.records.count)
            for state in commit.kept { contents.kept[state.key] = state.bytes }
            return nil
        }
        if let problem { throw OutboxError(problem, doing: "append", which: "memory") }
        return []
    }

    private func waitForTheDisk() {
        changed.lock()
        defer { changed.unlock() }
        contents.withLock { $0.heldCount += 1 }
        while contents.withLock({ $0.isHeld }) { changed.wait() }
        contents.withLock { $0.heldCount -= 1 }
    }

    func take(_ request: TakeRequest) -> OutboxBatch? { nil }
    func acknowledge(_ batches: [OutboxBatch]) {}
    func tidy() -> [Run] { [] }
    func losses() -> [SensorLoss] { [] }
    func replay(_ run: Run) -> ReplayOutcome { ReplayOutcome(restored: [], waiting: [], gone: [], rest: nil) }
    func keepReceipt(_ receipt: [UInt8], at time: WallInstant) {}
    func receipts(countMax: Int) -> [StoredReceipt] { [] }
    func keepCommand(_ command: QueuedCommand) -> Bool { true }
    func beginCommand(isTimeKnown: Bool) -> QueuedCommand? { nil }
    func endCommand(_ messageID: String, outcome: String) {}
    func endedCommands(countMax: Int) -> [EndedCommand] { [] }
}
