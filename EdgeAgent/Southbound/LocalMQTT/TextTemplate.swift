/// A text with holes: `{payload}`, `{payload.a.b}`, `{payload.a.b:number}`, `{device}`, `{command}`, `{id}`. Every other brace is text, so that
/// JSON can be written as it is: `{"target": {payload.target}}`.
public struct TextTemplate: Sendable, Hashable, CustomStringConvertible {
    enum Part: Sendable, Hashable {
        case literal(String)
        case payload
        /// One member of the payload, by its path; never empty.
        case payloadMember([String])
        /// One member of the payload that is a number, or a text that holds one; written as a number.
        case payloadNumber([String])
        case device
        case command
        case id
    }

    /// As configured.
    public let text: String
    let parts: [Part]

    /// The payload as it came.
    public static let payload = TextTemplate("{payload}")

    /// Any text is a template. Only the first 64 KiB count.
    public init(_ text: String) {
        let text = String(decoding: text.utf8.prefix(65_536), as: UTF8.self)
        var parts: [Part] = []
        var literal = ""
        var rest = text[...]
        while let open = rest.firstIndex(of: "{") {
            literal += rest[..<open]
            rest = rest[open...]
            if let close = rest.firstIndex(of: "}"), let hole = Self.hole(rest[rest.index(after: open)..<close]) {
                if !literal.isEmpty { parts.append(.literal(literal)) }
                literal = ""
                parts.append(hole)
                rest = rest[rest.index(after: close)...]
            } else {
                literal += "{"
                rest = rest.dropFirst()
            }
        }
        literal += rest
        if !literal.isEmpty { parts.append(.literal(literal)) }
        self.text = text
        self.parts = parts
    }

    public var description: String { text }

    private static func hole(_ name: Substring) -> Part? {
        switch name {
        case "payload": return .payload
        case "device": return .device
        case "command": return .command
        case "id": return .id
        default:
            guard name.hasPrefix("payload.") else { return nil }
            let isNumber = name.hasSuffix(":number")
            let path = name.dropFirst("payload.".count).dropLast(isNumber ? ":number".count : 0)
                .split(separator: ".", omittingEmptySubsequences: false).map(String.init)
            guard !path.contains("") else { return nil }
            return isNumber ? .payloadNumber(path) : .payloadMember(path)
        }
    }

    /// Whether it can name a topic: not empty, no wildcard, and no hole but `{device}` and `{command}`.
    var isTopicName: Bool {
        guard !parts.isEmpty else { return false }
        return parts.allSatisfy { part in
            switch part {
            case .literal(let text): !text.utf8.contains(where: { $0 == 0x2B || $0 == 0x23 || $0 == 0 })
            case .device, .command: true
            case .payload, .payloadMember, .payloadNumber, .id: false
            }
        }
    }
}
