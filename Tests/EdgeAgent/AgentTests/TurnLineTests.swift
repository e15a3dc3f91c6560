import Outbox
import Pipeline
import Primitives
import RuleSets
import Rules
import SouthboundAPI
import Synchronization
import Telemetry
import Testing

@testable import edge_agent

/// Commits that end well and badly in every order, with deliveries in between.
@Suite struct TurnLineTests {
    private static let epoch = Epoch(value: 9)

    /// A driver, its sensors' broker and a store in one: it hands over what was not kept, in order, and keeps what the
    /// line commits.
    private struct Script {
        var line: TurnLine
        var random: SeededRandom
        /// The next value to be handed over.
        var next = 0
        var series: UInt64 = 1
        var now: Int64 = 0
        let endings = Endings()
        var stored: [SequencedRecord] = []
        /// Values that were told to be durable.
        var kept = 0

        init(seed: UInt64) throws {
            random = SeededRandom(seed: seed)
            let hot = EdgeRule(rule: try Rule(name: "hot", metric: "n", condition: .above(5)))
            line = TurnLine(
                Pipeline(rules: [hot], epoch: TurnLineTests.epoch, sha1: { _ in Array(repeating: 3, count: 20) }),
                nextSequence: 1)
        }

        var time: PipelineTime {
            PipelineTime(
                monotonic: MonotonicInstant(nanoseconds: now), wall: WallInstant(milliseconds: now / 1_000_000),
                clock: .synchronised)
        }
    }

    private final class Endings: Sendable {
        let all = Mutex<[(number: Int, isKept: Bool)]>([])
    }

    /// The value of delivery `number`: up and down through the rule's limit.
    private static func value(_ number: Int) -> String { "\(number * 7 % 10)" }

    private static func hand(_ script: inout Script) throws {
        let number = script.next
        let reading = Reading(
            device: try #require(DeviceID("oven-1")), metric: "n",
            value: .number(try #require(DecimalText(value(number)))), unit: nil,
            time: WallInstant(milliseconds: Int64(number)), quality: .good, clock: .synchronised)
        let endings = script.endings
        let delivery = Delivery(driver: "plant", readings: [reading], series: script.series)
        let isTaken =
            script.line.add(
                delivery,
                ended: { error in
                    endings.all.withLock { $0.append((number, error == nil)) }
                }, at: script.time) != nil
        if isTaken { script.next += 1 } else { comeAgain(&script) }
    }

    /// The driver drops its connection: what was not kept is repeated, as a new series.
    private static func comeAgain(_ script: inout Script) {
        script.next = script.kept
        script.series += 1
    }

    /// The commit in flight ends.
    private static func end(_ script: inout Script, isKept: Bool) throws {
        let turn = try #require(script.line.inFlight)
        if isKept {
            for record in turn.core.records {
                #expect(record.sequence == UInt64(script.stored.count) + 1)
                script.stored.append(record)
            }
        }
        let verdict = isKept ? Verdict.kept : .refused(SinkError(.full, detail: "full"))
        for part in script.line.ended(verdict) { part.ended(isKept ? nil : SinkError(.full, detail: "full")) }
        let ended = script.endings.all.withLock { all in
            defer { all = [] }
            return all
        }
        for ending in ended where ending.isKept {
            #expect(ending.number == script.kept, "kept in order, none left out")
            script.kept += 1
        }
        if ended.contains(where: { !$0.isKept }) { comeAgain(&script) }
    }

    @Test func whateverFailsEveryReadingIsKeptOnceInOrderAndEveryFaultOnce() throws {
        for seed in UInt64(1)...300 {
            var script = try Script(seed: seed)
            let count = 60
            var steps = 0
            while script.kept < count {
                steps += 1
                try #require(steps < 20_000, "seed \(seed) ends")
                script.now += 1_000_000
                switch Int.random(in: 0..<10, using: &script.random) {
                case 0..<5: if script.next < count { try Self.hand(&script) }
                case 5..<8:
                    if script.line.inFlight == nil { _ = script.line.handOver(now: script.time.monotonic) }
                case 8: if script.line.inFlight != nil { try Self.end(&script, isKept: true) }
                default: if script.line.inFlight != nil { try Self.end(&script, isKept: false) }
                }
            }
            let values = script.stored.compactMap {
                if case .reading(let reading) = $0.record { reading.value.description } else { nil }
            }
            #expect(values == (0..<count).map(Self.value), "seed \(seed)")
            let states = script.stored.compactMap {
                if case .fault(let fault) = $0.record { fault.state } else { nil }
            }
            #expect(!states.isEmpty && states.enumerated().allSatisfy { $1 == ($0 % 2 == 0 ? .raised : .cleared) })
        }
    }

    @Test func aStoreThatSaysWhatComesNextIsBelieved() throws {
        var script = try Script(seed: 1)
        try Self.hand(&script)
        _ = script.line.handOver(now: script.time.monotonic)
        _ = script.line.ended(.refused(SinkError(.storeFailed, detail: "wrong records")), storeSequence: 41)
        script.series += 1
        try Self.hand(&script)
        #expect(script.line.open?.core.records.first?.sequence == 41)
    }

    @Test func anOpenTurnHasALimitWhileAnotherIsCommitted() throws {
        var script = try Script(seed: 1)
        try Self.hand(&script)
        _ = script.line.handOver(now: script.time.monotonic)
        for _ in 0..<TurnLine.deliveriesMax {
            #expect(!script.line.isFull)
            try Self.hand(&script)
        }
        #expect(script.line.isFull)
        _ = script.line.ended(.kept)
        _ = script.line.handOver(now: script.time.monotonic)
        #expect(!script.line.isFull)
    }
}
