import DeskTestKit
import EventLog
import Faults
import JSON
import Logging
import NIOCore
import Primitives
import Rules
import SQLiteHubStore
import Synchronization
import Telemetry
import Testing

/// The consumer over a log in memory and the real store.
@Suite struct FaultRuntimeTests {
    let folder = TemporaryFolder()
    let events = MemoryLog()

    func withRuntime(_ rules: [Rule] = [], _ body: (SQLiteFaultStore) async throws -> Void) async throws {
        try await withRuntime(rules, queueMax: 1000, settings: FaultRuntimeSettings()) { store, _ in
            try await body(store)
        }
    }

    func withRuntime(
        _ rules: [Rule], queueMax: Int, settings: FaultRuntimeSettings,
        _ body: (SQLiteFaultStore, FaultRuntime) async throws -> Void
    ) async throws {
        let database = try HubDatabase(path: folder.path + "/hub.sqlite", schema: HubSchema.hub)
        let store = SQLiteFaultStore(database, queueMax: queueMax)
        var log = Logger(label: "faults")
        log.logLevel = .critical
        let runtime = try await FaultRuntime(
            log: events, store: store, rules: rules, settings: settings, now: { TestClock.wall }, logger: log)
        let running = Task { await runtime.run() }
        do {
            try await body(store, runtime)
        } catch {
            running.cancel()
            throw error
        }
        running.cancel()
        await running.value
        try database.close()
    }

    func faults(_ store: SQLiteFaultStore, _ count: Int, openOnly: Bool = false) async throws -> [Fault] {
        let clock = ContinuousClock()
        let end = clock.now + .seconds(10)
        while clock.now < end {
            let found = try await store.faults(openOnly: openOnly, limit: 100)
            if found.count >= count { return found }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw NotSeen()
    }

    struct NotSeen: Error {}

    static func hot(_ above: Double = 70) throws -> Rule {
        try Rule(
            name: "hot", runs: .hub, metric: "temperature", condition: try Condition(parsing: "> \(above)"),
            hysteresis: 2, severity: .critical)
    }

    @Test func anEdgeFaultArrivesWithItsIDAndIsNotRaisedAgain() async throws {
        let raised = FaultTransition.make(.raised)
        let batch = Batch(
            epoch: Epoch(value: 7),
            records: [
                SequencedRecord(sequence: 1, record: .fault(raised)),
                SequencedRecord(sequence: 2, record: .fault(raised)),
            ])
        try await withRuntime { store in
            events.append(batch.encoded(), isBatch: true)
            let found = try await faults(store, 1)
            #expect(found.map(\.id) == [raised.faultID])
            #expect(found.map(\.origin) == [.edge])
            events.append(
                Batch(
                    epoch: Epoch(value: 7),
                    records: [
                        SequencedRecord(sequence: 3, record: .fault(.make(.cleared)))
                    ]
                ).encoded(), isBatch: true)
            let clock = ContinuousClock()
            let end = clock.now + .seconds(10)
            while try await store.fault(raised.faultID)?.phase != .cleared, clock.now < end {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try await store.fault(raised.faultID)?.phase == .cleared)
            #expect(try await store.queueStatus().waiting == 2)
        }
        // A restart reads on from the checkpoint, or once more what was read: neither changes anything.
        try await withRuntime { (store: SQLiteFaultStore) async throws in
            #expect(try await store.queueStatus().waiting == 2)
            #expect(try await store.faults(openOnly: false, limit: 10).count == 1)
        }
    }

    @Test func aHubRuleRaisesOnPlainTelemetryAndClearsBeyondTheHysteresis() async throws {
        try await withRuntime([try Self.hot()]) { store in
            events.append(Array(#"{"temperature": 71.5, "humidity": 40}"#.utf8))
            let open = try await faults(store, 1, openOnly: true)
            #expect(open.first?.rule == "hot")
            #expect(open.first?.origin == .hub)
            #expect(open.first?.severity == .critical)
            #expect(open.first?.value == .number(DecimalText("71.5")!))
            events.append(Array(#"{"temperature": 69}"#.utf8))
            events.append(Array(#"{"temperature": 67}"#.utf8))
            let clock = ContinuousClock()
            let end = clock.now + .seconds(10)
            while try await !store.faults(openOnly: true, limit: 1).isEmpty, clock.now < end {
                try await Task.sleep(for: .milliseconds(10))
            }
            let history = try await store.history(of: try #require(open.first).id, limit: 10)
            #expect(history.map(\.kind) == [.opened, .cleared])
        }
    }

    func eventually(_ what: String, _ check: () async throws -> Bool) async throws {
        let clock = ContinuousClock()
        let end = clock.now + .seconds(10)
        while try await !check() {
            if clock.now >= end { throw NotSeen() }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    func raised(_ number: UInt64) -> [UInt8] {
        let record = SequencedRecord(
            sequence: number, record: .fault(.make(.raised, number, rule: "rule-\(number)")))
        return Batch(epoch: Epoch(value: 7), records: [record]).encoded()
    }

    @Test func withAFullQueueTheCheckpointStaysAndTheStatusSaysWhy() async throws {
        try await withRuntime([], queueMax: 1, settings: FaultRuntimeSettings()) { store, runtime in
            events.append(raised(1), isBatch: true)
            try await eventually("the first fault") { try await store.queueStatus().waiting == 1 }
            try await eventually("its checkpoint") { runtime.status.checkpoints == [1] }
            events.append(raised(2), isBatch: true)
            events.append(raised(3), isBatch: true)
            try await eventually("the trouble") { runtime.status.waitsFor != nil }
            #expect(runtime.status.trouble.hasPrefix("1 alerts wait for the CRM already, and no more are taken"))
            #expect(runtime.status.checkpoints == [1], "what is not queued must be read again after a restart")
            #expect(try await store.runtimeState().checkpoints == [0: 1])
        }
        // The queue has room again, in the next life of the hub: nothing was lost, nothing doubled.
        try await withRuntime([], queueMax: 100, settings: FaultRuntimeSettings()) { store, runtime in
            try await eventually("the rest") { try await store.queueStatus().waiting == 3 }
            #expect(runtime.status.trouble.isEmpty)
            #expect(try await store.faults(openOnly: true, limit: 10).count == 3)
        }
    }

    @Test func aStalledRuntimeGoesOnByItselfWhenThereIsRoom() async throws {
        try await withRuntime([], queueMax: 1, settings: FaultRuntimeSettings()) { store, runtime in
            events.append(raised(1), isBatch: true)
            try await eventually("the first fault") { try await store.queueStatus().waiting == 1 }
            events.append(raised(2), isBatch: true)
            try await eventually("the trouble") { runtime.status.waitsFor != nil }
            let row = try #require(try await store.dueAlerts(now: TestClock.wall + .seconds(1), limit: 1).first)
            try await store.settle(row.sequence, as: .delivered)
            try await eventually("the second fault") { try await store.faults(openOnly: true, limit: 9).count == 2 }
            try await eventually("the recovery") { runtime.status.waitsFor == nil }
            #expect(runtime.status.checkpoints == [2])
        }
    }

    @Test func aRuleWithoutRoomForADeviceIsNamed() async throws {
        let settings = FaultRuntimeSettings(ruleStatesMax: 1)
        try await withRuntime([try Self.hot()], queueMax: 10, settings: settings) { store, runtime in
            events.append(Array(#"{"temperature": 71.5}"#.utf8))
            _ = try await faults(store, 1)
            #expect(runtime.status.trouble.isEmpty)
            events.append(Array(#"{"temperature": 71.5}"#.utf8), device: "t-2")
            try await eventually("the trouble") { !runtime.status.fullRules.isEmpty }
            #expect(runtime.status.fullRules == ["hot"])
            #expect(runtime.status.unwatchedCount == 1)
            #expect(runtime.status.trouble.hasPrefix("hub rules hot have no room for more devices"))
            #expect(try await store.faults(openOnly: false, limit: 9).count == 1)
        }
    }

    @Test func theRulesMemorySurvivesARestart() async throws {
        try await withRuntime([try Self.hot()]) { store in
            events.append(Array(#"{"temperature": 80}"#.utf8))
            _ = try await faults(store, 1, openOnly: true)
        }
        try await withRuntime([try Self.hot()]) { store in
            events.append(Array(#"{"temperature": 81}"#.utf8))
            events.append(Array(#"{"temperature": 20}"#.utf8))
            let clock = ContinuousClock()
            let end = clock.now + .seconds(10)
            while try await !store.faults(openOnly: true, limit: 1).isEmpty, clock.now < end {
                try await Task.sleep(for: .milliseconds(10))
            }
            let all = try await store.faults(openOnly: false, limit: 10)
            #expect(all.map(\.phase) == [.cleared])
            #expect(all.map(\.repeats) == [0])
        }
    }
}

@Suite struct HubRuleEngineTests {
    static let wall = WallInstant("2026-11-21T09:00:00Z")!
    let device = DeviceID("t-1")!

    func time(_ seconds: Int) -> HubRuleEngine.HubTime {
        HubRuleEngine.HubTime(
            wall: Self.wall + .seconds(seconds),
            monotonic: MonotonicInstant(nanoseconds: Int64(seconds) * 1_000_000_000))
    }

    @Test func backFillBeyondTheLatenessBoundDecidesNothing() throws {
        var engine = HubRuleEngine(rules: [try FaultRuntimeTests.hot()], lateness: .seconds(60))
        let began17 = engine.begin(nil, now: time(0))
        #expect(began17)
        let place = HubRuleEngine.Place(partition: 0, offset: 1)
        let late = engine.observed(
            "temperature", 99, of: device, time: Self.wall + .seconds(-61), arrivedAt: Self.wall, place: place,
            now: time(0))
        #expect(late.isEmpty)
        let bounded = engine.observed(
            "temperature", 99, of: device, time: Self.wall + .seconds(-60), arrivedAt: Self.wall, place: place,
            now: time(0))
        #expect(bounded.map(\.transition.state) == [.raised])
        #expect(bounded.map(\.transition.time) == [Self.wall + .seconds(-60)])
    }

    @Test func theSamePlaceInTheLogGivesTheSameID() throws {
        func id(_ offset: Int64) throws -> UniqueID? {
            var engine = HubRuleEngine(rules: [try FaultRuntimeTests.hot()])
            _ = engine.begin(nil, now: time(0))
            return engine.observed(
                "temperature", 99, of: device, time: Self.wall, arrivedAt: Self.wall,
                place: HubRuleEngine.Place(partition: 3, offset: offset), now: time(0)
            ).first?.transition.faultID
        }
        let (five, fiveAgain, six) = (try id(5), try id(5), try id(6))
        #expect(five == fiveAgain)
        #expect(five != six)
    }

    @Test func silenceIsJudgedByHubTimeAndDoesNotCountDownTime() throws {
        let silent = try Rule(
            name: "quiet", runs: .hub, metric: nil, condition: .silent, holdTime: .seconds(30), severity: .warning)
        var engine = HubRuleEngine(rules: [silent])
        _ = engine.begin(nil, now: time(0))
        let place = HubRuleEngine.Place(partition: 0, offset: 1)
        // The device's own clock is years off; that does not matter.
        _ = engine.observed(
            "x", nil, of: device, time: WallInstant(milliseconds: 0), arrivedAt: Self.wall, place: place, now: time(0))
        let at29 = engine.caughtUp(now: time(29))
        #expect(at29.isEmpty)
        let state = engine.snapshot(now: time(29))
        var restarted = HubRuleEngine(rules: [silent])
        let began22 = restarted.begin(state, now: time(5000))
        #expect(began22)
        let at5000 = restarted.caughtUp(now: time(5000))
        #expect(at5000.isEmpty)
        let at5001 = restarted.caughtUp(now: time(5001))
        #expect(at5001.map(\.transition.state) == [.raised])
        let back = restarted.observed(
            "x", 1, of: device, time: Self.wall, arrivedAt: Self.wall, place: place, now: time(5002))
        #expect(back.map(\.transition.state) == [.cleared])
    }

    @Test func edgeRulesAreLeftOut() throws {
        let edge = try Rule(name: "hot", metric: "temperature", condition: try Condition(parsing: "> 70"))
        #expect(HubRuleEngine(rules: [edge]).isEmpty)
    }
}

/// An event log that lives as long as its test.
final class MemoryLog: EventLog {
    private struct Wake {
        let id: Int
        let call: @Sendable () -> Void
    }

    /// Chunks of one event each.
    private let state = Mutex<(chunks: [ByteBuffer], wakes: [Wake], count: Int)>(([], [], 0))

    var partitionCount: Int { 1 }

    func append(_ body: [UInt8], isBatch: Bool = false, device: String = "t-1") {
        let wakes = state.withLock { state in
            let origin = EventOrigin(
                device: DeviceID(device)!, module: nil, authGeneration: "1", authScope: "device", authType: "sas")
            var builder = GroupBuilder(partitionCount: 1)
            var stamp = EventStamp(origin: origin, partitionCount: 1)
            let mark = BatchMark(
                gateway: origin.device, epoch: Epoch(value: 1), runs: [], dropped: [], quarantined: [])
            body.withUnsafeBytes { bytes in
                builder.append(
                    &stamp, source: .telemetry, bag: UnsafeRawBufferPointer(start: nil, count: 0), body: bytes,
                    batch: isBatch ? mark : nil)
            }
            state.chunks += builder.seal().chunks.map(\.bytes)
            return state.wakes
        }
        for wake in wakes { wake.call() }
    }

    func append(
        _ group: AppendGroup, completion: @escaping @Sendable (Result<AppendOutcome, EventLogError>) -> Void
    ) { preconditionFailure("this log is filled by its test") }

    func read(
        partition: Int, from offset: Int64, limits: EventChunk.ReadLimits, selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) -> EventRun {
        var run = EventRun(from: offset)
        for (index, chunk) in state.withLock({ $0.chunks }).enumerated().dropFirst(Int(offset)) {
            let row = EventChunk.Row(partition: 0, baseOffset: Int64(index), enqueuedAt: TestClock.wall)
            let bytes = Array(chunk.readableBytesView)
            let mayGoOn: Result<Bool, EventLogError> = bytes.withUnsafeBytes { bytes in
                Result { () throws(EventLogError) in
                    try EventChunk.decode(
                        bytes, row: row, from: offset, limits: limits, into: &run, selecting: isWanted)
                }
            }
            guard try mayGoOn.get() else { break }
        }
        return run
    }

    func nextOffset(partition: Int) -> Int64 { state.withLock { Int64($0.chunks.count) } }

    var partitions: [PartitionStatus] { [] }

    func onAppend(_ wake: @escaping @Sendable () -> Void) -> WakeToken {
        let id = state.withLock { state in
            state.count += 1
            state.wakes.append(Wake(id: state.count, call: wake))
            return state.count
        }
        return WakeToken { [weak self] in self?.state.withLock { $0.wakes.removeAll { $0.id == id } } }
    }

    func onCondition(_ changed: @escaping @Sendable (LogCondition) -> Void) -> WakeToken { WakeToken {} }

    func sequences(gateway: DeviceID) throws(EventLogError) -> [OutboxSequences] { [] }
    func sequences(changedFrom time: WallInstant, countMax: Int) throws(EventLogError) -> [OutboxSequences] { [] }

    func quarantine(gateway: DeviceID?, countMax: Int) throws(EventLogError) -> [StoredQuarantine] { [] }
}
