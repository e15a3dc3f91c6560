public import ConfigText
import Expressions
import Primitives
import Telemetry

extension Rule {
    /// Reads one `[[rule]]` table; problems are noted in the section, and `nil` is returned when there is no rule.
    ///
    /// Keys: `name`, `device` (an id or `*`), `metric`, `when` or `expression`, `clear_when`, `max_age`, `for`,
    /// `hysteresis`, `severity`, `message`, `active`, `time_zone`, `without_clock`. What else may stand in the table is the caller's to read.
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
        let schedule = schedule(section)
        let clearCondition = clearCondition(section)
        let inputAgeMax = section.duration("max_age", default: .zero, in: .zero...holdTimeMax)
        guard let name, let condition else { return nil }
        do {
            return try Rule(
                name: name, runs: runs, device: device, metric: metric, condition: condition, holdTime: holdTime,
                clearCondition: clearCondition, hysteresis: hysteresis, severity: severity, message: message,
                schedule: schedule, inputAgeMax: inputAgeMax)
        } catch {
            for problem in error.problems { section.problem(problem.field.rawValue, expected: problem.sentence) }
            return nil
        }
    }

    private static func condition(_ section: ConfigSection) -> Condition? {
        if section.has("expression") { return expression(section) }
        if section.has("max_age") { section.problem("max_age", expected: "has no meaning without expression") }
        _ = section.take("expression")
        guard let text = section.requiredText("when", expected: "a condition, such as \"> 70\" or \"rises 5 per 1m\"")
        else {
            return nil
        }
        do { return try Condition(parsing: text) } catch {
            section.problem("when", expected: error.description)
            return nil
        }
    }

    private static func expression(_ section: ConfigSection) -> Condition? {
        if section.take("when") != nil {
            section.problem("when", expected: "does not go together with expression; a rule has one of them")
        }
        guard let text = section.optionalText("expression", expected: "a condition over metrics") else { return nil }
        do throws(ExpressionError) {
            return .expression(try SignalExpression(parsing: text, as: .boolean))
        } catch {
            section.problem("expression", expected: error.description)
            return nil
        }
    }

    private static func clearCondition(_ section: ConfigSection) -> SignalExpression? {
        guard let text = section.optionalText("clear_when", expected: "a condition over metrics") else { return nil }
        guard section.has("expression") else {
            section.problem("clear_when", expected: "has no meaning without expression; use hysteresis")
            return nil
        }
        do throws(ExpressionError) {
            return try SignalExpression(parsing: text, as: .boolean)
        } catch {
            section.problem("clear_when", expected: error.description)
            return nil
        }
    }

    private static func schedule(_ section: ConfigSection) -> Schedule? {
        let texts = section.texts("active", default: [], countMax: Schedule.windowsMax)
        let zone = section.parsed(
            "time_zone", default: Schedule.Zone.local,
            expected: "\"local\", \"utc\", a zone such as \"Europe/Berlin\", or an offset such as \"+01:00\""
        ) { Schedule.Zone($0) }
        let isActiveWithoutClock = section.choice("without_clock", default: true, ["active": true, "inactive": false])
        guard section.has("active") else {
            for key in ["time_zone", "without_clock"] where section.has(key) {
                section.problem(key, expected: "has no meaning without active, the times at which the rule is in force")
            }
            return nil
        }
        guard !texts.isEmpty else {
            section.problem("active", expected: "needs at least one window, such as \"mon-fri 08:00-18:00\"")
            return nil
        }
        do {
            return try Schedule(parsing: texts, zone: zone, isActiveWithoutClock: isActiveWithoutClock)
        } catch {
            section.problem("active", expected: error.description)
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
