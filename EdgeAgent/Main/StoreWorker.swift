import Logging
import Outbox
import Pipeline
import Primitives
import Signals
import SouthboundAPI
import Telemetry

/// Everything that the core asks of the outbox. Each call may take as long as the disk does, so once the core has begun
/// they are made on a thread of their own, one at a time.
struct StoreWorker: Sendable {
    enum Job: Sendable {
        case commit(OpenTurn)
        /// Tidy up and, when asked, look for losses to tell.
        case tidy(wantsLosses: Bool)
    }

    enum Outcome: Sendable {
        /// - Parameter nextSequence: after a refusal, as the store says.
        case committed(Verdict, nextSequence: UInt64?)
        case tidied(losses: [SensorLoss])
    }

    /// Losses in one report; the largest first.
    static let reportedMax = 64
    private static let pipelineKey = "pipeline"
    private static func markKey(_ driver: String) -> String { "mark/" + driver }

    let store: any OutboxStore
    let logger: Logger
    /// Called when records are durable.
    let stored: @Sendable () -> Void

    func perform(_ job: Job) -> Outcome {
        switch job {
        case .commit(let turn):
            let verdict = commit(turn.core, marks: turn.marks, learned: turn.learned)
            guard case .refused = verdict else { return .committed(verdict, nextSequence: nil) }
            return .committed(verdict, nextSequence: (try? store.status())?.nextSequence)
        case .tidy(let wantsLosses):
            tidy()
            guard wantsLosses else { return .tidied(losses: []) }
            let losses = (try? store.losses()) ?? []
            return .tidied(losses: Array(losses.sorted { $0.count > $1.count }.prefix(Self.reportedMax)))
        }
    }

    /// The mark that a driver's last delivery left.
    func mark(of driver: String) throws(OutboxError) -> [UInt8]? { try store.kept(Self.markKey(driver)) }

    /// What the pipeline kept last, and the sequence that comes next.
    func lastState() throws(OutboxError) -> (state: [UInt8]?, rows: [String: [UInt8]], nextSequence: UInt64) {
        let state = PlantedBug.agentForgetsRuleState.isPlanted ? nil : try store.kept(Self.pipelineKey)
        var rows: [String: [UInt8]] = [:]
        for key in Signals.rowKeys(index: try store.kept(Signals.indexKey)) { rows[key] = try store.kept(key) }
        return (state, rows, try store.status().nextSequence)
    }

    /// Keeps what a turn has gathered, in one transaction.
    func commit(
        _ turn: CoreTurn, marks: [String: [UInt8]] = [:], learned: [String: [DeviceID]] = [:]
    ) -> Verdict {
        var kept = marks.map { KeptState(key: Self.markKey($0.key), bytes: $0.value) }
        kept += learned.map { LearnedChildren.state($0.value, of: $0.key) }
        if let state = turn.state { kept.append(KeptState(key: Self.pipelineKey, bytes: state)) }
        kept += turn.kept
        kept += turn.signalRows.map { KeptState(key: $0.key, bytes: $0.value) }
        guard !turn.records.isEmpty || !kept.isEmpty else { return .nothing }
        do throws(OutboxError) {
            let dropped = try store.append(
                OutboxCommit(
                    records: turn.records, retentions: turn.retentions, reported: turn.reported, kept: kept,
                    wallTime: turn.time.wall, clock: turn.time.clock))
            if !dropped.isEmpty {
                logger.warning(
                    "the outbox is at its quota; the least dear and oldest readings were dropped",
                    metadata: ["count": "\(dropped.reduce(0) { $0 + $1.count })"])
            }
            if !turn.records.isEmpty { stored() }
            return .kept
        } catch {
            return .refused(SinkError(error.problem == .full ? .full : .storeFailed, detail: error.description))
        }
    }

    private func tidy() {
        do throws(OutboxError) {
            let expired = try store.tidy()
            if !expired.isEmpty {
                logger.warning(
                    "readings have waited for longer than they are worth sending",
                    metadata: ["count": "\(expired.reduce(0) { $0 + $1.count })"])
            }
        } catch {
            // Whoever keeps readings says so; this comes again in a second.
            logger.debug("the outbox could not be tidied", metadata: ["reason": "\(error)"])
        }
    }
}
