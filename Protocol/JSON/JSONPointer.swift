/// A place in a JSON document: `/a/b/0`. Source: RFC 6901.
public struct JSONPointer: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// The unescaped steps from the root; none means the whole document.
    public let steps: [String]

    public init(steps: [String]) { self.steps = steps }

    /// `nil` when the text is neither empty nor begins with `/`, or has a `~` that is not `~0` or `~1`.
    public init?(_ text: some StringProtocol) {
        guard !text.isEmpty else {
            self.init(steps: [])
            return
        }
        guard text.utf8.first == UInt8(ascii: "/") else { return nil }
        var steps: [String] = []
        for part in text.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard let step = Self.unescape(part.utf8) else { return nil }
            steps.append(step)
        }
        self.init(steps: steps)
    }

    /// For pointers written in code; a wrong one is a programming error.
    public init(stringLiteral text: String) {
        guard let pointer = JSONPointer(text) else { preconditionFailure("'\(text)' is not a JSON pointer") }
        self = pointer
    }

    public var description: String {
        steps.map { step in
            var escaped = "/"
            for character in step.unicodeScalars {
                switch character {
                case "~": escaped += "~0"
                case "/": escaped += "~1"
                default: escaped.unicodeScalars.append(character)
                }
            }
            return escaped
        }.joined()
    }

    /// An array index without leading zeros.
    static func index(_ step: String) -> Int? {
        let digits = step.utf8
        guard digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            digits.count == 1 || digits.first != UInt8(ascii: "0")
        else { return nil }
        return Int(step)
    }

    private static func unescape(_ bytes: some Collection<UInt8>) -> String? {
        var out: [UInt8] = []
        var rest = bytes.makeIterator()
        while let byte = rest.next() {
            guard byte == UInt8(ascii: "~") else {
                out.append(byte)
                continue
            }
            switch rest.next() {
            case UInt8(ascii: "0"): out.append(UInt8(ascii: "~"))
            case UInt8(ascii: "1"): out.append(UInt8(ascii: "/"))
            default: return nil
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
