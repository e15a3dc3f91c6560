public import Primitives
public import RuleSets

/// Decides what is done about the set that the twin asks for, and what is said about it.
///
///               another wish                 done
///     settled ───────────────► due ─► working ────► settled
///        ▲                      ▲        │ trouble that may pass
///        │                      └────────┴─ waiting, longer each time
///        └── refused: only another wish helps
///
/// What runs goes on running until something else does.
public struct RuleSetKeeper: Sendable {
    /// Waits between two tries.
    public static let firstPause = Duration.seconds(2)
    public static let longestPause = Duration.seconds(900)

    /// What has to be done, one at a time.
    public enum Step: Equatable, Sendable {
        /// Fetch the set, check it, keep it and let it run.
        case take(RuleSetReference)
        /// Let the file's own rules run alone.
        case withdraw
    }

    /// How a step ended.
    public enum Outcome: Equatable, Sendable {
        /// The rules of this set run and are kept; `nil` for the file's own.
        case runs(RuleSetReport.Running?)
        /// It cannot run here, and trying again will not help.
        case refused([String])
        /// Trouble that may pass.
        case failed([String])
        /// It was given up, because something else is wanted or the agent stops.
        case interrupted
    }

    private enum State: Sendable {
        /// What is wanted runs, or was refused, or nobody has said yet what is wanted. Exits: `due`.
        case settled
        /// Exits: `working`, `due` for another wish.
        case due(Step, at: MonotonicInstant)
        /// Exits: `settled`, `due`.
        case working(Step)
    }

    private var state = State.settled
    private var wish: RuleSetWish?
    private var backoff = Backoff(first: Self.firstPause, most: Self.longestPause)
    public private(set) var report: RuleSetReport

    /// - Parameter report: what runs, and what of an earlier run cannot run any more.
    public init(_ report: RuleSetReport) { self.report = report }

    /// The twin has come; most often it says what it said before.
    ///
    /// - Returns: whether something else is wanted than before.
    public mutating func wished(_ wish: RuleSetWish, now: MonotonicInstant) -> Bool {
        guard wish != self.wish else { return false }
        self.wish = wish
        backoff.reset()
        report.refused = nil
        switch wish {
        case .none: state = report.running == nil ? .settled : .due(.withdraw, at: now)
        case .set(let reference):
            let isRunning = report.running.map { $0.version == reference.version && $0.sha256 == reference.sha256 }
            state = isRunning == true ? .settled : .due(.take(reference), at: now)
        case .unreadable(let version, let problems):
            state = .settled
            report.refused = .init(version: version, sha256: "", problems: problems, willRetry: false)
        }
        return true
    }

    /// When there is something to do; `nil` for not before another wish.
    public var deadline: MonotonicInstant? { if case .due(_, let at) = state { at } else { nil } }

    /// The step to do now.
    public mutating func nextStep(now: MonotonicInstant) -> Step? {
        guard case .due(let step, let at) = state, at <= now else { return nil }
        state = .working(step)
        return step
    }

    /// The step was done, or was not. When something else has been wanted meanwhile, only what runs counts.
    public mutating func ended(
        _ outcome: Outcome, now: MonotonicInstant, using random: inout some RandomNumberGenerator
    ) {
        if case .runs(let running) = outcome { report.running = running }
        guard case .working(let step) = state else {
            reconsider(now: now)
            return
        }
        switch outcome {
        case .runs:
            state = .settled
            report.refused = nil
        case .refused(let problems):
            state = .settled
            report.refused = refusal(step, problems, willRetry: false)
        case .failed(let problems):
            state = .due(step, at: now + backoff.next(using: &random))
            report.refused = refusal(step, problems, willRetry: true)
        case .interrupted: state = .due(step, at: now)
        }
    }

    /// What was wanted while a step was done may be what runs now, or not any more.
    private mutating func reconsider(now: MonotonicInstant) {
        guard let current = wish else { return }
        wish = nil
        _ = wished(current, now: now)
    }

    private func refusal(_ step: Step, _ problems: [String], willRetry: Bool) -> RuleSetReport.Refusal {
        switch step {
        case .take(let reference):
            .init(
                version: reference.version, sha256: reference.sha256, problems: problems, willRetry: willRetry)
        case .withdraw: .init(version: "", sha256: "", problems: problems, willRetry: willRetry)
        }
    }
}
