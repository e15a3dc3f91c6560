import Outbox
import Pipeline
import Primitives
import RuleSets
import SouthboundAPI
import Telemetry

/// Other rules for the running pipeline.
struct RuleSwap: Sendable {
    let rules: [EdgeRule]
    /// Where they come from, for the messages of faults that end with it: "rule set 7".
    let origin: String
    /// Kept in the transaction that keeps what follows from the change.
    let kept: [KeptState]
    /// Called once, on the core's thread; not at all when the agent stops first.
    let done: @Sendable (SinkError?) -> Void
}

extension AgentCore {
    /// Takes the place of the rules between two commits, all or nothing: when the store refuses, the old rules run on.
    /// Any thread; does not block. A later call takes the place of one that still waits.
    func replaceRules(_ swap: RuleSwap) { desk.withLock { $0.swap = swap } }

    func takeSwap() -> RuleSwap? {
        desk.withLock { desk in
            defer { desk.swap = nil }
            return desk.swap
        }
    }

    /// On the core's own thread, with no turn open.
    func perform(_ swap: RuleSwap, _ pipeline: inout Pipeline, _ care: inout OutboxCare) {
        do throws(OutboxError) {
            var trial = pipeline
            var turn = CoreTurn(clock, firstSequence: try store.status().nextSequence)
            turn.kept = swap.kept
            turn.add(
                trial.replaceRules(
                    swap.rules, origin: swap.origin, at: turn.time, firstSequence: turn.nextSequence))
            let verdict = finish(turn, marks: [])
            care.note(verdict)
            switch verdict {
            case .kept, .nothing:
                pipeline = trial
                // Not before: while the old rules may have to go on, their faults are open.
                for actuation in turn.actuations { actuate(actuation) }
                swap.done(nil)
            case .refused(let error): swap.done(error)
            }
        } catch {
            swap.done(SinkError(.storeFailed, detail: error.description))
        }
    }
}
