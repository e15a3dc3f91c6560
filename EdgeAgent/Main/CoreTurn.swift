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
struct CoreTurn: Sendable {
    /// Of the last thing that was added.
    private(set) var time: PipelineTime
    private(set) var nextSequence: UInt64
    private(set) var records: [SequencedRecord] = []
    private(set) var retentions: [Retention] = []
    private(set) var reported: [SensorLoss] = []
    private(set) var state: [UInt8]?
    private(set) var signalRows: [String: [UInt8]] = [:]
    /// What else is kept in the same transaction.
    var kept: [KeptState] = []
    private(set) var hasFault = false
    /// About what the records take, without encoding them.
    private(set) var bytes = 0

    /// What is not kept but done at once.
    struct Effects {
        var actuations: [RuleAction] = []
        var notices: [PipelineNotice] = []
    }

    init(at time: PipelineTime, firstSequence: UInt64) {
        self.time = time
        nextSequence = firstSequence
    }

    mutating func add(_ output: PipelineOutput, at time: PipelineTime) -> Effects {
        self.time = time
        append(output.records, output.retentions)
        state = output.state ?? state
        for row in output.signalRows { signalRows[row.key] = row.bytes }
        return Effects(actuations: output.actuations, notices: output.notices)
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

extension GatewayClock {
    /// Both clocks, as the pipeline wants them.
    var pipelineTime: PipelineTime {
        let (monotonic, wall) = at()
        return PipelineTime(monotonic: monotonic, wall: wall.time, clock: wall.quality)
    }
}
