internal import JSON
public import Primitives
public import RuleSets

/// The set that runs, as bytes that outlive the process: what it is in one line of JSON, then its text as it came.
public struct KeptRuleSet: Sendable, Equatable {
    /// What is kept when no set runs.
    public static let none: [UInt8] = []

    public let reference: RuleSetReference
    public let since: WallInstant
    public let text: [UInt8]

    public init(reference: RuleSetReference, since: WallInstant, text: [UInt8]) {
        self.reference = reference
        self.since = since
        self.text = text
    }

    /// At most `RuleSet.bytesMax` and 2 KiB.
    public var bytes: [UInt8] {
        guard case .object(var head) = reference.json else { preconditionFailure("a reference is an object") }
        head["since"] = .string(since.description)
        return JSONValue.object(head).serialized() + [UInt8(ascii: "\n")] + text
    }

    /// `nil` when the bytes are none of these, or when the text is not the one that was kept.
    ///
    /// - Parameter sha256: gives the 32 bytes of SHA-256.
    public init?(_ bytes: [UInt8], sha256: ([UInt8]) -> [UInt8]) {
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")), let head = try? JSONValue(parsing: bytes[..<end]),
            case .set(let reference) = RuleSetWish(head),
            let since = head["since"]?.stringValue.flatMap({ WallInstant($0) })
        else { return nil }
        let text = Array(bytes[(end + 1)...])
        guard Hex.encode(sha256(text)) == reference.sha256 else { return nil }
        self.init(reference: reference, since: since, text: text)
    }
}
