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

/// The core alone, on a store that is as slow or as full as a test wants it.
@Suite struct AgentCoreTests {
    /// A core with its store, the actions that it started, and how deliveries ended.
    private final class Bench: Sendable {
        let store = ScriptedStore()
        let core: AgentCore
        let actions = ActionList()
        private let endings = Mutex<[Int: SinkError?]>([:])

        init(_ rules: [EdgeRule], interval: Duration = .zero) throws {
            let actions = actions
            core = AgentCore(
                store: store,
                clock: GatewayClock(earliest: WallClock.earliestPlausible, lastRun: nil, look: WallClock.look),
                pace: CommitPace(interval: interval), health: OutboxHealth(), logger: Logger(label: "test"),
                actuate: { actions.add($0) }, stored: {})
            let pipeline = Pipeline(rules: rules, epoch: store.epoch, sha1: { _ in Array(repeating: 7, count: 20) })
            let isStarted = core.start(pipeline) { _ in true }
            try #require(isStarted)
        }

        /// Hands a reading over; `number` names the delivery.
        func hand(_ number: Int, _ value: String, series: UInt64? = nil) throws {
            let reading = Reading(
                device: try #require(DeviceID("oven-1")), metric: "temperature",
                value: .number(try #require(DecimalText(value))), unit: nil,
                time: WallInstant(milliseconds: 1_795_000_000_000 + Int64(number)), quality: .good,
                clock: .synchronised)
            core.accept(Delivery(driver: "plant", readings: [reading], series: series)) { [self] error in
                endings.withLock { $0[number] = .some(error) }
            }
        }

        /// Deliveries that have ended.
        var ended: Set<Int> { endings.withLock { Set($0.keys) } }
        /// Deliveries that were refused.
        var refused: Set<Int> { endings.withLock { Set($0.filter { $0.value != nil }.keys) } }
        /// The values that are durable, in their order.
        var values: [String] {
            store.records.compactMap {
                if case .reading(let reading) = $0.record { reading.value.description } else { nil }
            }
        }
    }

    private final class ActionList: Sendable {
        private let all = Mutex<[RuleAction]>([])
        func add(_ action: RuleAction) { all.withLock { $0.append(action) } }
        var count: Int { all.withLock { $0.count } }
    }

    /// Above 100 the relay opens.
    private func hot() throws -> EdgeRule {
        EdgeRule(
            rule: try Rule(name: "hot", metric: "temperature", condition: .above(100)),
            whenRaised: [.write(device: nil, register: "relay", value: .boolean(false))])
    }

    @Test func rulesActWhileAnEarlierCommitWaitsForTheDisk() throws {
        let bench = try Bench([try hot()])
        defer { bench.core.stop() }
        bench.store.hold()
        try bench.hand(1, "20")
        try waitUntil("the commit waits for the disk") { bench.store.heldCount == 1 }
        try bench.hand(2, "150")
        try waitUntil("the relay was told") { bench.actions.count == 1 }
        #expect(bench.store.heldCount == 1, "the same commit still waits")
        #expect(bench.ended.isEmpty, "nothing is acknowledged that is not durable")
        bench.store.letGo()
        try waitUntil("both are durable") { bench.ended == [1, 2] }
        #expect(bench.refused.isEmpty)
        #expect(bench.values == ["20", "150"])
        #expect(bench.store.faults.map(\.state) == [.raised])
    }

    @Test func aCommitThatFailsPutsBackAllThatWasBuiltOnIt() throws {
        let bench = try Bench([try hot()])
        defer { bench.core.stop() }
        bench.store.hold()
        try bench.hand(1, "150", series: 1)
        try waitUntil("the commit waits for the disk") { bench.store.heldCount == 1 }
        try bench.hand(2, "20", series: 1)
        try bench.hand(3, "160", series: 1)
        try waitUntil("all went through the rule") { bench.actions.count == 2 }
        bench.store.letGo(refused: 1)
        try waitUntil("all three are refused") { bench.refused == [1, 2, 3] }
        #expect(bench.store.records.isEmpty)
        try bench.hand(4, "30", series: 1)
        try waitUntil("what stands behind them is, too") { bench.refused == [1, 2, 3, 4] }
        for (number, value) in [(5, "150"), (6, "20"), (7, "160"), (8, "30")] {
            try bench.hand(number, value, series: 2)
        }
        try waitUntil("they came again") { bench.ended.count == 8 }
        #expect(bench.refused == [1, 2, 3, 4])
        #expect(bench.values == ["150", "20", "160", "30"])
        #expect(bench.store.faults.map(\.state) == [.raised, .cleared, .raised, .cleared], "each of them once")
        #expect(bench.store.records.map(\.sequence) == Array(1...UInt64(bench.store.records.count)))
    }

    private func cold() throws -> EdgeRule {
        EdgeRule(
            rule: try Rule(name: "cold", metric: "temperature", condition: .below(0)),
            whenRaised: [.write(device: nil, register: "relay", value: .boolean(true))])
    }

    /// How a change of rules ended.
    private final class SwapEnd: Sendable {
        private let all = Mutex<[SinkError?]>([])
        func add(_ error: SinkError?) { all.withLock { $0.append(error) } }
        var count: Int { all.withLock { $0.count } }
        var isGood: Bool { all.withLock { $0.last.map { $0 == nil } ?? false } }
    }

    private func swap(_ rules: [EdgeRule], _ end: SwapEnd) -> RuleSwap {
        RuleSwap(
            rules: rules, origin: "rule set 2", kept: [KeptState(key: "rules/set", bytes: [2])],
            done: { end.add($0) })
    }

    @Test func rulesAndTheirTextChangeInOneCommit() throws {
        let bench = try Bench([try hot()])
        defer { bench.core.stop() }
        let end = SwapEnd()
        try bench.hand(1, "150")
        try waitUntil("the fault is durable") { bench.store.faults.count == 1 }
        bench.store.hold()
        bench.core.replaceRules(swap([try cold()], end))
        try waitUntil("the change waits for the disk") { bench.store.heldCount == 1 }
        #expect(bench.store.kept("rules/set") == nil && bench.store.faults.count == 1 && end.count == 0)
        // What comes meanwhile is judged by the new rules.
        try bench.hand(2, "-5")
        bench.store.letGo()
        try waitUntil("both are durable") { bench.ended == [1, 2] && end.isGood }
        #expect(bench.store.kept("rules/set") == [2])
        #expect(bench.store.faults.map(\.rule) == ["hot", "hot", "cold"])
        #expect(bench.store.faults.map(\.state) == [.raised, .cleared, .raised])
    }

    @Test func aChangeThatTheStoreRefusesLeavesTheOldRules() throws {
        let bench = try Bench([try hot()])
        defer { bench.core.stop() }
        let end = SwapEnd()
        try bench.hand(1, "150")
        try waitUntil("the fault is durable") { bench.store.faults.count == 1 }
        bench.store.hold()
        bench.core.replaceRules(swap([try cold()], end))
        try waitUntil("the change waits for the disk") { bench.store.heldCount == 1 }
        try bench.hand(2, "-5")
        try waitUntil("it went through the new rule") { bench.actions.count == 2 }
        bench.store.letGo(refused: 1)
        try waitUntil("all of it is refused") { end.count == 1 && bench.refused == [2] }
        #expect(!end.isGood && bench.store.kept("rules/set") == nil)
        try bench.hand(3, "-5")
        try waitUntil("the reading came again") { bench.ended == [1, 2, 3] }
        #expect(bench.store.faults.map(\.rule) == ["hot", "hot"], "the old rule ended its own fault")
        bench.core.replaceRules(swap([try cold()], end))
        try waitUntil("the change is durable") { end.isGood }
        try bench.hand(4, "-6")
        try waitUntil("and runs") { bench.store.faults.map(\.rule) == ["hot", "hot", "cold"] }
        #expect(bench.values == ["150", "-5", "-6"])
    }

    @Test func readingsShareACommitAndFaultsAndThoseWhoWaitGetTheirOwn() throws {
        let bench = try Bench([try hot()], interval: .seconds(3600))
        defer { bench.core.stop() }
        try bench.hand(1, "1")
        try waitUntil("the first one does not wait") { bench.ended == [1] }
        try bench.hand(2, "2")
        try bench.hand(3, "3")
        bench.core.hurry()
        try waitUntil("somebody could not wait") { bench.ended == [1, 2, 3] }
        try bench.hand(4, "4")
        try bench.hand(5, "150")
        try waitUntil("the fault did not wait") { bench.ended == [1, 2, 3, 4, 5] }
        #expect(bench.store.commitSizes.reduce(0, +) == 6)
        try bench.hand(6, "5")
        bench.core.stop()
        #expect(bench.ended == [1, 2, 3, 4, 5, 6], "the end commits what waits")
        #expect(bench.values == ["1", "2", "3", "4", "150", "5"])
    }

    @Test func whatComesAfterTheEndIsRefused() throws {
        let bench = try Bench([])
        bench.core.stop()
        try bench.hand(1, "1")
        #expect(bench.refused == [1])
    }

    @Test func timeRuleThatFallsDueWhileTheStoreRefusesFiresWithoutADelivery() throws {
        let quiet = EdgeRule(
            rule: try Rule(name: "quiet", metric: nil, condition: .silent, holdTime: .milliseconds(300)))
        let bench = try Bench([quiet])
        defer { bench.core.stop() }
        try bench.hand(1, "1")
        try waitUntil("it is kept") { bench.ended == [1] }
        bench.store.refuses(true)
        try waitUntil("the rule was tried") { bench.store.refusedCount > 0 }
        bench.store.refuses(false)
        try waitUntil("the fault is kept", seconds: 10) { !bench.store.faults.isEmpty }
    }
}
