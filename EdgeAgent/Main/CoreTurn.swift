import Outbox
import Pipeline
import Primitives
import Signals
import SouthboundAPI
import Telemetry
import Timekeeping

/// How a commit ended.
enum Verdict: Sendable {
    case kept
    /// There was nothing to keep, which says nothing about the store.
    case nothing
    case refused(SinkError)
}

/// When what was gathered is committed.
struct CommitPace: Sendable {
    /// At most one commit in this time; zero for as many as there are deliveries to share them. A fault never waits.
    var interval = Duration.zero
    /// From so many bytes of values and names on, a commit does not wait.
    var bytes = 64 * 1024
    /// The device in whose name losses are told that no sensor can be named for.
    var gateway: DeviceID?
}

/// What one commit gathers from the pipeline.
struct CoreTurn {
    /// Of the last thing that was added.
    private(set) var time: PipelineTime
    private(set) var nextSequence: UInt64
    private(set) var records: [SequencedRecord] = []
    private(set) var retentions: [Retention] = []
    private(set) var reported: [SensorLoss] = []
    private(set) var actuations: [RuleAction] = []
    private(set) var notices: [PipelineNotice] = []
    private(set) var state: [UInt8]?
    private(set) var signalRows: [String: [UInt8]] = [:]
    /// What else is kept in the same transaction.
    var kept: [KeptState] = []
    private(set) var hasFault = false
    /// About what the records take, without encoding them.
    private(set) var bytes = 0

    init(_ clock: GatewayClock, firstSequence: UInt64) {
        time = Self.now(clock)
        nextSequence = firstSequence
    }

    static func now(_ clock: GatewayClock) -> PipelineTime {
        let (monotonic, wall) = clock.at()
        return PipelineTime(monotonic: monotonic, wall: wall.time, clock: wall.quality)
    }

    mutating func add(_ output: PipelineOutput, at time: PipelineTime? = nil) {
        if let time { self.time = time }
        append(output.records, output.retentions)
        actuations += output.actuations
        notices += output.notices
        state = output.state ?? state
        for row in output.signalRows { signalRows[row.key] = row.bytes }
    }

    /// Adds a reading for each loss, in the name of the device that lost; they outlive other readings.
    mutating func report(_ losses: [SensorLoss], gateway: DeviceID?, now: PipelineTime) {
        for loss in losses {
            guard let device = DeviceID(loss.sensor.device) ?? gateway, let count = DecimalText("\(loss.count)") else {
                continue
            }
            let reading = Reading(
                device: device, metric: LossReport.metric(loss), value: .number(count), time: now.wall,
                clock: now.clock)
            append(
                [SequencedRecord(sequence: nextSequence, record: .reading(reading))], [Retention(priority: .high)])
            reported.append(loss)
        }
    }

    private mutating func append(_ added: [SequencedRecord], _ kept: [Retention]) {
        if retentions.isEmpty, !kept.isEmpty { retentions = records.map { _ in .standard } }
        records += added
        nextSequence += UInt64(added.count)
        if !retentions.isEmpty { retentions += kept.isEmpty ? added.map { _ in .standard } : kept }
        for record in added {
            bytes += 128
            switch record.record {
            case .fault: hasFault = true
            case .reading(let reading):
                if case .text(let text) = reading.value { bytes += text.utf8.count }
            }
        }
    }
}

/// A commit that is not due yet, with the deliveries in it.
struct OpenTurn {
    /// The pipeline as it will be.
    var trial: Pipeline
    var core: CoreTurn
    let begun: MonotonicInstant
    let lastCommit: MonotonicInstant?
    private(set) var deliveries: [Delivery] = []
    private(set) var tickets: [UInt64] = []

    init(trial: Pipeline, core: CoreTurn, begun: MonotonicInstant, lastCommit: MonotonicInstant?) {
        self.trial = trial
        self.core = core
        self.begun = begun
        self.lastCommit = lastCommit
    }

    mutating func add(_ deliveries: [Delivery], tickets: [UInt64], isTimeDue: Bool, now: PipelineTime) {
        for delivery in deliveries {
            core.add(
                trial.deliveryReceived(
                    readings: delivery.readings, health: delivery.health, at: now, firstSequence: core.nextSequence),
                at: now)
        }
        if isTimeDue { core.add(trial.timeReached(at: now, firstSequence: core.nextSequence), at: now) }
        self.deliveries += deliveries
        self.tickets += tickets
    }

    /// A turn that begins long after the last commit need not wait at all.
    func dueAt(_ pace: CommitPace) -> MonotonicInstant {
        core.hasFault || core.bytes >= pace.bytes || deliveries.count >= AgentCore.deliveriesPerCommitMax
            ? begun : max(begun, (lastCommit ?? begun) + pace.interval)
    }

    func isDue(_ pace: CommitPace, now: MonotonicInstant) -> Bool { dueAt(pace) <= now }
}
