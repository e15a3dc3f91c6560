import JSON
import RuleSets

/// What `edge-agent status` says of rules.
enum RuleLines {
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
