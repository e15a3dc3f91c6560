import Logging
import Outbox
import Primitives
import SouthboundAPI
import Synchronization
import Telemetry

/// Whether the outbox takes readings, for everybody who tells: log, twin, `status`.
final class OutboxHealth: Sendable {
    private let reason = Mutex<String?>(nil)
    private let changed: @Sendable (String?) -> Void

    /// - Parameter changed: called with the sentence for the operator when the outbox begins to refuse, and with `nil`
    ///   when it is over.
    init(changed: @escaping @Sendable (String?) -> Void = { _ in }) { self.changed = changed }

    /// Why readings cannot be kept; `nil` when they can.
    var problem: String? { reason.withLock { $0 } }

    func set(_ problem: String?) {
        let isNews = reason.withLock { reason in
            defer { reason = problem }
            return reason != problem
        }
        if isNews { changed(problem) }
    }
}

/// When the core looks after the outbox beside its commits, and what it says when commits are refused; no disk.
struct OutboxCare {
    /// Between two reports of losses: a full outbox must not fill itself with them.
    static let reportPause = Duration.seconds(60)
    /// Between two looks at what the outbox has to tidy up.
    static let tidyPause = Duration.seconds(1)
    /// Between two tries of what was due by the clock while the store refuses.
    static let refusedPause = Duration.seconds(1)

    private let health: OutboxHealth
    private let logger: Logger
    private var lastRefusal: MonotonicInstant?
    private var lastTidy: MonotonicInstant?
    private var lastReport: MonotonicInstant?

    init(health: OutboxHealth, logger: Logger) {
        self.health = health
        self.logger = logger
    }

    /// When the outbox may tidy up again; `nil` when it never did.
    var tidyDue: MonotonicInstant? { lastTidy.map { $0 + Self.tidyPause } }

    /// The outbox tidies up now.
    ///
    /// - Returns: whether losses may be told, too.
    mutating func tidies(now: MonotonicInstant) -> Bool {
        lastTidy = now
        return lastReport.map { now - $0 >= Self.reportPause } ?? true
    }

    /// While the store refuses, what is due by the clock stays due: not at once again, but soon.
    func mayTry(dueAt deadline: MonotonicInstant) -> MonotonicInstant {
        lastRefusal.map { max(deadline, $0 + Self.refusedPause) } ?? deadline
    }

    mutating func note(_ verdict: Verdict, reported: [SensorLoss] = [], now: MonotonicInstant) {
        switch verdict {
        case .kept:
            if lastRefusal != nil { logger.info("the outbox takes readings again") }
            lastRefusal = nil
            health.set(nil)
            if !reported.isEmpty { lastReport = now }
        case .refused(let error):
            if lastRefusal == nil { logger.error("readings cannot be kept", metadata: ["reason": "\(error)"]) }
            lastRefusal = now
            health.set(error.detail)
        case .nothing: break
        }
    }
}
