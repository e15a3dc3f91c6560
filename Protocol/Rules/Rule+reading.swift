public import ConfigText
import Primitives
import Telemetry

extension Rule {
    /// Reads one `[[rule]]` table; problems are noted in the section, and `nil` is returned when there is no rule.
    ///
    /// Keys: `name`, `device` (an id or `*`), `metric`, `when`, `for`, `hysteresis`, `severity`, `message`. What else may
    /// stand in the table is the caller's to read.
    public static func read(_ section: ConfigSection, runs: Place) -> Rule? {
        let name = section.requiredText("name", expected: "the rule's name")
        let device = section.parsed("device", default: DeviceSelector.any, expected: "a device id, or \"*\" for any") {
            $0 == "*" ? .any : DeviceID($0).map(DeviceSelector.one)
        }
        let metric = section.optionalText("metric", expected: "the name of a metric")
        let condition = condition(section)
        let holdTime = section.duration("for", default: .zero, in: .zero...holdTimeMax)
        let hysteresis = section.decimal("hysteresis", default: 0, in: 0 ... .greatestFiniteMagnitude)
        let severity = section.choice(
            "severity", default: Severity.warning, ["info": .info, "warning": .warning, "critical": .critical])
        let message = message(section)
        guard let name, let condition else { return nil }
        do {
            return try Rule(
                name: name, runs: runs, device: device, metric: metric, condition: condition, holdTime: holdTime,
                hysteresis: hysteresis, severity: severity, message: message)
        } catch {
            for problem in error.problems { section.problem(problem.field.rawValue, expected: problem.sentence) }
            return nil
        }
    }

    private static func condition(_ section: ConfigSection) -> Condition? {
        guard let text = section.requiredText("when", expected: "a condition, such as \"> 70\" or \"outside 2..8\"")
        else {
            return nil
        }
        do { return try Condition(parsing: text) } catch {
            section.problem("when", expected: error.description)
            return nil
        }
    }

    private static func message(_ section: ConfigSection) -> MessageTemplate? {
        guard let text = section.optionalText("message") else { return nil }
        do { return try MessageTemplate(parsing: text) } catch {
            section.problem("message", expected: error.description)
            return nil
        }
    }
}
