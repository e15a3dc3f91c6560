import Pipeline
import Primitives
import RuleSets
import RuleTrial
import Rules
import Signals
import Telemetry
import Uplink

/// Rules on a fake clock behind `[[signal]]`: the pipeline of the gateway itself, stepped through every deadline. What fires
/// here is what fires there.
struct PipelineTrial: Trial {
    private var pipeline: Pipeline
    private let rules: [String: Rule]
    private let start: WallInstant?
    private var now = MonotonicInstant(nanoseconds: 0)
    private var nextSequence: UInt64 = 1

    /// - Parameter start: the wall clock at the beginning; `nil`: nobody knows the time.
    init(rules: [Rule], signals: [SignalSettings], start: WallInstant?) {
        self.start = start
        self.rules = Dictionary(rules.map { ($0.name, $0) }) { first, _ in first }
        pipeline = Pipeline(
            rules: rules.map { EdgeRule(rule: $0, whenRaised: [], whenCleared: []) }, epoch: Epoch(value: 0),
            statesMax: 100_000, zoneOffset: { WallClock.offset(in: $0, at: $1) }, sha1: { GatewayCrypto.sha1($0) })
        pipeline.signals = Signals(settings: signals)
        _ = pipeline.begin(restoring: nil, at: time, firstSequence: nextSequence)
    }

    private var time: PipelineTime {
        let elapsed = now - MonotonicInstant(nanoseconds: 0)
        return PipelineTime(
            monotonic: now, wall: (start ?? WallInstant(milliseconds: 0)) + elapsed,
            clock: start == nil ? .unset : .synchronised)
    }

    mutating func take(_ value: TrialValue, at instant: Duration) -> [RuleTrial.Event] {
        var events = run(to: instant)
        let reading = Reading(
            device: value.device, metric: value.metric, value: value.value, unit: value.unit, time: time.wall,
            clock: time.clock)
        events += self.events(
            pipeline.deliveryReceived(readings: [reading], health: [], at: time, firstSequence: nextSequence))
        return events
    }

    mutating func run(to instant: Duration) -> [RuleTrial.Event] {
        let end = max(now, MonotonicInstant(nanoseconds: 0) + instant)
        var events: [RuleTrial.Event] = []
        var looks = 0
        while let due = pipeline.nextDeadline, due <= end {
            // A deadline may be early, and then it is moved on; one that stays is looked at again with the next input.
            looks = due > now ? 0 : looks + 1
            guard looks < 8 else { break }
            now = max(now, due)
            events += self.events(pipeline.timeReached(at: time, firstSequence: nextSequence))
        }
        now = end
        return events
    }

    private mutating func events(_ output: PipelineOutput) -> [RuleTrial.Event] {
        nextSequence += UInt64(output.records.count)
        let at = now - MonotonicInstant(nanoseconds: 0)
        let full = output.notices.compactMap { notice -> RuleTrial.Event? in
            guard case .rulesFull(let name, let device) = notice, let rule = rules[name] else { return nil }
            return RuleTrial.Event(at: at, rule: rule, device: device, kind: .full, value: nil)
        }
        return full
            + output.records.compactMap { record in
                guard case .fault(let fault) = record.record, let rule = rules[fault.rule] else { return nil }
                return RuleTrial.Event(
                    at: at, rule: rule, device: fault.device, kind: fault.state == .raised ? .breached : .recovered,
                    value: fault.value?.description)
            }
    }
}
