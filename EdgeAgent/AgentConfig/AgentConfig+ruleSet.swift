public import ConfigText
import ModbusDriver
public import Primitives
public import RuleSets
import Rules

/// What the gateway takes of a set from the hub.
public struct HubRules: Sendable, Equatable {
    /// Whether sets are run beside the file's own rules. Default yes.
    public var isTaken = true
    /// PEM file of the authorities that may vouch for servers other than the hub; `nil` for the system's.
    public var caFile: String?

    public init() {}

    /// Why none is taken; known before one is fetched.
    public var refusal: ConfigProblem? {
        guard !isTaken else { return nil }
        return ConfigProblem(
            keyPath: "rules.from_hub", line: nil, given: "\"off\"",
            expected: "this gateway's own file takes no set from the hub")
    }
}

extension AgentConfig {
    static func readHubRules(_ section: ConfigSection) -> HubRules {
        var settings = HubRules()
        settings.isTaken = section.choice("from_hub", default: true, ["merge": true, "off": false])
        settings.caFile = section.optionalText("ca_file", expected: "the path of a PEM file")
        return settings
    }

    /// The file's rules and those of a set from the hub. A rule of the file gives way to one of the same name only when
    /// it says `replaceable = true`.
    ///
    /// - Parameter isServed: whether the gateway looks after the device; `nil` while nobody knows.
    /// - Throws: why this gateway cannot run the set, everything at once.
    public func rules(
        with set: RuleSet, isServed: ((DeviceID) -> Bool)?
    ) throws(ConfigError) -> [EdgeRule] {
        var problems: [ConfigProblem] = []
        if let refusal = hubRules.refusal { problems.append(refusal) }
        let own = Dictionary(rules.map { ($0.rule.name, $0) }) { first, _ in first }
        var replaced: Set<String> = []
        for (index, rule) in set.rules.enumerated() {
            let name = rule.rule.name
            let place = "rule[\(index + 1)]"
            if let mine = own[name] {
                replaced.insert(name)
                if !mine.isReplaceable {
                    problems.append(
                        ConfigProblem(
                            keyPath: "\(place).name", line: nil, given: "\"\(name)\"",
                            expected: "is a rule of this gateway's own file; choose another name, or let the file say "
                                + "replaceable = true"))
                }
            }
            problems += actionProblems(rule, place: place, isServed: isServed)
        }
        let merged = rules.filter { !replaced.contains($0.rule.name) } + set.rules
        if merged.count > EdgeRule.countMax {
            problems.append(
                ConfigProblem(
                    keyPath: "rule", line: nil, given: nil,
                    expected: "with the file's own rules these are \(merged.count); a gateway has at most "
                        + "\(EdgeRule.countMax)"))
        }
        guard problems.isEmpty else { throw ConfigError(problems: problems) }
        return merged
    }

    /// Notes what the actions of the file's own rules name and the file does not have.
    func noteActions(of sections: [ConfigSection]) {
        // With a rule that cannot be read, nobody knows which is which; that is said already.
        guard sections.count == rules.count else { return }
        for (rule, section) in zip(rules, sections) {
            for problem in actionProblems(rule, place: "", isServed: nil) {
                section.problem(String(problem.keyPath.dropFirst()), expected: problem.expected)
            }
        }
    }

    /// What a rule's actions name and this gateway does not have.
    ///
    /// - Parameter isServed: whether the gateway looks after a device that a method is called of; `nil` while nobody
    ///   knows.
    func actionProblems(_ rule: EdgeRule, place: String, isServed: ((DeviceID) -> Bool)?) -> [ConfigProblem] {
        let named = [("then", rule.whenRaised), ("finally", rule.whenCleared)]
        return named.flatMap { key, actions in
            actions.enumerated().compactMap { index, action in
                problem(of: action, place: "\(place).\(key)[\(index + 1)]", isServed: isServed)
            }
        }
    }

    private func problem(
        of action: LocalAction, place: String, isServed: ((DeviceID) -> Bool)?
    ) -> ConfigProblem? {
        switch action {
        case .publish:
            guard brokers.isEmpty else { return nil }
            return ConfigProblem(
                keyPath: "\(place).publish", line: nil, given: nil, expected: "this gateway has no [[mqtt]] broker")
        case .write(let device?, let register, _):
            let registers = lines.flatMap(\.units).filter { $0.device == device }.flatMap(\.registers)
            if registers.contains(where: { $0.metric == register && $0.isWritable }) { return nil }
            let names = registers.filter(\.isWritable).map(\.metric).joined(separator: ", ")
            return ConfigProblem(
                keyPath: "\(place).register", line: nil, given: "\"\(register)\"",
                expected: "is no writable register of \(device) at this gateway; writable are: "
                    + (names.isEmpty ? "none" : names))
        case .call(let device?, _, _, _):
            guard let isServed, !isServed(device) else { return nil }
            return ConfigProblem(
                keyPath: "\(place).on", line: nil, given: "\"\(device)\"", expected: "is no device of this gateway")
        case .write(nil, _, _), .call(nil, _, _, _): return nil
        }
    }
}
