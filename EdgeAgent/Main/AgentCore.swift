import DriverRuntime
import Glibc
import Logging
import Outbox
import Pipeline
import Primitives
import Signals
import SouthboundAPI
import Telemetry
import Timekeeping

/// The heart of the agent, on one thread: what drivers deliver goes through the pipeline at once, and local actions are
/// started; then everything is committed in one transaction, and only then are the drivers released.
///
/// All deliveries that come until the commit is due are committed together. When the commit fails, nothing of it
/// happened: the pipeline is put back, and every driver is told to keep its acknowledgement and come again.
final class AgentCore: ReadingSink {
    /// Deliveries in one commit: bounds the memory and the time of a transaction.
    static let deliveriesPerCommitMax = 256
    /// Time after which a driver is told to come again, on top of the commit interval.
    static let acceptTimeMax = Duration.seconds(10)
    /// Between two tries of what was due by the clock while the store refuses.
    static let refusedPause = Duration.seconds(1)
    /// Between two looks at what the outbox has to tidy up.
    static let tidyPause = Duration.seconds(1)

    typealias Entry = (ticket: UInt64, delivery: Delivery)

    struct Desk {
        var waiting: [Entry] = []
        var swap: RuleSwap?
        var verdicts: [UInt64: Verdict] = [:]
        var nextTicket: UInt64 = 1
        var isStopping = false
        var hasEnded = false
    }

    let desk = Monitor(Desk())
    let store: any OutboxStore
    let clock: GatewayClock
    private let pace: CommitPace
    private let health: OutboxHealth
    let actuate: @Sendable (RuleAction) -> Void
    private let arrived: @Sendable ([Reading]) -> Void
    private let stored: @Sendable () -> Void
    private let logger: Logger
    private let thread = Monitor<OwnThread?>(nil)

    init(
        store: any OutboxStore, clock: GatewayClock, pace: CommitPace = CommitPace(), health: OutboxHealth,
        logger: Logger,
        arrived: @escaping @Sendable ([Reading]) -> Void = { _ in },
        actuate: @escaping @Sendable (RuleAction) -> Void, stored: @escaping @Sendable () -> Void
    ) {
        self.store = store
        self.clock = clock
        self.pace = pace
        self.health = health
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
        let verdict = desk.wait(atMost: pace.interval + Self.acceptTimeMax) { desk -> Verdict? in
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
            var care = OutboxCare(store: store, gateway: pace.gateway, health: health, logger: logger)
            // What goes into the next commit, and who waits for it.
            var open: OpenTurn?
            while let group = nextGroup(open, pipeline, isRefusing: care.isRefusing) {
                // Wide enough for a test to kill the agent in between.
                if PlantedBug.agentAcknowledgesBeforeDurable.isPlanted { usleep(200_000) }
                if let swap = takeSwap() {
                    if let turn = open { close(turn, &pipeline, &care) }
                    open = nil
                    perform(swap, &pipeline, &care)
                }
                let isWarned = care.tidy(now: SystemTime.monotonic)
                if !gather(group, &open, pipeline, isWarned: isWarned, care: &care) { continue }
                guard let turn = open, turn.isDue(pace, now: SystemTime.monotonic) || isStopping else { continue }
                open = nil
                close(turn, &pipeline, &care)
            }
            if let turn = open { close(turn, &pipeline, &care) }
            keepLast(&pipeline)
        }
        desk.withLock { $0.hasEnded = true }
    }

    private var isStopping: Bool { desk.withLock { $0.isStopping } }

    /// Runs what has come through a copy of the pipeline, which takes the original's place once its output is durable.
    ///
    /// - Returns: `false` when there is nothing to commit.
    private func gather(
        _ group: [Entry], _ open: inout OpenTurn?, _ pipeline: Pipeline, isWarned: Bool, care: inout OutboxCare
    ) -> Bool {
        let now = CoreTurn.now(clock)
        let isTimeDue = ((open?.trial ?? pipeline).nextDeadline).map { $0 <= now.monotonic } ?? false
        guard open != nil || !group.isEmpty || isTimeDue || isWarned else { return false }
        if open == nil {
            do throws(OutboxError) {
                open = OpenTurn(
                    trial: pipeline, core: CoreTurn(clock, firstSequence: try store.status().nextSequence),
                    begun: now.monotonic, lastCommit: care.lastCommit)
            } catch {
                let verdict = Verdict.refused(SinkError(.storeFailed, detail: error.description))
                care.note(verdict)
                release(group.map(\.ticket), verdict)
                return false
            }
        }
        let before = open?.core.actuations.count ?? 0
        open?.add(group.map(\.delivery), tickets: group.map(\.ticket), isTimeDue: isTimeDue, now: now)
        // At once, whatever the disk says: doing it again is harmless.
        for actuation in (open?.core.actuations ?? []).dropFirst(before) { actuate(actuation) }
        if isWarned { open?.core.report(care.lossReports(), gateway: pace.gateway, now: now) }
        return true
    }

    private func close(_ turn: OpenTurn, _ pipeline: inout Pipeline, _ care: inout OutboxCare) {
        let verdict = finish(turn.core, marks: turn.deliveries)
        switch verdict {
        case .kept, .nothing:
            pipeline = turn.trial
            care.committed(turn.core.reported, now: SystemTime.monotonic)
        case .refused: break
        }
        care.note(verdict)
        release(turn.tickets, verdict)
    }

    private func release(_ tickets: [UInt64], _ verdict: Verdict) {
        desk.withLock { desk in
            for ticket in tickets { desk.verdicts[ticket] = verdict }
        }
    }

    /// The pipeline as the last commit left it. Tries until the store answers; `nil` when the agent stops first.
    private func restored(_ fresh: Pipeline, _ isServed: (DeviceID) -> Bool) -> Pipeline? {
        var care = OutboxCare(store: store, gateway: pace.gateway, health: health, logger: logger)
        while true {
            var pipeline = fresh
            do throws(OutboxError) {
                let state = PlantedBug.agentForgetsRuleState.isPlanted ? nil : try store.kept(Self.pipelineKey)
                let first = try store.status().nextSequence
                var turn = CoreTurn(clock, firstSequence: first)
                turn.add(
                    pipeline.begin(
                        restoring: state, signals: try signalRows(), at: turn.time, firstSequence: first,
                        isServed: isServed))
                for actuation in turn.actuations { actuate(actuation) }
                let verdict = finish(turn, marks: [])
                care.note(verdict)
                switch verdict {
                case .kept, .nothing: return pipeline
                case .refused: break
                }
            } catch {
                care.note(.refused(SinkError(.storeFailed, detail: error.description)))
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
            var turn = CoreTurn(clock, firstSequence: try store.status().nextSequence)
            turn.add(pipeline.stop(at: turn.time, firstSequence: turn.nextSequence))
            if case .refused(let error) = finish(turn, marks: []) {
                logger.warning("the state of windows is not kept", metadata: ["reason": "\(error)"])
            }
        } catch {
            logger.warning("the state of windows is not kept", metadata: ["reason": "\(error)"])
        }
    }

    /// Commits what was gathered.
    func finish(_ turn: CoreTurn, marks: [Delivery]) -> Verdict {
        for notice in turn.notices {
            logger.warning("the pipeline left something out", metadata: ["what": "\(notice)"])
        }
        let verdict = commit(turn, marks)
        if case .kept = verdict, !turn.records.isEmpty { stored() }
        return verdict
    }

    /// Waits for deliveries, for the open turn's commit, for what is due by the clock, or for a while; an empty group
    /// means that only time has passed. `nil` at the end.
    private func nextGroup(_ open: OpenTurn?, _ pipeline: Pipeline, isRefusing: Bool) -> [Entry]? {
        let now = SystemTime.monotonic
        var limit = Self.tidyPause
        if let open { limit = min(limit, open.dueAt(pace) - now) }
        if let deadline = (open?.trial ?? pipeline).nextDeadline {
            // While the store refuses, what is due by the clock stays due: not at once again, but soon.
            limit = min(limit, isRefusing ? max(deadline - now, Self.refusedPause) : deadline - now)
        }
        let group = desk.wait(atMost: max(limit, .zero)) { desk -> [Entry]?? in
            if !desk.waiting.isEmpty {
                let group = Array(desk.waiting.prefix(Self.deliveriesPerCommitMax))
                desk.waiting.removeFirst(group.count)
                return .some(group)
            }
            if desk.swap != nil { return .some([]) }
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
            return .kept
        } catch {
            return .refused(SinkError(error.problem == .full ? .full : .storeFailed, detail: error.description))
        }
    }
}

extension PlantedBug {
    /// The gateway acknowledges to the local broker before the outbox has the reading.
    static var agentAcknowledgesBeforeDurable: PlantedBug { PlantedBug("agentAcknowledgesBeforeDurable") }
    /// The gateway starts with an empty rule state, as if no fault were open.
    static var agentForgetsRuleState: PlantedBug { PlantedBug("agentForgetsRuleState") }
}
