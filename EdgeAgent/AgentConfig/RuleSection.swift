import ConfigText
import Primitives
public import Rules
public import SouthboundAPI
import Telemetry

/// A rule and what the gateway does at once when it fires.
public struct EdgeRule: Sendable {
    public var rule: Rule
    /// When the fault begins.
    public var then: [Actuation]
    /// When it is over.
    public var finally: [Actuation]
}

enum RuleSection {
    static let rulesMax = 1000
    static let actionsMax = 16

    static func read(_ root: ConfigSection) -> [EdgeRule] {
        let rules = root.sections("rule", countMax: rulesMax).compactMap { section -> EdgeRule? in
            let then = actions("then", section)
            let finally = actions("finally", section)
            return Rule.read(section, runs: .edge).map { EdgeRule(rule: $0, then: then, finally: finally) }
        }
        let names = rules.map(\.rule.name)
        for name in Set(names) where names.count(where: { $0 == name }) > 1 {
            root.problem("the name '\(name)' is given to two rules; every [[rule]] needs its own")
        }
        return rules
    }

    private static func actions(_ key: String, _ section: ConfigSection) -> [Actuation] {
        section.sections(key, countMax: actionsMax).compactMap(action)
    }

    private static func action(_ section: ConfigSection) -> Actuation? {
        if section.has("publish") {
            let topic = section.optional("publish", expected: "a topic name: not empty, no + and no #") { text in
                text.isEmpty || text.utf8.contains(where: { "+#".utf8.contains($0) }) ? nil : text
            }
            let payload = section.optional("payload", expected: "a text of at most 64 KiB") { text in
                text.utf8.count <= 65_536 ? text : nil
            }
            let isRetained = section.flag("retain", default: false)
            return topic.map { .publish(topic: $0, payload: Array((payload ?? "").utf8), isRetained: isRetained) }
        }
        guard section.has("write") else {
            section.problem("is no action: expected { publish = topic, payload = text } or "
                + "{ write = device, register = name, value = number }")
            return nil
        }
        let device = section.optional("write", expected: "a device id") { DeviceID($0) }
        let register = section.requiredText("register", expected: "the metric of a writable register")
        let value = ConfigValue.reading("value", in: section)
        guard let device, let register, let value else { return nil }
        return .write(device: device, register: register, value: value)
    }
}
