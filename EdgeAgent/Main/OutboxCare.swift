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

/// What the core does for the outbox beside its commits: lets it tidy up, tells losses, and notes when it refuses.
struct OutboxCare {
    /// Between two reports of losses: a full outbox must not fill itself with them.
    static let reportPause = Duration.seconds(60)
    /// Losses in one report; the largest first.
    static let reportedMax = 64

    private let store: any OutboxStore
    private let gateway: DeviceID?
    private let health: OutboxHealth
    private let logger: Logger
    private(set) var isRefusing = false
    private(set) var lastCommit: MonotonicInstant?
    private var lastTidy: MonotonicInstant?
    private var lastReport: MonotonicInstant?

    init(store: any OutboxStore, gateway: DeviceID?, health: OutboxHealth, logger: Logger) {
        self.store = store
        self.gateway = gateway
        self.health = health
        self.logger = logger
    }

    /// - Returns: whether there are losses to be told now.
    mutating func tidy(now: MonotonicInstant) -> Bool {
        if let lastTidy, now - lastTidy < AgentCore.tidyPause { return false }
        lastTidy = now
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
        guard lastReport.map({ now - $0 >= Self.reportPause }) ?? true else { return false }
        return !lossReports().isEmpty
    }

    /// What was lost and is not told yet.
    func lossReports() -> [SensorLoss] {
        let losses = (try? store.losses()) ?? []
        return Array(losses.sorted { $0.count > $1.count }.prefix(Self.reportedMax))
    }

    mutating func committed(_ reported: [SensorLoss], now: MonotonicInstant) {
        lastCommit = now
        if !reported.isEmpty { lastReport = now }
    }

    mutating func note(_ verdict: Verdict) {
        switch verdict {
        case .kept:
            if isRefusing { logger.info("the outbox takes readings again") }
            isRefusing = false
            health.set(nil)
        case .refused(let error):
            if !isRefusing {
                logger.error(
                    "readings cannot be kept",
                    metadata: ["reason": "\(error)"])
            }
            isRefusing = true
            health.set(error.detail)
        case .nothing: break
        }
    }
}
