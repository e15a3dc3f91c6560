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

/// The heart of the agent: what drivers deliver goes through the pipeline at once, and local actions are started; then
/// everything is committed, and only then are the drivers told that they may acknowledge.
///
/// Two threads. `core` runs the pipeline and never waits for the disk; `outbox` makes the calls to the store, one at a
/// time. What comes while a commit is on its way goes through the rules at once and into the next commit. `TurnLine` says
/// how they follow each other, and that a commit that fails puts back all that was built on it.
final class AgentCore: ReadingSink {
    /// Deliveries that go through the pipeline before the core looks at anything else.
    private static let groupMax = 256

    private struct Entry {
        let delivery: Delivery
        let ended: DeliveryEnd
    }

    private struct Desk {
        var waiting: [Entry] = []
        var swap: RuleSwap?
        var isHurried = false
        var isStopping = false
        /// From the store's thread.
        var outcome: StoreWorker.Outcome?
    }

    /// What the store's thread waits for.
    private struct Order {
        var job: StoreWorker.Job?
        var isLast = false
    }

    /// What the core looks at next.
    private struct Input {
        var outcome: StoreWorker.Outcome?
        var swap: RuleSwap?
        var group: [Entry] = []
        var isHurried = false
        var isStopping = false
        var hasMore = false
    }

    private let desk = Monitor(Desk())
    private let order = Monitor(Order())
    private let worker: StoreWorker
    private let clock: GatewayClock
    private let pace: CommitPace
    private let health: OutboxHealth
    private let actuate: @Sendable (RuleAction) -> Void
    private let arrived: @Sendable ([Reading]) -> Void
    private let logger: Logger
    private let threads = Monitor<[OwnThread]>([])

    init(
        store: any OutboxStore, clock: GatewayClock, pace: CommitPace = CommitPace(), health: OutboxHealth,
        logger: Logger,
        arrived: @escaping @Sendable ([Reading]) -> Void = { _ in },
        actuate: @escaping @Sendable (RuleAction) -> Void, stored: @escaping @Sendable () -> Void
    ) {
        worker = StoreWorker(store: store, logger: logger, stored: stored)
        self.clock = clock
        self.pace = pace
        self.health = health
        self.logger = logger
        self.arrived = arrived
        self.actuate = actuate
    }

    /// Takes over what an earlier run kept, and begins.
    ///
    /// - Returns: `false` when the system gives no thread.
    func start(_ pipeline: Pipeline, isServed: @escaping @Sendable (DeviceID) -> Bool) -> Bool {
        let made = [
            OwnThread.run(name: "outbox") { self.runStore() },
            OwnThread.run(name: "core") { self.run(pipeline, isServed) },
        ].compactMap(\.self)
        threads.withLock { $0 = made }
        return made.count == 2
    }

    /// Commits what still waits and ends the threads.
    func stop() {
        desk.withLock { $0.isStopping = true }
        let running = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in running { thread.join() }
    }

    // MARK: Drivers' threads

    func accept(_ delivery: Delivery, ended: @escaping @Sendable (SinkError?) -> Void) {
        // Interlocks know of it before any rule does. A message that is repeated after a refusal counts as heard again:
        // while the store refuses, an interlock does not notice that its sensor has fallen silent.
        arrived(delivery.readings)
        if PlantedBug.agentAcknowledgesBeforeDurable.isPlanted { return acceptTooEarly(delivery, ended) }
        if !leave(Entry(delivery: delivery, ended: ended)) { ended(Self.stopping) }
    }

    private func leave(_ entry: Entry) -> Bool {
        desk.withLock { desk in
            guard !desk.isStopping else { return false }
            desk.waiting.append(entry)
            return true
        }
    }

    private func acceptTooEarly(_ delivery: Delivery, _ ended: DeliveryEnd) {
        let alone = Delivery(
            driver: delivery.driver, readings: delivery.readings, health: delivery.health, mark: delivery.mark,
            learned: delivery.learned)
        ended(leave(Entry(delivery: alone) { _ in }) ? nil : Self.stopping)
    }

    /// Takes the place of the rules between two deliveries, all or nothing: when the store refuses, the old ones run on.
    /// Any thread; does not block. A later call takes the place of one that still waits.
    func replaceRules(_ swap: RuleSwap) { desk.withLock { $0.swap = swap } }

    func hurry() { desk.withLock { $0.isHurried = true } }

    func lastMark(of driver: String) -> [UInt8]? {
        do throws(OutboxError) {
            return try worker.mark(of: driver)
        } catch {
            logger.error("a driver's mark cannot be read", metadata: ["driver": "\(driver)", "reason": "\(error)"])
            return nil
        }
    }

    private static let stopping = SinkError(.stopping, detail: "the agent is stopping")

    // MARK: The store's thread

    private func runStore() {
        while let job = nextOrder() {
            let outcome = worker.perform(job)
            desk.withLock { $0.outcome = outcome }
        }
    }

    /// `nil` at the end.
    private func nextOrder() -> StoreWorker.Job? {
        let next = order.wait(atMost: nil) { $0.job != nil || $0.isLast ? $0 : nil }
        order.withLock { $0.job = nil }
        return next?.job
    }

    // MARK: The core's thread

    private func run(_ fresh: Pipeline, _ isServed: (DeviceID) -> Bool) {
        var care = OutboxCare(health: health, logger: logger)
        if var line = restored(fresh, isServed, &care) {
            serve(&line, &care)
            keepLast(line)
        }
        let left = desk.withLock { desk in
            defer { desk.waiting = [] }
            desk.isStopping = true
            return desk.waiting
        }
        order.withLock { $0.isLast = true }
        for entry in left { entry.ended(Self.stopping) }
    }

    private func serve(_ line: inout TurnLine, _ care: inout OutboxCare) {
        var isStoreBusy = false
        while true {
            let input = nextInput(line, care, isStoreBusy: isStoreBusy)
            if let outcome = input.outcome {
                isStoreBusy = false
                settle(outcome, &line, &care)
            }
            gather(input, &line, care)
            if input.isHurried { line.hurry() }
            guard !isStoreBusy else { continue }
            if let job = nextJob(&line, &care, isStopping: input.isStopping) {
                order.withLock { $0.job = job }
                isStoreBusy = true
            } else if input.isStopping, !input.hasMore {
                return
            }
        }
    }

    /// Waits for deliveries, for the store, for what is due, or for the end.
    private func nextInput(_ line: borrowing TurnLine, _ care: OutboxCare, isStoreBusy: Bool) -> Input {
        let now = SystemTime.monotonic
        var next = now + OutboxCare.tidyPause
        if !isStoreBusy { next = min(next, care.tidyDue ?? now, line.dueAt(pace) ?? next) }
        if let deadline = line.nextDeadline { next = min(next, care.mayTry(dueAt: deadline)) }
        let mayTake = !line.isFull
        func look(_ desk: inout Desk) -> Input? {
            guard
                desk.outcome != nil || (mayTake && (desk.isHurried || desk.swap != nil || !desk.waiting.isEmpty))
                    || (desk.isStopping && !isStoreBusy)
            else { return nil }
            var input = Input(outcome: desk.outcome, isHurried: desk.isHurried, isStopping: desk.isStopping)
            desk.outcome = nil
            if mayTake {
                input.swap = desk.swap
                desk.swap = nil
                input.group = Array(desk.waiting.prefix(Self.groupMax))
                desk.waiting.removeFirst(input.group.count)
                // What still waits is hurried, too.
                desk.isHurried = desk.isHurried && !desk.waiting.isEmpty
            }
            input.hasMore = !desk.waiting.isEmpty
            return input
        }
        return desk.wait(atMost: max(next - now, .zero), look) ?? Input()
    }

    /// Runs what has come through the newest pipeline, and what is due by the clock.
    private func gather(_ input: Input, _ line: inout TurnLine, _ care: OutboxCare) {
        let now = clock.pipelineTime
        // Wide enough for a test to kill the agent in between.
        if let swap = input.swap { perform(swap, &line, at: now) }
        if !input.group.isEmpty, PlantedBug.agentAcknowledgesBeforeDurable.isPlanted { usleep(200_000) }
        for entry in input.group {
            if let effects = line.add(entry.delivery, ended: entry.ended, at: now) {
                carryOut(effects)
            } else {
                entry.ended(SinkError(.storeFailed, detail: "what came before it could not be kept"))
            }
        }
        // At the end nothing new begins.
        guard !input.isStopping, let deadline = line.nextDeadline, care.mayTry(dueAt: deadline) <= now.monotonic
        else { return }
        carryOut(line.run(at: now) { $0.timeReached(at: now, firstSequence: $1) })
    }

    private func perform(_ swap: RuleSwap, _ line: inout TurnLine, at now: PipelineTime) {
        let late = line.change(at: now, keeping: swap.kept) {
            $0.replaceRules(swap.rules, origin: swap.origin, at: now, firstSequence: $1)
        }
        carryOut(CoreTurn.Effects(notices: late.notices))
        // Not before it is durable: else the old rules may have to go on, and for them their faults are open.
        let actuate = actuate
        line.whenEnded { error in
            if error == nil { for actuation in late.actuations { actuate(actuation) } }
            swap.done(error)
        }
    }

    /// At once, whatever the disk says. After a refusal the same readings come again and may do it again: each action says
    /// what is to be, but old readings that go to and fro move an actuator to and fro with them.
    private func carryOut(_ effects: CoreTurn.Effects) {
        for actuation in effects.actuations { actuate(actuation) }
        for notice in effects.notices {
            logger.warning("the pipeline left something out", metadata: ["what": "\(notice)"])
        }
    }

    /// What the store does next; `nil` for nothing.
    private func nextJob(_ line: inout TurnLine, _ care: inout OutboxCare, isStopping: Bool) -> StoreWorker.Job? {
        let now = SystemTime.monotonic
        if let due = line.dueAt(pace), due <= now || isStopping {
            return line.handOver(now: now).map { .commit($0) }
        }
        guard !isStopping, care.tidyDue.map({ $0 <= now }) ?? true else { return nil }
        return .tidy(wantsLosses: care.tidies(now: now) && !line.isReporting)
    }

    private func settle(_ outcome: StoreWorker.Outcome, _ line: inout TurnLine, _ care: inout OutboxCare) {
        switch outcome {
        case .tidied(let losses):
            if !losses.isEmpty { line.report(losses, gateway: pace.gateway, at: clock.pipelineTime) }
        case .committed(let verdict, let nextSequence):
            let reported = line.inFlight?.core.reported ?? []
            let parts = line.ended(verdict, storeSequence: nextSequence)
            care.note(verdict, reported: reported, now: SystemTime.monotonic)
            var error: SinkError?
            if case .refused(let reason) = verdict { error = reason }
            for part in parts { part.ended(error) }
        }
    }

    // MARK: Begin and end

    /// The pipeline as the last commit left it. Tries until the store answers; `nil` when the agent stops first.
    private func restored(
        _ fresh: Pipeline, _ isServed: (DeviceID) -> Bool, _ care: inout OutboxCare
    ) -> TurnLine? {
        while true {
            var pipeline = fresh
            do throws(OutboxError) {
                let last = try worker.lastState()
                let now = clock.pipelineTime
                var turn = CoreTurn(at: now, firstSequence: last.nextSequence)
                carryOut(
                    turn.add(
                        pipeline.begin(
                            restoring: last.state, signals: last.rows, at: now, firstSequence: last.nextSequence,
                            isServed: isServed), at: now))
                let verdict = worker.commit(turn)
                care.note(verdict, now: SystemTime.monotonic)
                switch verdict {
                case .kept, .nothing: return TurnLine(pipeline, nextSequence: turn.nextSequence)
                case .refused: break
                }
            } catch {
                care.note(
                    .refused(SinkError(.storeFailed, detail: error.description)), now: SystemTime.monotonic)
            }
            if desk.wait(atMost: .seconds(1), { $0.isStopping ? true : nil }) != nil { return nil }
        }
    }

    /// What the pipeline wants to find again after a clean stop.
    private func keepLast(_ line: TurnLine) {
        var pipeline = line.durable
        let now = clock.pipelineTime
        var turn = CoreTurn(at: now, firstSequence: line.durableSequence)
        carryOut(turn.add(pipeline.stop(at: now, firstSequence: line.durableSequence), at: now))
        if case .refused(let error) = worker.commit(turn) {
            logger.warning("the state of windows is not kept", metadata: ["reason": "\(error)"])
        }
    }
}

extension PlantedBug {
    /// The gateway acknowledges to the local broker before the outbox has the reading.
    static var agentAcknowledgesBeforeDurable: PlantedBug { PlantedBug("agentAcknowledgesBeforeDurable") }
    /// The gateway starts with an empty rule state, as if no fault were open.
    static var agentForgetsRuleState: PlantedBug { PlantedBug("agentForgetsRuleState") }
}
