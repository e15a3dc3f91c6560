public import Primitives

/// A fault's message with holes for what was found: `{device}`, `{metric}`, `{value}`, `{limit}`, `{rule}`.
///
/// `{{` and `}}` stand for a brace.
public struct MessageTemplate: Hashable, Sendable, CustomStringConvertible {
    /// Longest template: 512 bytes. The message made from it is cut to `messageBytesMax`.
    public static let bytesMax = 512
    /// Longest message: 1,024 bytes.
    public static let messageBytesMax = 1024

    private enum Part: Hashable, Sendable {
        case literal(String)
        case device, metric, value, limit, rule
    }

    /// As configured.
    public let text: String
    private let parts: [Part]

    /// What a rule says when it has no message of its own.
    public static let standard = MessageTemplate(
        text: "{rule}: {metric} of {device} is {value}, limit {limit}",
        parts: [
            .rule, .literal(": "), .metric, .literal(" of "), .device, .literal(" is "), .value, .literal(", limit "),
            .limit,
        ])

    /// The same for a rule about silence.
    public static let standardSilence = MessageTemplate(
        text: "{rule}: nothing heard from {device} for {limit}",
        parts: [.rule, .literal(": nothing heard from "), .device, .literal(" for "), .limit])

    /// The same for a rule about several sensors.
    public static let standardExpression = MessageTemplate(
        text: "{rule} of {device}: {limit}", parts: [.rule, .literal(" of "), .device, .literal(": "), .limit])

    static func standard(for condition: Condition) -> MessageTemplate {
        switch condition {
        case .silent: .standardSilence
        case .expression: .standardExpression
        default: .standard
        }
    }

    private init(text: String, parts: [Part]) {
        self.text = text
        self.parts = parts
    }

    public init(parsing text: String) throws(RuleTextError) {
        guard text.utf8.count <= Self.bytesMax else {
            throw RuleTextError(column: 1, problem: "a message has at most \(Self.bytesMax) bytes")
        }
        let characters = Array(text)
        var parts: [Part] = []
        var literal = ""
        var index = 0
        while index < characters.count {
            let character = characters[index]
            let isDouble = index + 1 < characters.count && characters[index + 1] == character
            switch character {
            case "{" where !isDouble:
                if !literal.isEmpty { parts.append(.literal(literal)) }
                literal = ""
                let (part, end) = try Self.hole(characters, from: index)
                parts.append(part)
                index = end
            case "}" where !isDouble:
                throw RuleTextError(column: index + 1, problem: "a } without its {; write }} for the character itself")
            case "{", "}":
                literal.append(character)
                index += 2
            default:
                literal.append(character)
                index += 1
            }
        }
        if !literal.isEmpty { parts.append(.literal(literal)) }
        self.init(text: text, parts: parts)
    }

    /// For payloads, which are full of braces: the five holes are filled, and every other brace is text. Only the first
    /// `bytesMax` bytes count.
    public init(keepingOtherBraces text: String) {
        let names: [(String, Part)] = [
            ("{device}", .device), ("{metric}", .metric), ("{value}", .value), ("{limit}", .limit), ("{rule}", .rule),
        ]
        let text = String(decoding: text.utf8.prefix(Self.bytesMax), as: UTF8.self)
        var parts: [Part] = []
        var literal = ""
        var rest = text[...]
        while let first = rest.first {
            if let (name, part) = names.first(where: { rest.hasPrefix($0.0) }) {
                if !literal.isEmpty { parts.append(.literal(literal)) }
                literal = ""
                parts.append(part)
                rest = rest.dropFirst(name.count)
            } else {
                literal.append(first)
                rest = rest.dropFirst()
            }
        }
        if !literal.isEmpty { parts.append(.literal(literal)) }
        self.init(text: text, parts: parts)
    }

    private static func hole(_ characters: [Character], from start: Int) throws(RuleTextError) -> (Part, Int) {
        guard let end = characters[start...].firstIndex(of: "}") else {
            throw RuleTextError(column: start + 1, problem: "a { without its }; write {{ for the character itself")
        }
        let name = String(characters[start + 1..<end])
        let part: Part
        switch name {
        case "device": part = .device
        case "metric": part = .metric
        case "value": part = .value
        case "limit": part = .limit
        case "rule": part = .rule
        default:
            throw RuleTextError(
                column: start + 1,
                problem: "{\(name.prefix(20))} is unknown; allowed are {device} {metric} {value} {limit} {rule}")
        }
        return (part, end + 1)
    }

    public var description: String { text }

    /// The message; cut to its limit between characters.
    public func message(rule: Rule, device: DeviceID, value: String?) -> String {
        var message = ""
        for part in parts {
            switch part {
            case .literal(let text): message += text
            case .device: message += device.text
            case .metric: message += rule.metric ?? "every metric"
            case .value: message += value ?? "none"
            case .limit: message += rule.limitText
            case .rule: message += rule.name
            }
        }
        while message.utf8.count > Self.messageBytesMax { message.removeLast() }
        return message
    }
}
