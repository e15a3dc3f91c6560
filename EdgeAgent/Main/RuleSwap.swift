import Outbox
import RuleSets
import SouthboundAPI

/// Other rules for the running pipeline.
struct RuleSwap: Sendable {
    let rules: [EdgeRule]
    /// Where they come from, for the messages of faults that end with it: "rule set 7".
    let origin: String
    /// Kept in the transaction that keeps what follows from the change.
    let kept: [KeptState]
    /// Called once, on the core's thread; not at all when the agent stops first or another change comes before it.
    let done: @Sendable (SinkError?) -> Void
}
