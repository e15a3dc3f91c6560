public import ConfigText
import Primitives
public import RuleTrial
import Rules
import Telemetry

/// Reads `[[rule]]` with its actions and cases: the gateway's own file and a set from the hub are read by the same code.
public enum RuleSection {
    /// The rules, and the cases that stand beside them. Problems are noted in the section.
    public static func read(_ root: ConfigSection, cases: inout [RuleCase]) -> [EdgeRule] {
        let rules = root.sections("rule", countMax: EdgeRule.countMax).compactMap { section -> EdgeRule? in
            let then = actions("then", section)
            let finally = actions("finally", section)
            let isReplaceable = section.flag("replaceable", default: false)
            let rule = Rule.read(section, runs: .edge)
            cases += RuleCase.read(section, of: rule)
            if let rule, EdgeRule.reservedNames.contains(rule.name) {
                section.problem("name", expected: "is the name of a built-in rule; choose another")
            }
            return rule.map {
                EdgeRule(rule: $0, whenRaised: then, whenCleared: finally, isReplaceable: isReplaceable)
            }
        }
        let names = rules.map(\.rule.name)
        for name in Set(names) where names.count(where: { $0 == name }) > 1 {
            root.problem("the name '\(name)' is given to two rules; every [[rule]] needs its own")
        }
        return rules
    }

    private static func actions(_ key: String, _ section: ConfigSection) -> [LocalAction] {
        section.sections(key, countMax: EdgeRule.actionsMax).compactMap(action)
    }

    private static func action(_ section: ConfigSection) -> LocalAction? {
        if section.has("publish") {
            let topic = section.optional("publish", expected: "a topic name: not empty, no + and no #") { text in
                text.isEmpty || text.utf8.contains(where: { "+#".utf8.contains($0) }) ? nil : text
            }
            let payload = section.text("payload", default: "{value}", expected: "a text")
            let isRetained = section.flag("retain", default: false)
            return topic.map {
                .publish(
                    topic: MessageTemplate(keepingOtherBraces: $0),
                    payload: MessageTemplate(keepingOtherBraces: payload),
                    isRetained: isRetained)
            }
        }
        if section.has("call") { return call(section) }
        guard section.has("write") else {
            section.problem(
                "is no action: expected { publish = topic, payload = text }, "
                    + "{ write = device, register = name, value = number } or "
                    + "{ call = method, on = device, payload = text, within = duration }")
            return nil
        }
        let device = section.optional("write", expected: "a device id") { DeviceID($0) }
        let register = section.requiredText("register", expected: "the metric of a writable register")
        let value = ReadingValue.read("value", in: section)
        guard let device, let register, let value else { return nil }
        return .write(device: device, register: register, value: value)
    }

    private static func call(_ section: ConfigSection) -> LocalAction? {
        let method = section.requiredText("call", expected: "the name of a method")
        let device = section.parsed("on", default: nil as DeviceID?, expected: "a device id") { DeviceID($0) }
        let payload = section.text("payload", default: "{}", expected: "a text")
        let within = section.duration("within", default: .seconds(10), in: .milliseconds(100) ... .seconds(300))
        return method.map {
            .call(
                device: device, method: $0, payload: MessageTemplate(keepingOtherBraces: payload), within: within)
        }
    }
}
