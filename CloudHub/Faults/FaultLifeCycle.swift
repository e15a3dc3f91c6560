import Primitives
import Telemetry

/// Decides what a report makes of a fault: open, acknowledged, cleared. Pure; the store applies the action in the
/// transaction that also moves the consumer's checkpoint.
///
/// A fault's id is made where it is found, so a report that arrives twice changes nothing. What was raised again under
/// another id while the same rule's fault of the same device is open is folded into that one. A fault that is over is
/// never opened again, however late its beginning arrives. An id belongs to the device that came with it first: what
/// another one reports under it changes nothing.
public enum FaultLifeCycle {
    /// What is known when a report arrives.
    public struct Known: Sendable, Equatable {
        /// The fault under the report's id, or the one that this id was folded into.
        public var fault: Fault?
        /// The open fault of the same device and rule.
        public var open: Fault?

        public init(fault: Fault? = nil, open: Fault? = nil) {
            self.fault = fault
            self.open = open
        }
    }

    public enum Action: Sendable, Equatable {
        /// Store a new fault; the connector opens an alert.
        case open(Fault)
        /// Store the changed fault and remember that the report's id means it; the alert is brought up to date.
        case fold(Fault)
        /// Store the changed fault; the alert is closed.
        case clear(Fault)
        /// Store a fault that was over before it was known; no alert.
        case recordOver(Fault)
        /// Store what an end says, so that its beginning will find it.
        case rememberEnd(Fault)
        /// Nothing new.
        case ignore
    }

    public static func reported(_ report: FaultReport, known: Known) -> Action {
        if let fault = known.fault, fault.device != report.transition.device { return .ignore }
        return switch report.transition.state {
        case .raised: raised(report, known: known)
        case .cleared: cleared(report, known: known)
        }
    }

    /// A person has seen the fault; `nil` when it is not open or somebody was first.
    public static func acknowledged(_ fault: Fault) -> Fault? {
        guard fault.phase == .open else { return nil }
        var changed = fault
        changed.phase = .acknowledged
        return changed
    }

    private static func raised(_ report: FaultReport, known: Known) -> Action {
        let transition = report.transition
        if let fault = known.fault {
            guard fault.openedAt == nil else { return .ignore }
            var over = fault
            over.openedAt = transition.time
            over.severity = transition.severity
            over.message = transition.message
            over.metric = transition.metric
            over.value = transition.value
            over.limit = transition.limit
            return .recordOver(over)
        }
        if let open = known.open {
            var folded = open
            folded.repeats += 1
            folded.severity = max(open.severity, transition.severity)
            folded.value = transition.value ?? open.value
            return .fold(folded)
        }
        return .open(fault(report, phase: .open, openedAt: transition.time, clearedAt: nil))
    }

    private static func cleared(_ report: FaultReport, known: Known) -> Action {
        let time = report.transition.time
        // The hub's own rules know a fault by device and rule alone: the id belongs to what opened it.
        guard let fault = known.fault ?? (report.origin == .hub ? known.open : nil) else {
            guard report.origin == .edge else { return .ignore }
            return .rememberEnd(self.fault(report, phase: .cleared, openedAt: nil, clearedAt: time))
        }
        guard fault.isOpen else { return .ignore }
        var over = fault
        over.phase = .cleared
        over.clearedAt = time
        return .clear(over)
    }

    private static func fault(
        _ report: FaultReport, phase: Fault.Phase, openedAt: WallInstant?, clearedAt: WallInstant?
    ) -> Fault {
        let transition = report.transition
        return Fault(
            id: transition.faultID, device: transition.device, rule: transition.rule, origin: report.origin,
            phase: phase, severity: transition.severity, message: transition.message, metric: transition.metric,
            value: transition.value, limit: transition.limit, openedAt: openedAt, clearedAt: clearedAt,
            clock: transition.clock)
    }
}
