import Certificates
import Devices
import EventLog
import Faults
import Health
import HubClock
import Listeners
import Primitives
import SQLiteHubStore
import Sessions
import Synchronization

/// What `/healthz` and `/metrics` say of the hub.
final class HubHealth: Sendable {
    private let log: SQLiteEventLog
    private let faults: SQLiteFaultStore
    private let runtime: FaultRuntime
    private let connected: ConnectedDevices
    private let probes: [StoreProbe]
    private let condition = Mutex<LogCondition>(.storing)
    private let token: Mutex<WakeToken?>
    /// Set once the listener and the certificates are there.
    let parts = Mutex<Parts>(Parts())

    struct Parts {
        var listener: MQTTListener?
        var admission: HandshakeAdmission?
        var certificate: (@Sendable () -> ServerCertificate)?
        var connectorTrouble: (@Sendable () -> String)?
        /// Of a store behind the hub; `nil` without one.
        var storeTrouble: (@Sendable () -> String)?
    }

    /// - Parameter probes: the databases beside the log, which tells of itself.
    init(
        log: SQLiteEventLog, faults: SQLiteFaultStore, runtime: FaultRuntime, connected: ConnectedDevices,
        probes: [StoreProbe]
    ) {
        self.log = log
        self.probes = probes
        self.faults = faults
        self.runtime = runtime
        self.connected = connected
        token = Mutex(nil)
        let watching = log.onCondition { [weak self] condition in self?.condition.withLock { $0 = condition } }
        token.withLock { $0 = watching }
        log.watchConsumers { ["faults": runtime.status.checkpoints] }
    }

    var routes: HealthRoutes {
        HealthRoutes(report: { await self.report() }, metrics: { await self.metrics() })
    }

    func report() async -> HealthReport {
        var found: [HealthReport.Part] = []
        switch condition.withLock({ $0 }) {
        case .storing: found.append(.init("log"))
        case .stalled(let error): found.append(.init("log", trouble: error.description))
        }
        for probe in probes { found.append(.init(probe.name, trouble: await probe.trouble())) }
        found.append(.init("faults", trouble: faultTrouble()))
        let (certificate, connector, store) = parts.withLock {
            ($0.certificate, $0.connectorTrouble, $0.storeTrouble)
        }
        if let store { found.append(.init("files", trouble: store())) }
        if let certificate = certificate?() {
            let warnings = certificate.warnings.joined(separator: "; ")
            let isOver = certificate.expiryStatus(at: SystemTime.wall()) == .expired
            found.append(.init("certificate", trouble: isOver ? warnings : "", warning: isOver ? "" : warnings))
        }
        if let connector { found.append(.init("connector", trouble: connector(), warning: await refused())) }
        return HealthReport(found)
    }

    private func refused() async -> String {
        guard let count = try? await faults.queueStatus().deadLetters, count > 0 else { return "" }
        return
            "\(count) alerts were refused by the service desk and set aside: see cloud-hub fault dead-letters, mend the "
            + "cause, then cloud-hub fault retry"
    }

    private func faultTrouble() -> String {
        let trouble = runtime.status.trouble
        guard log.consumersAtRisk.contains("faults") else { return trouble }
        let risk = "the event log is about to delete events that no rule has seen: raise its retention"
        return trouble.isEmpty ? risk : "\(trouble); \(risk)"
    }

    func metrics() async -> [Metric] {
        let counters = log.counters
        let bytes = log.partitions.reduce(0) { $0 + $1.bytes }
        var metrics = [
            Metric("fieldline_connections", .gauge, "Devices connected now.", Double(connected.count)),
            Metric("fieldline_log_events_total", .counter, "Events stored since the start.", Double(counters.events)),
            Metric("fieldline_log_bytes", .gauge, "Bytes of events kept.", Double(bytes)),
            Metric("fieldline_log_commits_total", .counter, "Groups committed.", Double(counters.commits)),
            Metric("fieldline_log_commit_seconds_total", .counter, "Time spent committing.", counters.commitSeconds),
            Metric(
                "fieldline_log_failed_commits_total", .counter, "Commits that failed.", Double(counters.failedCommits)),
            Metric(
                "fieldline_log_repeats_total", .counter, "Records dropped as repeats.", Double(counters.repeatsDropped)),
            Metric("fieldline_log_quarantined_total", .counter, "Records quarantined.", Double(counters.quarantined)),
        ]
        metrics += faultMetrics()
        if let status = try? await faults.queueStatus() {
            metrics.append(
                Metric("fieldline_alert_queue", .gauge, "Alerts that wait for the CRM.", Double(status.waiting)))
            metrics.append(
                Metric("fieldline_alert_queue_limit", .gauge, "Alerts that may wait.", Double(status.limit)))
            metrics.append(
                Metric(
                    "fieldline_alert_dead_letters", .gauge, "Alerts that the CRM refused.", Double(status.deadLetters)))
        }
        if let certificate = parts.withLock({ $0.certificate })?() {
            metrics.append(
                Metric(
                    "fieldline_certificate_end_seconds", .gauge, "When the server certificate ends, in Unix time.",
                    Double(certificate.expiresAt.unixSeconds)))
        }
        if let counts = parts.withLock({ $0.listener })?.counts { metrics += Self.listenerMetrics(counts) }
        if let counts = parts.withLock({ $0.admission })?.counts { metrics += Self.handshakeMetrics(counts) }
        return metrics
    }

    private func faultMetrics() -> [Metric] {
        let status = runtime.status
        let lag = zip(log.partitions, status.checkpoints).reduce(Int64(0)) { $0 + $1.0.lag(checkpoint: $1.1) }
        return [
            Metric("fieldline_faults_lag_events", .gauge, "Events that no rule has seen yet.", Double(lag)),
            Metric(
                "fieldline_faults_lost_events_total", .counter, "Events that retention took before a rule saw them.",
                Double(status.eventsLost)),
            Metric(
                "fieldline_faults_stalled", .gauge, "1 while faults cannot be stored.", status.waitsFor == nil ? 0 : 1),
            Metric(
                "fieldline_rule_unwatched_values_total", .counter, "Values that a full hub rule did not look at.",
                Double(status.unwatchedCount)),
            Metric(
                "fieldline_log_consumers_at_risk", .gauge, "Consumers that retention is about to overtake.",
                Double(log.consumersAtRisk.count)),
        ]
    }

    private static func handshakeMetrics(_ counts: HandshakeCounts) -> [Metric] {
        let prefix = "fieldline_handshakes"
        return [
            Metric("\(prefix)_in_progress", .gauge, "TLS handshakes in progress.", Double(counts.inProgress)),
            Metric(
                "\(prefix)_in_progress_peak", .gauge, "The most of them at once since the start.",
                Double(counts.inProgressPeak)),
            Metric("\(prefix)_slow", .gauge, "TLS handshakes that their peers let wait.", Double(counts.slow)),
            Metric("\(prefix)_waiting", .gauge, "Connections that wait for their handshake.", Double(counts.waiting)),
            Metric("\(prefix)_completed_total", .counter, "TLS handshakes done.", Double(counts.completed)),
            Metric("\(prefix)_failed_total", .counter, "TLS handshakes that failed.", Double(counts.failed)),
            Metric(
                "\(prefix)_refused_total", .counter, "Connections closed because too many waited or were slow.",
                Double(counts.refused)),
            Metric(
                "\(prefix)_timed_out_total", .counter, "Connections closed because they or their turn were too late.",
                Double(counts.timedOut)),
            Metric(
                "\(prefix)_gone_total", .counter, "Peers that left before their handshake began.", Double(counts.gone)),
        ]
    }

    private static func listenerMetrics(_ counts: ListenerCounts) -> [Metric] {
        [
            Metric("fieldline_connects_accepted_total", .counter, "Devices let in.", Double(counts.connectsAccepted)),
            Metric("fieldline_connects_refused_total", .counter, "Devices refused.", Double(counts.connectsRefused)),
            Metric("fieldline_messages_total", .counter, "Messages received.", Double(counts.messagesReceived)),
            Metric("fieldline_received_bytes_total", .counter, "Bytes received.", Double(counts.bytesReceived)),
            Metric(
                "fieldline_acknowledgements_total", .counter, "Messages acknowledged.",
                Double(counts.acknowledgementsSent)),
            Metric(
                "fieldline_closed_total", .counter, "Connections closed by the hub, by reason.",
                samples: counts.closesByReason.sorted { $0.key < $1.key }
                    .map { Metric.Sample(Double($0.value), labels: ["reason": $0.key]) }),
        ]
    }
}
