public import JSON
import Primitives
import Rules

/// Which set a gateway is to run: the desired property `rules` of its twin.
///
///     {"version": "2026-11-21", "url": "/devices/plant-7/rulesets/9f86…", "sha256": "9f86…"}
///
/// The hash is what makes the text trusted, wherever it comes from.
public struct RuleSetReference: Hashable, Sendable {
    /// The name of the desired and of the reported property.
    public static let property = "rules"
    public static let addressBytesMax = 1024

    /// 1 to 100 letters, digits, `-`, `_` and `.`.
    public let version: String
    /// `https://…`, or a path that begins with `/` and is meant at the hub's own web server.
    public let address: String
    /// 64 lower-case hexadecimal digits.
    public let sha256: String

    public init(version: String, address: String, sha256: String) {
        self.version = version
        self.address = address
        self.sha256 = sha256
    }

    /// The value of the desired property.
    public var json: JSONValue {
        ["version": .string(version), "url": .string(address), "sha256": .string(sha256)]
    }

    public static func isVersion(_ text: String) -> Bool { Rule.isName(text) }

    public static func isSHA256(_ text: String) -> Bool {
        text.utf8.count == 64
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
            }
    }
}

/// What the twin asks for.
public enum RuleSetWish: Hashable, Sendable {
    /// No set: the rules of the gateway's own file alone.
    case none
    case set(RuleSetReference)
    /// It cannot be meant so; a sentence for each thing that is wrong.
    case unreadable(version: String, problems: [String])

    /// - Parameter value: the desired property `rules`; `nil` when it is absent.
    public init(_ value: JSONValue?) {
        guard let value, value != .null else {
            self = .none
            return
        }
        guard case .object(let object) = value else {
            self = .unreadable(
                version: "", problems: [#"rules: expected {"version": "…", "url": "…", "sha256": "…"} or null"#])
            return
        }
        var problems: [String] = []
        func text(_ key: String, _ expected: String, _ isRight: (String) -> Bool) -> String {
            if let text = object[key]?.stringValue, isRight(text) { return text }
            problems.append("rules.\(key): expected \(expected)")
            return ""
        }
        let version = text("version", "1 to 100 letters, digits, - _ or .", RuleSetReference.isVersion)
        let address = text("url", "an https:// address, or a path at the hub that begins with /", Self.isAddress)
        let hash = text("sha256", "the SHA-256 of the set's text: 64 hexadecimal digits") {
            RuleSetReference.isSHA256($0.lowercased())
        }
        let reference = RuleSetReference(version: version, address: address, sha256: hash.lowercased())
        self = problems.isEmpty ? .set(reference) : .unreadable(version: version, problems: problems)
    }

    /// Printable ASCII without blanks: it goes into the first line of a request as it is.
    private static func isAddress(_ text: String) -> Bool {
        let hasForm = text.lowercased().hasPrefix("https://") || text.hasPrefix("/")
        return hasForm && text.utf8.count <= RuleSetReference.addressBytesMax
            && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}
