/// A topic filter whose wildcards may have names: `plant/{device}/{metric}`, `plant/+/state`, `site/{device}/#`.
///
/// `{device}` and `{metric}` stand for one whole level each and are taken from the topic name; `+` and a last `#`
/// match and are ignored. Source of the wildcard rules: MQTT 3.1.1 section 4.7.
public struct TopicTemplate: Sendable, Hashable, CustomStringConvertible {
    enum Level: Sendable, Hashable {
        case literal(String)
        case anything
        case device
        case metric
        case rest
    }

    /// As configured.
    public let text: String
    let levels: [Level]

    /// `nil` unless `text` is a valid template of 1 to 1024 bytes, with `{device}` and `{metric}` at most once each.
    public init?(_ text: String) {
        guard (1...1024).contains(text.utf8.count), !text.utf8.contains(0) else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        var levels: [Level] = []
        for (index, part) in parts.enumerated() {
            switch part {
            case "+": levels.append(.anything)
            case "#" where index == parts.count - 1: levels.append(.rest)
            case "{device}" where !levels.contains(.device): levels.append(.device)
            case "{metric}" where !levels.contains(.metric): levels.append(.metric)
            default:
                guard !part.utf8.contains(where: { "+#{}".utf8.contains($0) }) else { return nil }
                levels.append(.literal(String(part)))
            }
        }
        self.text = text
        self.levels = levels
    }

    public var description: String { text }
    public var namesDevice: Bool { levels.contains(.device) }
    public var namesMetric: Bool { levels.contains(.metric) }

    /// What to subscribe to.
    public var filter: String {
        levels.map { level in
            switch level {
            case .literal(let text): text
            case .anything, .device, .metric: "+"
            case .rest: "#"
            }
        }.joined(separator: "/")
    }

    /// What a topic name says by its levels.
    struct Captures: Equatable {
        var device: Substring?
        var metric: Substring?
    }

    /// `nil` when the topic name does not match. Wildcards do not match a first level that begins with `$`
    /// (MQTT 3.1.1 section 4.7.2).
    func captures(of topicName: String) -> Captures? {
        let parts = topicName.split(separator: "/", omittingEmptySubsequences: false)
        var captures = Captures()
        for (index, level) in levels.enumerated() {
            if level == .rest { return index == 0 && topicName.hasPrefix("$") ? nil : captures }
            guard index < parts.count else { return nil }
            let part = parts[index]
            switch level {
            case .literal(let text):
                guard part == text else { return nil }
                continue
            case .anything, .rest: break
            case .device: captures.device = part
            case .metric: captures.metric = part
            }
            if index == 0, part.hasPrefix("$") { return nil }
        }
        if parts.count == levels.count { return captures }
        return nil
    }
}
