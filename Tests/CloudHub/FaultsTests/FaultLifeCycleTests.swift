import Faults
import Primitives
import Telemetry
import Testing

extension FaultTransition {
    static let start = WallInstant("2026-11-21T09:00:00Z")!

    static func make(
        _ state: FaultState, _ number: UInt64 = 1, rule: String = "overheat", after seconds: Int = 0,
        severity: Severity = .warning, device: String = "t-1"
    ) -> FaultTransition {
        FaultTransition(
            faultID: UniqueID(high: 0xfa, low: 0x8000_0000_0000_0000 | number), device: DeviceID(device)!, rule: rule,
            state: state, severity: severity, message: "too hot", metric: "temperature",
            value: .number(DecimalText("71.25")!), limit: "70", time: start + .seconds(seconds))
    }
}

@Suite struct FaultLifeCycleTests {
    func act(_ transition: FaultTransition, fault: Fault? = nil, open: Fault? = nil) -> FaultLifeCycle.Action {
        FaultLifeCycle.reported(
            FaultReport(transition, origin: .edge), known: FaultLifeCycle.Known(fault: fault, open: open))
    }

    var opened: Fault {
        guard case .open(let fault) = act(.make(.raised)) else { preconditionFailure("a new raise opens") }
        return fault
    }

    @Test func aNewRaiseOpensAFaultUnderItsOwnID() {
        #expect(opened.id == FaultTransition.make(.raised).faultID)
        #expect(opened.phase == .open)
        #expect(opened.openedAt == FaultTransition.start)
    }

    @Test func theSameRaiseAgainChangesNothing() {
        #expect(act(.make(.raised), fault: opened, open: opened) == .ignore)
    }

    @Test func aRaiseUnderAnotherIDIsFoldedIntoTheOpenOne() {
        guard case .fold(let folded) = act(.make(.raised, 2, severity: .critical), open: opened) else {
            Issue.record("expected a fold")
            return
        }
        #expect(folded.id == opened.id)
        #expect(folded.repeats == 1)
        #expect(folded.severity == .critical)
    }

    @Test func anAcknowledgedFaultIsStillOpenForRepeatsAndItsEnd() throws {
        let acknowledged = try #require(FaultLifeCycle.acknowledged(opened))
        #expect(FaultLifeCycle.acknowledged(acknowledged) == nil)
        guard case .fold = act(.make(.raised, 2), open: acknowledged) else {
            Issue.record("expected a fold")
            return
        }
        guard case .clear = act(.make(.cleared), fault: acknowledged, open: acknowledged) else {
            Issue.record("expected a clear")
            return
        }
    }

    @Test func aClearedFaultIsNeverOpenedAgain() {
        guard case .clear(let over) = act(.make(.cleared, after: 60), fault: opened, open: opened) else {
            Issue.record("expected a clear")
            return
        }
        #expect(over.clearedAt == FaultTransition.start + .seconds(60))
        #expect(act(.make(.raised), fault: over) == .ignore)
        #expect(act(.make(.raised, after: 3600), fault: over) == .ignore)
        #expect(act(.make(.cleared), fault: over) == .ignore)
        #expect(FaultLifeCycle.acknowledged(over) == nil)
    }

    @Test func anEndBeforeItsBeginningIsRememberedAndRaisesNoAlert() {
        guard case .rememberEnd(let end) = act(.make(.cleared, after: 60)) else {
            Issue.record("expected the end to be remembered")
            return
        }
        #expect(end.openedAt == nil)
        guard case .recordOver(let over) = act(.make(.raised), fault: end) else {
            Issue.record("expected a fault that is over")
            return
        }
        #expect(over.phase == .cleared)
        #expect(over.openedAt == FaultTransition.start)
        #expect(act(.make(.raised), fault: over) == .ignore)
    }

    @Test(arguments: [FaultState.raised, .cleared]) func aReportUnderAnotherDevicesFaultIDChangesNothing(
        _ state: FaultState
    ) {
        #expect(act(.make(state, after: 60, device: "stranger"), fault: opened) == .ignore)
        guard case .rememberEnd(let end) = act(.make(.cleared)) else {
            Issue.record("expected the end to be remembered")
            return
        }
        #expect(act(.make(state, after: 60, device: "stranger"), fault: end) == .ignore)
    }
}
