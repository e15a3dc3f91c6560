import BrokerKit
import Logging
import Outbox
import Pipeline
import Primitives
import RuleSets
import Rules
import SouthboundAPI
import Synchronization
import Telemetry
import Testing
import Timekeeping

@testable import edge_agent

/// The core alone, on a store that refuses as a full disk does.
@Suite struct AgentCoreTests {
    @Test func timeRuleThatFallsDueWhileTheStoreRefusesFiresWithoutADelivery() throws {
        let quiet = EdgeRule(
            rule: try Rule(name: "quiet", metric: nil, condition: .silent, holdTime: .milliseconds(300)))
        let store = RefusingStore()
        let core = AgentCore(
            store: store,
            clock: GatewayClock(earliest: WallClock.earliestPlausible, lastRun: nil, look: WallClock.look),
            health: OutboxHealth(), logger: Logger(label: "test"), actuate: { _ in }, stored: {})
        let pipeline = Pipeline(rules: [quiet], epoch: store.epoch, sha1: { _ in Array(repeating: 7, count: 20) })
        let isStarted = core.start(pipeline) { _ in true }
        #expect(isStarted)
        defer { core.stop() }
        let device = try #require(DeviceID("thermostat-1"))
        let time = WallInstant(milliseconds: 1_795_000_000_000)
        let reading = Reading(
            device: device, metric: "temperature", value: .boolean(true), unit: nil, time: time, quality: .good,
            clock: .synchronised)
        try core.accept(Delivery(driver: "plant", readings: [reading]))
        store.refuses(true)
        try waitUntil("the rule was tried") { store.refusedCount > 0 }
        store.refuses(false)
        try waitUntil("the fault is kept", seconds: 10) { store.hasFault }
    }
}

/// Keeps records in memory, or refuses them.
private final class RefusingStore: OutboxStore {
    private struct Contents {
        var next: UInt64 = 1
        var kept: [String: [UInt8]] = [:]
        var isRefusing = false
        var refusedCount = 0
        var hasFault = false
    }

    let epoch = Epoch(value: 7)
    private let contents = Mutex(Contents())

    func refuses(_ isRefusing: Bool) { contents.withLock { $0.isRefusing = isRefusing } }
    var refusedCount: Int { contents.withLock { $0.refusedCount } }
    var hasFault: Bool { contents.withLock { $0.hasFault } }

    func status() -> OutboxStatus {
        contents.withLock {
            OutboxStatus(
                nextSequence: $0.next, recordCount: $0.next - 1, storedBytes: 0, lastWallTime: nil,
                undeclaredCount: 0)
        }
    }

    func kept(_ key: String) -> [UInt8]? { contents.withLock { $0.kept[key] } }

    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        let isRefused = contents.withLock { contents in
            if contents.isRefusing {
                contents.refusedCount += 1
                return true
            }
            contents.next += UInt64(commit.records.count)
            for state in commit.kept { contents.kept[state.key] = state.bytes }
            for record in commit.records {
                if case .fault = record.record { contents.hasFault = true }
            }
            return false
        }
        if isRefused { throw OutboxError(.full, doing: "append", which: "memory") }
        return []
    }

    func take(_ request: TakeRequest) -> OutboxBatch? { nil }
    func acknowledge(_ batches: [OutboxBatch]) {}
    func tidy() -> [Run] { [] }
    func losses() -> [SensorLoss] { [] }
    func replay(_ run: Run) -> ReplayOutcome { ReplayOutcome(restored: [], waiting: [], gone: [run], rest: nil) }
    func keepReceipt(_ receipt: [UInt8], at time: WallInstant) {}
    func receipts(countMax: Int) -> [StoredReceipt] { [] }
    func keepCommand(_ command: QueuedCommand) -> Bool { true }
    func beginCommand() -> QueuedCommand? { nil }
    func endCommand(_ messageID: String, outcome: String) {}
    func endedCommands(countMax: Int) -> [EndedCommand] { [] }
}
