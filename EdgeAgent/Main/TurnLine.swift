import Outbox
import Pipeline
import Primitives
import SouthboundAPI
import Telemetry
import Timekeeping

/// The order in which what the core does becomes durable; no thread, no disk.
///
///     deliveries ─► open turn ──due──► turn in flight ──kept──► durable pipeline
///                       │ refused with it     │ refused
///                       └─────────────────────┴──► all of both is put back, the durable pipeline holds
///
/// Always true:
/// - A turn builds on the newest pipeline (the open turn's, else that of the turn in flight, else the durable one), so no
///   rule waits for a commit.
/// - At most one turn is in flight. Its sequences go on from the durable ones and the open turn's from its own: none is
///   left out, none is given twice.
/// - A delivery ends with the turn that it is in, and turns end in order: no delivery is kept before an earlier one.
/// - When the turn in flight is refused, so is the open one, which was built on it; pipeline and next sequence are then
///   those of the last durable turn, and what was given to a refused record is given again.
/// - Of one series of a driver, nothing behind a refused delivery is kept.
struct TurnLine {
    /// Deliveries in one turn: bounds its memory and its time.
    static let deliveriesMax = 1024
    /// About what the records of an open turn may take while another is in flight.
    static let bytesMax = 1_048_576

    /// As the last durable turn left it.
    private(set) var durable: Pipeline
    /// That the next durable record has.
    private(set) var durableSequence: UInt64
    private(set) var inFlight: OpenTurn?
    private(set) var open: OpenTurn?
    /// When the last turn that was kept had been handed over.
    private(set) var lastCommit: MonotonicInstant?
    private var handedOver: MonotonicInstant?
    /// By driver: its last series of which something was refused.
    private var refusedSeries: [String: UInt64] = [:]

    init(_ pipeline: Pipeline, nextSequence: UInt64) {
        durable = pipeline
        durableSequence = nextSequence
    }

    /// When the newest pipeline wants to be told the time.
    var nextDeadline: MonotonicInstant? {
        if open != nil { return open?.trial.nextDeadline }
        return inFlight != nil ? inFlight?.trial.nextDeadline : durable.nextDeadline
    }

    /// The open turn takes nothing more before it is handed over.
    var isFull: Bool {
        guard let open else { return false }
        return open.parts.count >= Self.deliveriesMax || open.core.bytes >= Self.bytesMax
    }

    /// Whether losses are on their way to be told.
    var isReporting: Bool { !(open?.core.reported ?? []).isEmpty || !(inFlight?.core.reported ?? []).isEmpty }

    // MARK: Inputs

    /// Runs a delivery through the newest pipeline.
    ///
    /// - Returns: what is to be done at once; `nil` when the delivery is refused because an earlier one of its series was.
    mutating func add(_ delivery: Delivery, ended: @escaping DeliveryEnd, at now: PipelineTime) -> CoreTurn.Effects? {
        if let series = delivery.series, let refused = refusedSeries[delivery.driver], series <= refused { return nil }
        begin(at: now)
        return open?.add(delivery, ended: ended, at: now)
    }

    /// Runs something else through the newest pipeline: time, or a change of the pipeline itself.
    mutating func run(
        at now: PipelineTime, _ body: (inout Pipeline, _ firstSequence: UInt64) -> PipelineOutput
    ) -> CoreTurn.Effects {
        begin(at: now)
        return open?.run(at: now, body) ?? CoreTurn.Effects()
    }

    /// Changes the newest pipeline itself, which is due at once.
    ///
    /// - Parameter kept: state that is kept with what follows from the change.
    mutating func change(
        at now: PipelineTime, keeping kept: [KeptState],
        _ body: (inout Pipeline, _ firstSequence: UInt64) -> PipelineOutput
    ) -> CoreTurn.Effects {
        let effects = run(at: now, body)
        open?.keep(kept)
        return effects
    }

    /// Told how the open turn ends, in order with its deliveries. Nothing is told when there is none.
    mutating func whenEnded(_ ended: @escaping DeliveryEnd) { open?.add(ended) }

    /// Tells losses with the open turn.
    mutating func report(_ losses: [SensorLoss], gateway: DeviceID?, at now: PipelineTime) {
        begin(at: now)
        open?.report(losses, gateway: gateway, at: now)
    }

    /// What is open is due.
    mutating func hurry() { open?.isHurried = true }

    /// When the open turn is due; `nil` when there is none.
    func dueAt(_ pace: CommitPace) -> MonotonicInstant? { open?.dueAt(pace, lastCommit: lastCommit) }

    /// The open turn, to be committed now. Not to be called while one is in flight.
    mutating func handOver(now: MonotonicInstant) -> OpenTurn? {
        precondition(inFlight == nil, "one turn is committed at a time")
        guard let turn = open else { return nil }
        open = nil
        inFlight = turn
        handedOver = now
        return turn
    }

    /// How the commit of the turn in flight ended.
    ///
    /// - Parameter storeSequence: what the store says comes next, when it refused and could be asked.
    /// - Returns: the deliveries that have ended with it, in order.
    mutating func ended(_ verdict: Verdict, storeSequence: UInt64? = nil) -> [OpenTurn.Part] {
        guard let turn = inFlight else { return [] }
        inFlight = nil
        guard case .refused = verdict else {
            durable = turn.trial
            durableSequence = turn.core.nextSequence
            lastCommit = handedOver
            return turn.parts
        }
        let parts = turn.parts + (open?.parts ?? [])
        open = nil
        durableSequence = storeSequence ?? durableSequence
        for part in parts {
            guard let series = part.series else { continue }
            refusedSeries[part.driver] = max(series, refusedSeries[part.driver] ?? series)
        }
        return parts
    }

    private mutating func begin(at now: PipelineTime) {
        guard open == nil else { return }
        open = OpenTurn(
            trial: inFlight?.trial ?? durable,
            core: CoreTurn(at: now, firstSequence: inFlight?.core.nextSequence ?? durableSequence),
            begun: now.monotonic)
    }
}

/// Told how a delivery has ended: `nil` when it is durable.
typealias DeliveryEnd = @Sendable (SinkError?) -> Void

/// What one commit will keep, with the deliveries in it.
struct OpenTurn: Sendable {
    /// A delivery of the turn.
    struct Part: Sendable {
        let driver: String
        let series: UInt64?
        let ended: DeliveryEnd
    }

    /// The pipeline as it will be.
    private(set) var trial: Pipeline
    private(set) var core: CoreTurn
    let begun: MonotonicInstant
    private(set) var parts: [Part] = []
    /// The last one of each driver.
    private(set) var marks: [String: [UInt8]] = [:]
    private(set) var learned: [String: [DeviceID]] = [:]
    /// Somebody cannot go on before it is durable.
    var isHurried = false

    init(trial: Pipeline, core: CoreTurn, begun: MonotonicInstant) {
        self.trial = trial
        self.core = core
        self.begun = begun
    }

    mutating func add(_ delivery: Delivery, ended: @escaping DeliveryEnd, at now: PipelineTime) -> CoreTurn.Effects {
        parts.append(Part(driver: delivery.driver, series: delivery.series, ended: ended))
        if let mark = delivery.mark { marks[delivery.driver] = mark }
        if let learned = delivery.learned { self.learned[delivery.driver] = learned }
        return run(at: now) {
            $0.deliveryReceived(readings: delivery.readings, health: delivery.health, at: now, firstSequence: $1)
        }
    }

    mutating func run(
        at now: PipelineTime, _ body: (inout Pipeline, _ firstSequence: UInt64) -> PipelineOutput
    ) -> CoreTurn.Effects {
        core.add(body(&trial, core.nextSequence), at: now)
    }

    mutating func keep(_ kept: [KeptState]) {
        core.kept += kept
        isHurried = true
    }

    mutating func add(_ ended: @escaping DeliveryEnd) {
        parts.append(Part(driver: "", series: nil, ended: ended))
    }

    mutating func report(_ losses: [SensorLoss], gateway: DeviceID?, at now: PipelineTime) {
        core.report(losses, gateway: gateway, now: now)
    }

    /// A turn that begins long after the last commit need not wait at all, and one with a fault never does.
    func dueAt(_ pace: CommitPace, lastCommit: MonotonicInstant?) -> MonotonicInstant {
        let mustNotWait =
            isHurried || core.hasFault || core.bytes >= pace.bytes || parts.count >= TurnLine.deliveriesMax
        guard !mustNotWait, let lastCommit else { return begun }
        return max(begun, lastCommit + pace.interval)
    }
}
