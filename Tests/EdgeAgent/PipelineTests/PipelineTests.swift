import Primitives
import RuleSets
import Rules
import SouthboundAPI
import Telemetry
import Testing

@testable import Pipeline

/// Not SHA-1, but like it for these tests: 20 bytes that depend on every byte.
private let digest: @Sendable ([UInt8]) -> [UInt8] = { bytes in
    var seed = SeededRandom(seed: bytes.reduce(7) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
    return (0..<20).map { _ in UInt8(truncatingIfNeeded: seed.next()) }
}

private let epoch = Epoch(value: 0xABC)

private func at(_ seconds: Double) -> PipelineTime {
    PipelineTime(
        monotonic: MonotonicInstant(nanoseconds: Int64(seconds * 1e9)),
        wall: WallInstant(milliseconds: 1_700_000_000_000 + Int64(seconds * 1000)), clock: .guessed)
}

@Suite("The pipeline")
struct PipelineTests {
    private let thermostat: DeviceID
    private let meter: DeviceID
    private let overheat: EdgeRule
    private let quiet: EdgeRule

    init() throws {
        thermostat = try #require(DeviceID("thermostat-1"))
        meter = try #require(DeviceID("meter-1"))
        overheat = EdgeRule(
            rule: try Rule(
                name: "overheat", metric: "temperature", condition: .above(70), hysteresis: 5, severity: .critical),
            whenRaised: [
                .write(device: meter, register: "relay", value: .boolean(true)),
                .publish(
                    topic: MessageTemplate(keepingOtherBraces: "plant/{device}/alarm"),
                    payload: MessageTemplate(keepingOtherBraces: #"{"on":true,"at":{value}}"#), isRetained: true),
            ],
            whenCleared: [.write(device: meter, register: "relay", value: .boolean(false))])
        quiet = EdgeRule(
            rule: try Rule(name: "quiet", metric: nil, condition: .silent, holdTime: .seconds(60)))
    }

    private func pipeline(_ rules: [EdgeRule]) -> Pipeline { Pipeline(rules: rules, epoch: epoch, sha1: digest) }

    private func reading(_ text: String, seconds: Double = 0, quality: ReadingQuality = .good) throws -> Reading {
        Reading(
            device: thermostat, metric: "temperature", value: .number(try #require(DecimalText(text))), unit: "Cel",
            time: at(seconds).wall, quality: quality, clock: .synchronised)
    }

    private func faults(_ output: PipelineOutput) -> [FaultTransition] {
        output.records.compactMap { if case .fault(let fault) = $0.record { fault } else { nil } }
    }

    @Test func aFaultStandsRightAfterTheReadingThatDecidedIt() throws {
        var pipeline = pipeline([overheat])
        let readings = [try reading("69"), try reading("71.250", seconds: 1), try reading("72", seconds: 2)]
        let output = pipeline.deliveryReceived(readings: readings, health: [], at: at(5), firstSequence: 41)
        #expect(output.records.map(\.sequence) == [41, 42, 43, 44])
        let id = FaultTransition.identity(
            device: thermostat, rule: "overheat", epoch: epoch, openingSequence: 43, sha1: digest)
        let raised = FaultTransition(
            faultID: id, device: thermostat, rule: "overheat", state: .raised, severity: .critical,
            message: "overheat: temperature of thermostat-1 is 71.250, limit 70", metric: "temperature",
            value: readings[1].value, limit: "70", time: readings[1].time, clock: .synchronised)
        #expect(
            output.records.map(\.record)
                == [.reading(readings[0]), .reading(readings[1]), .fault(raised), .reading(readings[2])])
        #expect(
            writes(output) == [
                .write(device: meter, register: "relay", value: .boolean(true)),
                .publish(
                    topic: "plant/thermostat-1/alarm", payload: Array(#"{"on":true,"at":71.250}"#.utf8),
                    isRetained: true),
            ])
        #expect(output.state != nil && output.notices.isEmpty)
    }

    private func writes(_ output: PipelineOutput) -> [Actuation] {
        output.actuations.compactMap { if case .actuate(let actuation) = $0.deed { actuation } else { nil } }
    }

    @Test func aMethodIsCalledOnTheDeviceOfTheFaultUnlessAnotherIsNamed() throws {
        let payload = MessageTemplate(keepingOtherBraces: #"{"limit":{limit}}"#)
        let rule = EdgeRule(
            rule: try Rule(name: "overheat", metric: "temperature", condition: .above(70)),
            whenRaised: [
                .call(device: nil, method: "Reset", payload: payload, within: .seconds(5)),
                .call(device: meter, method: "Open", payload: payload, within: .seconds(9)),
            ])
        var pipeline = pipeline([rule])
        let output = pipeline.deliveryReceived(readings: [try reading("71")], health: [], at: at(5), firstSequence: 1)
        let bytes = Array(#"{"limit":70}"#.utf8)
        #expect(
            output.actuations.map(\.deed) == [
                .call(device: thermostat, method: "Reset", payload: bytes, within: .seconds(5)),
                .call(device: meter, method: "Open", payload: bytes, within: .seconds(9)),
            ])
    }

    /// Monday 2026-11-16, 17:59 UTC; a rule in force until 18:00.
    @Test func aScheduleEndsTheFaultAndItsActionsByTheWallClock() throws {
        let evening = WallInstant(milliseconds: 1_794_787_200_000 + 18 * 3_600_000 - 60_000)
        func time(_ seconds: Int64, _ clock: ClockQuality = .guessed) -> PipelineTime {
            PipelineTime(
                monotonic: MonotonicInstant(nanoseconds: seconds * 1_000_000_000), wall: evening + .seconds(seconds),
                clock: clock)
        }
        let schedule = try Schedule(parsing: ["mon-fri 08:00-18:00"], zone: .offset(minutes: 0))
        let rule = EdgeRule(
            rule: try Rule(name: "r", metric: "temperature", condition: .above(70), schedule: schedule),
            whenCleared: [.write(device: meter, register: "relay", value: .boolean(false))])
        var pipeline = pipeline([rule])
        let raised = pipeline.deliveryReceived(
            readings: [try reading("71")], health: [], at: time(1), firstSequence: 1)
        #expect(faults(raised).map(\.state) == [.raised])
        // A clock that nobody knows leaves the rule in force, and the fault open.
        #expect(faults(pipeline.timeReached(at: time(120, .unset), firstSequence: 3)).isEmpty)
        let ended = pipeline.timeReached(at: time(121), firstSequence: 3)
        #expect(faults(ended).map(\.message) == ["r: its schedule has ended"])
        #expect(writes(ended) == [.write(device: meter, register: "relay", value: .boolean(false))])
    }

    @Test func theClearingCarriesTheIdOfTheRaising() throws {
        var pipeline = pipeline([overheat])
        let raised = faults(
            pipeline.deliveryReceived(readings: [try reading("71")], health: [], at: at(1), firstSequence: 1))
        let within = pipeline.deliveryReceived(readings: [try reading("66")], health: [], at: at(2), firstSequence: 3)
        #expect(faults(within).isEmpty && within.state == nil && within.actuations.isEmpty)
        let output = pipeline.deliveryReceived(readings: [try reading("65")], health: [], at: at(3), firstSequence: 4)
        let cleared = faults(output)
        #expect(cleared.map(\.faultID) == raised.map(\.faultID) && cleared.map(\.state) == [.cleared])
        #expect(cleared.map(\.severity) == [.critical])
        #expect(cleared.map(\.message) == ["overheat: temperature of thermostat-1 is back at 65"])
        #expect(writes(output) == [.write(device: meter, register: "relay", value: .boolean(false))])
        #expect(output.actuations.allSatisfy { $0.rule == "overheat" && $0.device == thermostat })
        #expect(pipeline.openFaultCount == 0)
    }

    @Test func aRestartRaisesNothingTwiceAsksForTheActionsAgainAndClearsWithTheSameId() throws {
        var before = pipeline([overheat])
        let output = before.deliveryReceived(readings: [try reading("71")], health: [], at: at(900), firstSequence: 1)
        var after = pipeline([overheat])
        let begun = after.begin(restoring: output.state, at: at(1), firstSequence: 3)
        #expect(begun.records.isEmpty && begun.notices.isEmpty)
        #expect(begun.actuations == output.actuations && !begun.actuations.isEmpty)
        let again = after.deliveryReceived(readings: [try reading("75")], health: [], at: at(2), firstSequence: 3)
        #expect(faults(again).isEmpty)
        let cleared = after.deliveryReceived(readings: [try reading("20")], health: [], at: at(3), firstSequence: 4)
        #expect(faults(cleared).map(\.faultID) == faults(output).map(\.faultID))
    }

    @Test func aDeliveryThatWasNotKeptRaisesTheSameFaultWhenItComesAgain() throws {
        let kept = pipeline([overheat])
        var tried = kept
        let first = tried.deliveryReceived(readings: [try reading("71")], health: [], at: at(1), firstSequence: 7)
        var second = kept
        let repeated = second.deliveryReceived(readings: [try reading("71")], health: [], at: at(2), firstSequence: 7)
        #expect(faults(repeated).map(\.faultID) == faults(first).map(\.faultID))
    }

    @Test func faultsOfChangedAndRemovedRulesAreCleared() throws {
        var before = pipeline([overheat])
        let raised = before.deliveryReceived(readings: [try reading("71")], health: [], at: at(1), firstSequence: 1)
        let changed = EdgeRule(rule: try Rule(name: "overheat", metric: "temperature", condition: .above(80)))
        for rules in [[], [changed]] {
            var after = pipeline(rules)
            let begun = after.begin(restoring: raised.state, at: at(2), firstSequence: 3)
            #expect(faults(begun).map(\.faultID) == faults(raised).map(\.faultID))
            #expect(faults(begun).map(\.message) == ["overheat: the rule was changed or removed"])
            #expect(begun.records.map(\.sequence) == [3] && begun.state != nil)
        }
    }

    @Test func aDeviceThatDoesNotAnswerIsAFaultUntilItDoes() throws {
        var pipeline = pipeline([])
        let health = { (answers: Bool, reason: String) in
            DeviceHealth(
                device: meter, answers: answers, reason: reason, time: at(3).wall, clock: .synchronised)
        }
        let first = pipeline.deliveryReceived(readings: [], health: [health(true, "")], at: at(1), firstSequence: 1)
        #expect(first == PipelineOutput())
        let down = pipeline.deliveryReceived(
            readings: [], health: [health(false, "unit 1 on /dev/ttyUSB0: timed out")], at: at(2), firstSequence: 1)
        #expect(faults(down).map(\.message) == ["meter-1 does not answer: unit 1 on /dev/ttyUSB0: timed out"])
        #expect(faults(down).map(\.rule) == ["no-answer"] && faults(down).map(\.severity) == [.critical])
        let still = pipeline.deliveryReceived(readings: [], health: [health(false, "x")], at: at(3), firstSequence: 2)
        #expect(still == PipelineOutput())
        // The agent restarts in between, and the driver says it again.
        var after = self.pipeline([])
        let begun = after.begin(restoring: down.state, at: at(1), firstSequence: 2)
        #expect(begun.records.isEmpty)
        let again = after.deliveryReceived(readings: [], health: [health(false, "x")], at: at(2), firstSequence: 2)
        #expect(again.records.isEmpty)
        let up = after.deliveryReceived(readings: [], health: [health(true, "")], at: at(4), firstSequence: 2)
        #expect(faults(up).map(\.faultID) == faults(down).map(\.faultID) && faults(up).map(\.state) == [.cleared])
        var without = self.pipeline([])
        let orphan = without.begin(restoring: down.state, at: at(1), firstSequence: 2, isServed: { _ in false })
        #expect(faults(orphan).map(\.message) == ["meter-1 is no longer configured"])
    }

    @Test func silenceIsRaisedByTheClockAndEndsWithTheNextReading() throws {
        var pipeline = pipeline([quiet])
        let heard = pipeline.deliveryReceived(readings: [try reading("1")], health: [], at: at(10), firstSequence: 1)
        #expect(heard.state != nil, "a device that must be watched after a restart is kept")
        #expect(pipeline.nextDeadline == at(70).monotonic)
        let raised = faults(pipeline.timeReached(at: at(70), firstSequence: 2))
        #expect(raised.map(\.message) == ["quiet: nothing heard from thermostat-1 for 1m"])
        #expect(raised.map(\.time) == [at(70).wall] && raised.map(\.clock) == [.guessed])
        let output = pipeline.deliveryReceived(readings: [try reading("1")], health: [], at: at(80), firstSequence: 3)
        #expect(faults(output).map(\.message) == ["quiet: thermostat-1 is heard again"])
        // Restarted while it was quiet: the silence goes on being watched.
        var after = self.pipeline([quiet])
        _ = after.begin(restoring: heard.state, at: at(1), firstSequence: 2)
        let later = after.timeReached(at: at(61), firstSequence: 2)
        #expect(faults(later).count == 1)
    }

    @Test func badReadingsAreKeptAndDecideNothing() throws {
        var pipeline = pipeline([overheat, quiet])
        let bad = pipeline.deliveryReceived(
            readings: [try reading("99", quality: .bad)], health: [], at: at(1), firstSequence: 1)
        #expect(bad.records.count == 1 && bad.actuations.isEmpty)
        let uncertain = pipeline.deliveryReceived(
            readings: [try reading("99", quality: .uncertain)], health: [], at: at(50), firstSequence: 2)
        #expect(faults(uncertain).count == 1)
        let late = pipeline.deliveryReceived(
            readings: [try reading("99", quality: .bad)], health: [], at: at(100), firstSequence: 4)
        #expect(late.records.count == 1)
        let timer = pipeline.timeReached(at: at(120), firstSequence: 5)
        #expect(timer.records.isEmpty, "it was heard at 100")
    }

    @Test func aReadingBeyondTheLimitsIsRefusedByNameAndTheNextOnePasses() throws {
        var pipeline = pipeline([])
        var long = try reading("1")
        long.unit = String(repeating: "u", count: 33)
        let output = pipeline.deliveryReceived(
            readings: [long, try reading("2")], health: [], at: at(1), firstSequence: 1)
        #expect(output.records == [SequencedRecord(sequence: 1, record: .reading(try reading("2")))])
        #expect(
            output.notices.map(\.description) == [
                "a reading of thermostat-1, metric temperature, was refused: unit needs 1 to 32 bytes, has 33"
            ])
    }

    @Test func fullTablesAreSaid() throws {
        var narrow = Pipeline(rules: [overheat], epoch: epoch, statesMax: 1, sha1: digest)
        var other = try reading("99")
        other.device = meter
        let output = narrow.deliveryReceived(
            readings: [try reading("1"), other], health: [], at: at(1), firstSequence: 1)
        #expect(output.notices == [.rulesFull(rule: "overheat", device: meter)] && output.records.count == 2)
        var pipeline = pipeline([])
        let health = try (0...Pipeline.noAnswerFaultsMax).map { number in
            DeviceHealth(
                device: try #require(DeviceID("d\(number)")), answers: false, reason: "", time: at(1).wall,
                clock: .guessed)
        }
        let many = pipeline.deliveryReceived(readings: [], health: health, at: at(1), firstSequence: 1)
        #expect(many.records.count == Pipeline.noAnswerFaultsMax)
        #expect(many.notices == [.faultsFull(device: try #require(health.last).device)])
    }

    @Test func brokenStateIsSaidAndReplaced() throws {
        var before = pipeline([overheat])
        let raised = before.deliveryReceived(readings: [try reading("71")], health: [], at: at(1), firstSequence: 1)
        let bytes = try #require(raised.state)
        for broken in [[], [9], Array(bytes.dropLast()), bytes + [0]] {
            var after = pipeline([overheat])
            let begun = after.begin(restoring: broken, at: at(1), firstSequence: 1)
            #expect(begun.notices == [.stateUnreadable] && begun.records.isEmpty)
            var next = pipeline([overheat])
            let mended = next.begin(restoring: begun.state, at: at(1), firstSequence: 1)
            #expect(mended.notices.isEmpty)
        }
    }

    @Test func stateAtItsLimitsFitsWhatTheOutboxKeeps() throws {
        let long = { (number: Int) in DeviceID(String(repeating: "d", count: 122) + "\(100_000 + number)") }
        var pipeline = pipeline([
            EdgeRule(
                rule: try Rule(name: String(repeating: "r", count: 100), metric: "temperature", condition: .above(70)))
        ])
        let readings = try (0..<RuleEvaluator.statesMaxDefault).map { number in
            var reading = try reading("99")
            reading.device = try #require(long(number))
            return reading
        }
        let health = try (0..<Pipeline.noAnswerFaultsMax).map { number in
            DeviceHealth(
                device: try #require(long(number)), answers: false, reason: "", time: at(1).wall, clock: .guessed)
        }
        let output = pipeline.deliveryReceived(readings: readings, health: health, at: at(1), firstSequence: 1)
        #expect(faults(output).count == readings.count + health.count)
        #expect(try #require(output.state).count <= 1 << 20)
    }

    /// A stream of random readings with crashes between any two steps: what is kept never raises twice, never clears what
    /// is not open, and numbers without a gap.
    @Test func crashesAtAnyMomentKeepRaisesAndClearsInPairs() throws {
        for seed in UInt64(0)..<100 {
            var random = SeededRandom(seed: seed)
            var live = pipeline([overheat, quiet])
            var state: [UInt8]?
            var log: [SequencedRecord] = []
            var seconds = 0.0
            let keep = { (output: PipelineOutput) in
                log += output.records
                if let bytes = output.state { state = bytes }
            }
            keep(live.begin(restoring: nil, at: at(0), firstSequence: 1))
            for _ in 0..<80 {
                seconds += Double.random(in: 0.1...40, using: &random)
                let text = String(Int.random(in: 55...85, using: &random))
                var next = live
                let isTimer = Int.random(in: 0..<4, using: &random) == 0
                let output =
                    isTimer
                    ? next.timeReached(at: at(seconds), firstSequence: UInt64(log.count) + 1)
                    : next.deliveryReceived(
                        readings: [try reading(text)], health: [], at: at(seconds), firstSequence: UInt64(log.count) + 1
                    )
                switch Int.random(in: 0..<6, using: &random) {
                case 0:  // killed before the commit
                    live = pipeline([overheat, quiet])
                    keep(live.begin(restoring: state, at: at(seconds), firstSequence: UInt64(log.count) + 1))
                case 1:  // killed after it
                    keep(output)
                    live = pipeline([overheat, quiet])
                    keep(live.begin(restoring: state, at: at(seconds), firstSequence: UInt64(log.count) + 1))
                case 2: break  // the store refused
                default:
                    keep(output)
                    live = next
                }
            }
            #expect(log.map(\.sequence) == Array(1...UInt64(log.count)), "seed \(seed)")
            var open: [String: UniqueID] = [:]
            for record in log {
                guard case .fault(let fault) = record.record else { continue }
                switch fault.state {
                case .raised:
                    #expect(open[fault.rule] == nil, "seed \(seed)")
                    open[fault.rule] = fault.faultID
                case .cleared:
                    #expect(open.removeValue(forKey: fault.rule) == fault.faultID, "seed \(seed)")
                }
            }
            #expect(open.count == live.openFaultCount || state == nil, "seed \(seed)")
        }
    }
}
