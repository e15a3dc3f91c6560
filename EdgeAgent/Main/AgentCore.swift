import DriverRuntime
import Glibc
import Logging
import Outbox
import Pipeline
import Primitives
import Signals
import SouthboundAPI
import Telemetry

/// The heart of the agent, on one thread: what drivers deliver goes through the pipeline, local actions are started at
/// once, then everything is committed in one transaction, and only then are the drivers released.
///
/// All deliveries that wait are committed together. When the commit fails, nothing of it happened: the pipeline is put
/// back, and every driver is told to keep its acknowledgement and come again.
final class AgentCore: ReadingSink {
    /// Deliveries in one commit: bounds the memory and the time of a transaction.
    static let deliveriesPerCommitMax = 256
    /// Time after which a driver is told to come again.
    static let acceptTimeMax = Duration.seconds(10)
    /// Between two tries of what was due by the clock while the store refuses.
    static let refusedPause = Duration.seconds(1)

    private enum Verdict: Sendable {
        case kept
        /// There was nothing to keep, which says nothing about the store.
        case nothing
        case refused(SinkError)
    }

    private typealias Entry = (ticket: UInt64, delivery: Delivery)

    private struct Desk {
        var waiting: [Entry] = []
        var verdicts: [UInt64: Verdict] = [:]
        var nextTicket: UInt64 = 1
        var isStopping = false
        var hasEnded = false
    }

    private let desk = Monitor(Desk())
    private let store: any OutboxStore
    private let actuate: @Sendable (RuleAction) -> Void
    private let arrived: @Sendable ([Reading]) -> Void
    private let stored: @Sendable () -> Void
    private let logger: Logger
    private let thread = Monitor<OwnThread?>(nil)

    init(
        store: any OutboxStore, logger: Logger, arrived: @escaping @Sendable ([Reading]) -> Void = { _ in },
        actuate: @escaping @Sendable (RuleAction) -> Void,
        stored: @escaping @Sendable () -> Void
    ) {
        self.store = store
        self.logger = logger
        self.arrived = arrived
        self.actuate = actuate
        self.stored = stored
    }

    /// Takes over what an earlier run kept, and begins.
    ///
    /// - Returns: `false` when the system gives no thread.
    func start(_ pipeline: Pipeline, isServed: @escaping @Sendable (DeviceID) -> Bool) -> Bool {
        let made = OwnThread.run(name: "core") { self.run(pipeline, isServed) }
        thread.withLock { $0 = made }
        return made != nil
    }

    /// Commits what still waits and ends the thread.
    func stop() {
        desk.withLock { $0.isStopping = true }
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    // MARK: Drivers' threads

    func accept(_ delivery: Delivery) throws(SinkError) {
        // Interlocks know of it before any rule does.
        arrived(delivery.readings)
        let ticket: UInt64? = desk.withLock { desk in
            guard !desk.isStopping else { return nil }
            let ticket = desk.nextTicket
            desk.nextTicket += 1
            desk.waiting.append((ticket, delivery))
            return ticket
        }
        guard let ticket else { throw SinkError(.stopping, detail: "the agent is stopping") }
        if PlantedBug.agentAcknowledgesBeforeDurable.isPlanted { return }
        let verdict = desk.wait(atMost: Self.acceptTimeMax) { desk -> Verdict? in
            if let verdict = desk.verdicts.removeValue(forKey: ticket) { return verdict }
            return desk.hasEnded ? .refused(SinkError(.stopping, detail: "the agent is stopping")) : nil
        }
        switch verdict {
        case .kept, .nothing: return
        case .refused(let error): throw error
        case nil: try giveUp(ticket)
        }
    }

    /// Takes a delivery back that nobody looked at in time. One that is being committed at this moment is waited for:
    /// its driver must know how that ends.
    private func giveUp(_ ticket: UInt64) throws(SinkError) {
        let isTakenBack = desk.withLock { desk in
            let count = desk.waiting.count
            desk.waiting.removeAll { $0.ticket == ticket }
            return desk.waiting.count < count
        }
        let late = SinkError(.storeFailed, detail: "the outbox did not take the readings in time; the disk is slow")
        if isTakenBack { throw late }
        let verdict = desk.wait(atMost: nil) { $0.hasEnded ? .refused(late) : $0.verdicts.removeValue(forKey: ticket) }
        if case .refused(let error) = verdict { throw error }
    }

    func lastMark(of driver: String) -> [UInt8]? {
        do throws(OutboxError) {
            return try store.kept(Self.markKey(driver))
        } catch {
            logger.error("a driver's mark cannot be read", metadata: ["driver": "\(driver)", "reason": "\(error)"])
            return nil
        }
    }

    private static let pipelineKey = "pipeline"
    private static func markKey(_ driver: String) -> String { "mark/" + driver }

    // MARK: The core's own thread

    private func run(_ fresh: Pipeline, _ isServed: (DeviceID) -> Bool) {
        if var pipeline = restored(fresh, isServed) {
            var isRefusing = false
            // While the store refuses, what is due by the clock stays due: not at once again, but soon.
            while let group = nextGroup(
                before: isRefusing
                    ? pipeline.nextDeadline.map { max($0, SystemTime.monotonic + Self.refusedPause) }
                    : pipeline.nextDeadline)
            {
                // Wide enough for a test to kill the agent in between.
                if PlantedBug.agentAcknowledgesBeforeDurable.isPlanted { usleep(200_000) }
                let verdict = take(group, &pipeline)
                note(verdict, &isRefusing)
                desk.withLock { desk in
                    for entry in group { desk.verdicts[entry.ticket] = verdict }
                }
            }
            keepLast(&pipeline)
        }
        desk.withLock { $0.hasEnded = true }
    }

    /// The pipeline as the last commit left it. Tries until the store answers; `nil` when the agent stops first.
    private func restored(_ fresh: Pipeline, _ isServed: (DeviceID) -> Bool) -> Pipeline? {
        var isRefusing = false
        while true {
            var pipeline = fresh
            do throws(OutboxError) {
                let state = PlantedBug.agentForgetsRuleState.isPlanted ? nil : try store.kept(Self.pipelineKey)
                let first = try store.status().nextSequence
                var turn = CoreTurn(firstSequence: first)
                turn.add(
                    pipeline.begin(
                        restoring: state, signals: try signalRows(), at: turn.now, firstSequence: first,
                        isServed: isServed))
                let verdict = finish(turn, marks: [])
                switch verdict {
                case .kept, .nothing: return pipeline
                case .refused: note(verdict, &isRefusing)
                }
            } catch {
                note(.refused(SinkError(.storeFailed, detail: error.description)), &isRefusing)
            }
            if desk.wait(atMost: .seconds(1), { $0.isStopping ? true : nil }) != nil { return nil }
        }
    }

    private func signalRows() throws(OutboxError) -> [String: [UInt8]] {
        var rows: [String: [UInt8]] = [:]
        for key in Signals.rowKeys(index: try store.kept(Signals.indexKey)) { rows[key] = try store.kept(key) }
        return rows
    }

    /// What the pipeline wants to find again after a clean stop.
    private func keepLast(_ pipeline: inout Pipeline) {
        do throws(OutboxError) {
            var turn = CoreTurn(firstSequence: try store.status().nextSequence)
            turn.add(pipeline.stop(at: turn.now, firstSequence: turn.nextSequence))
            if case .refused(let error) = finish(turn, marks: []) {
                logger.warning("the state of windows is not kept", metadata: ["reason": "\(error)"])
            }
        } catch {
            logger.warning("the state of windows is not kept", metadata: ["reason": "\(error)"])
        }
    }

    /// Runs a group through a copy of the pipeline, which takes the original's place once its output is durable.
    private func take(_ group: [Entry], _ pipeline: inout Pipeline) -> Verdict {
        let first: UInt64
        do throws(OutboxError) {
            first = try store.status().nextSequence
        } catch {
            return .refused(SinkError(.storeFailed, detail: error.description))
        }
        var trial = pipeline
        var turn = CoreTurn(firstSequence: first)
        for entry in group {
            turn.add(
                trial.deliveryReceived(
                    readings: entry.delivery.readings, health: entry.delivery.health, at: turn.now,
                    firstSequence: turn.nextSequence))
        }
        if let deadline = trial.nextDeadline, deadline <= turn.now.monotonic {
            turn.add(trial.timeReached(at: turn.now, firstSequence: turn.nextSequence))
        }
        let verdict = finish(turn, marks: group.map(\.delivery))
        switch verdict {
        case .kept, .nothing: pipeline = trial
        case .refused: break
        }
        return verdict
    }

    /// Acts at once, whatever the disk says; then commits.
    private func finish(_ turn: CoreTurn, marks: [Delivery]) -> Verdict {
        for actuation in turn.actuations { actuate(actuation) }
        for notice in turn.notices {
            logger.warning("the pipeline left something out", metadata: ["what": "\(notice)"])
        }
        let verdict = commit(turn, marks)
        if case .kept = verdict, !turn.records.isEmpty { stored() }
        return verdict
    }

    private func note(_ verdict: Verdict, _ isRefusing: inout Bool) {
        switch verdict {
        case .kept where isRefusing:
            logger.info("the outbox takes readings again")
            isRefusing = false
        case .refused(let error) where !isRefusing:
            logger.error("readings cannot be kept", metadata: ["reason": "\(error)"])
            isRefusing = true
        case .kept, .nothing, .refused: break
        }
    }

    /// Waits for deliveries or for the deadline; an empty group means that only time has passed. `nil` at the end.
    private func nextGroup(before deadline: MonotonicInstant?) -> [Entry]? {
        let limit = deadline.map { max($0 - SystemTime.monotonic, .zero) }
        let group = desk.wait(atMost: limit) { desk -> [Entry]?? in
            if !desk.waiting.isEmpty {
                let group = Array(desk.waiting.prefix(Self.deliveriesPerCommitMax))
                desk.waiting.removeFirst(group.count)
                return .some(group)
            }
            return desk.isStopping ? .some(nil) : nil
        }
        return group ?? []
    }

    private func commit(_ turn: CoreTurn, _ deliveries: [Delivery]) -> Verdict {
        var marks: [String: [UInt8]] = [:]
        for delivery in deliveries {
            if let mark = delivery.mark { marks[Self.markKey(delivery.driver)] = mark }
        }
        var kept = marks.map { KeptState(key: $0.key, bytes: $0.value) }
        for delivery in deliveries {
            if let learned = delivery.learned { kept.append(LearnedChildren.state(learned, of: delivery.driver)) }
        }
        if let state = turn.state { kept.append(KeptState(key: Self.pipelineKey, bytes: state)) }
        kept += turn.signalRows.map { KeptState(key: $0.key, bytes: $0.value) }
        guard !turn.records.isEmpty || !kept.isEmpty else { return .nothing }
        do throws(OutboxError) {
            let dropped = try store.append(
                OutboxCommit(
                    records: turn.records, kept: kept, wallTime: turn.now.wall, clock: turn.now.clock))
            if !dropped.isEmpty {
                logger.warning(
                    "the outbox is at its quota; the oldest readings were dropped",
                    metadata: ["count": "\(dropped.reduce(0) { $0 + $1.count })"])
            }
            return .kept
        } catch {
            return .refused(SinkError(error.problem == .full ? .full : .storeFailed, detail: error.description))
        }
    }
}

/// What one commit gathers from the pipeline.
private struct CoreTurn {
    let now: PipelineTime
    private(set) var nextSequence: UInt64
    private(set) var records: [SequencedRecord] = []
    private(set) var actuations: [RuleAction] = []
    private(set) var notices: [PipelineNotice] = []
    private(set) var state: [UInt8]?
    private(set) var signalRows: [String: [UInt8]] = [:]

    init(firstSequence: UInt64) {
        let wall = WallClock.now()
        now = PipelineTime(monotonic: SystemTime.monotonic, wall: wall.time, clock: wall.quality)
        nextSequence = firstSequence
    }

    mutating func add(_ output: PipelineOutput) {
        records += output.records
        nextSequence += UInt64(output.records.count)
        actuations += output.actuations
        notices += output.notices
        state = output.state ?? state
        for row in output.signalRows { signalRows[row.key] = row.bytes }
    }
}

extension PlantedBug {
    /// The gateway acknowledges to the local broker before the outbox has the reading.
    static var agentAcknowledgesBeforeDurable: PlantedBug { PlantedBug("agentAcknowledgesBeforeDurable") }
    /// The gateway starts with an empty rule state, as if no fault were open.
    static var agentForgetsRuleState: PlantedBug { PlantedBug("agentForgetsRuleState") }
}
