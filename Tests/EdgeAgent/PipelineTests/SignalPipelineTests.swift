import Expressions
import Pipeline
import Primitives
import RuleSets
import Rules
import Signals
import SouthboundAPI
import Telemetry
import Testing

@Suite("The pipeline with signals")
struct SignalPipelineTests {
    private static let device = DeviceID("freezer-1")

    private func pipeline(_ settings: [SignalSettings], when: String, metric: String = "t") throws -> Pipeline {
        let rule = try Rule(name: "warm", metric: metric, condition: try Condition(parsing: when))
        var pipeline = Pipeline(
            rules: [EdgeRule(rule: rule)], epoch: Epoch(value: 0x1234), sha1: { _ in Array(repeating: 7, count: 20) })
        pipeline.signals = Signals(settings: settings)
        return pipeline
    }

    private func time(_ second: Int64) -> PipelineTime {
        PipelineTime(
            monotonic: MonotonicInstant(nanoseconds: second * 1_000_000_000),
            wall: WallInstant(milliseconds: 1_795_017_000_000 + second * 1000), clock: .synchronised)
    }

    private func reading(_ value: Int, _ second: Int64, unit: String? = nil) throws -> Reading {
        Reading(
            device: try #require(Self.device), metric: "t", value: .number(DecimalText(value)), unit: unit,
            time: time(second).wall)
    }

    private func described(_ records: [SequencedRecord]) -> [String] {
        records.map { record in
            switch record.record {
            case .reading(let reading): "\(reading.metric)=\(reading.value)@\(reading.time.milliseconds / 1000 % 1000)"
            case .fault(let fault): "\(fault.state.rawValue) \(fault.rule)"
            }
        }
    }

    @Test func rulesSeeWhatIsNotKeptAndAFaultBringsItsContext() throws {
        var settings = SignalSettings(metric: "t")
        settings.reduction = .none
        var pipeline = try pipeline([settings], when: "> 5")
        var sequence: UInt64 = 1
        var all: [SequencedRecord] = []
        for second in Int64(0)..<5 {
            let output = pipeline.deliveryReceived(
                readings: [try reading(second == 3 ? 9 : 1, second)], health: [], at: time(second),
                firstSequence: sequence)
            sequence += UInt64(output.records.count)
            all += output.records
        }
        #expect(
            described(all) == ["t=1@0", "t=1@1", "t=1@2", "t=9@3", "raised warm", "t=1@4", "cleared warm"])
        #expect(all.map(\.sequence) == Array(1...7))
        let fault = all.compactMap { if case .fault(let fault) = $0.record { fault } else { nil } }[0]
        #expect(
            fault.faultID
                == FaultTransition.identity(
                    device: fault.device, rule: "warm", epoch: Epoch(value: 0x1234), openingSequence: 5,
                    sha1: { _ in Array(repeating: 7, count: 20) }), "its id is of its own sequence")
    }

    @Test func rulesSeeConvertedValuesAndWhatIsMarkedBadDecidesNothing() throws {
        var settings = SignalSettings(metric: "t")
        settings.conversion.unit = "Cel"
        settings.plausibility.high = 100
        var pipeline = try pipeline([settings], when: "> 30")
        let output = pipeline.deliveryReceived(
            readings: [try reading(50, 0, unit: "[degF]"), try reading(120, 1), try reading(104, 2, unit: "[degF]")],
            health: [], at: time(2), firstSequence: 1)
        #expect(described(output.records) == ["t=10@0", "t=120@1", "t=40@2", "raised warm"])
    }

    @Test func rulesSeeWhatWindowsAndExpressionsGive() throws {
        var settings = SignalSettings(metric: "t")
        settings.reduction = .none
        settings.windows = [WindowSettings(length: .seconds(10), aggregates: [.max])]
        var pipeline = try pipeline([settings], when: "> 5", metric: "t.max")
        _ = pipeline.deliveryReceived(readings: [try reading(9, 1)], health: [], at: time(1), firstSequence: 1)
        let deadline = try #require(pipeline.nextDeadline)
        #expect(deadline == time(10).monotonic)
        let output = pipeline.timeReached(at: time(10), firstSequence: 1)
        #expect(described(output.records) == ["t.max=9@10", "t=9@1", "raised warm"])
    }

    @Test func aDeviceThatDoesNotAnswerBringsItsContextToo() throws {
        var settings = SignalSettings()
        settings.reduction = .none
        var pipeline = try pipeline([settings], when: "> 99")
        _ = pipeline.deliveryReceived(readings: [try reading(1, 1)], health: [], at: time(1), firstSequence: 1)
        let health = DeviceHealth(
            device: try #require(Self.device), answers: false, reason: "timeout", time: time(2).wall,
            clock: .synchronised)
        let output = pipeline.deliveryReceived(readings: [], health: [health], at: time(2), firstSequence: 1)
        #expect(described(output.records) == ["t=1@1", "raised no-answer"])
    }

    @Test func aRefusedCommitLosesNothing() throws {
        var settings = SignalSettings(metric: "t")
        settings.reduction = .none
        settings.windows = [WindowSettings(length: .seconds(10), aggregates: [.count])]
        var pipeline = try pipeline([settings], when: "> 99")
        for second in Int64(0)..<9 {
            var refused = pipeline
            _ = refused.deliveryReceived(
                readings: [try reading(1, second)], health: [], at: time(second), firstSequence: 1)
            _ = pipeline.deliveryReceived(
                readings: [try reading(1, second)], health: [], at: time(second), firstSequence: 1)
        }
        var refused = pipeline
        let first = refused.timeReached(at: time(10), firstSequence: 1)
        let second = pipeline.timeReached(at: time(11), firstSequence: 1)
        #expect(described(first.records) == ["t.count=9@10"])
        #expect(described(second.records) == ["t.count=9@10"])
    }

    @Test func windowsGoOnAfterAStop() throws {
        var settings = SignalSettings(metric: "t")
        settings.reduction = .none
        settings.windows = [WindowSettings(length: .seconds(60), aggregates: [.count])]
        var first = try pipeline([settings], when: "> 99")
        _ = first.deliveryReceived(readings: [try reading(1, 1)], health: [], at: time(1), firstSequence: 1)
        let kept = first.stop(at: time(2), firstSequence: 1)
        let rows = Dictionary(uniqueKeysWithValues: kept.signalRows.map { ($0.key, $0.bytes) })
        #expect(Signals.rowKeys(index: rows[Signals.indexKey]).contains("signal/freezer-1/t"))
        var second = try pipeline([settings], when: "> 99")
        _ = second.begin(restoring: nil, signals: rows, at: time(20), firstSequence: 1)
        _ = second.deliveryReceived(readings: [try reading(1, 21)], health: [], at: time(21), firstSequence: 1)
        #expect(described(second.timeReached(at: time(60), firstSequence: 1).records) == ["t.count=2@60"])
    }

    @Test func withoutSettingsNothingIsKeptOfSignals() throws {
        var pipeline = try pipeline([], when: "> 99")
        let output = pipeline.deliveryReceived(readings: [try reading(1, 1)], health: [], at: time(1), firstSequence: 1)
        #expect(output.signalRows == [] && output.records.count == 1)
        #expect(pipeline.stop(at: time(2), firstSequence: 2).signalRows == [])
    }

    @Test func recordsCarryTheirSignalsRetention() throws {
        var settings = SignalSettings(metric: "t")
        settings.retention = Retention(priority: .low, timeToLive: .seconds(60))
        settings.windows = [WindowSettings(length: .seconds(10), aggregates: [.max])]
        var pipeline = try pipeline([settings], when: "> 5")
        let first = pipeline.deliveryReceived(readings: [try reading(9, 1)], health: [], at: time(1), firstSequence: 1)
        #expect(first.retentions == [settings.retention, .standard], "the reading and its fault")
        #expect(pipeline.timeReached(at: time(10), firstSequence: 3).retentions == [settings.retention], "the window")
    }
}
