import AgentConfig
import ConfigText
import EdgeStore
import JSON
import Outbox
import RuleKeeping
import RuleSets
import Uplink

/// What `edge-agent status` and `check` say of rules.
enum RuleLines {
    /// Why the set that ran last could not run beside this configuration; empty when it could, or none ran here.
    static func warnings(_ loaded: Configured) -> [String] {
        // An outbox that is not there yet, or not ours to read, says nothing about the configuration.
        let bytes = try? OutboxInspection.kept(RuleKeeper.Surroundings.key, path: loaded.config.outbox.path)
        guard let bytes, let kept = KeptRuleSet(bytes, sha256: { GatewayCrypto.sha256($0) }) else { return [] }
        do throws(ConfigError) {
            _ = try loaded.config.rules(with: try RuleSet(bytes: kept.text), isServed: nil)
            return []
        } catch {
            return error.problems.map { "rule set \(kept.reference.version) from the hub would be refused: \($0)" }
        }
    }

    /// - Parameter kept: the report as it was kept last; `nil` before there was one.
    static func lines(_ kept: [UInt8]?, ownCount: Int) -> [String] {
        let report = RuleSetReport(kept.flatMap { try? JSONValue(parsing: $0) })
        var lines = ["rules        \(ownCount) of the file"]
        if let running = report.running {
            lines.append(
                "rule set     \(running.version) with \(running.ruleCount) rules since \(running.since), "
                    + "sha256 \(running.sha256)")
        }
        guard let refused = report.refused else { return lines }
        let what = refused.willRetry ? "not yet there, is tried again" : "refused"
        lines.append("rule set     \(refused.version) \(what):")
        lines += refused.problems.map { "             \($0)" }
        if refused.moreCount > 0 { lines.append("             and \(refused.moreCount) more") }
        return lines
    }
}
