public import Primitives

/// A shared access signature: `SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]`.
///
/// The signature covers the resource text exactly as it was sent, whatever its encoding, a newline, and the expiry text.
public struct SASToken: Hashable, Sendable {
    /// The `sr` text as sent: percent-encoded by most clients, raw by some.
    public let resource: String
    public let signature: [UInt8]
    /// Seconds since 1970.
    public let expiry: Int64
    /// The shared access policy whose key signed; `nil` when a device's or module's own key did.
    public let policy: String?
    /// The `se` text as sent, which is what was signed.
    let expiryText: String

    private static let scheme = "SharedAccessSignature "
    /// Longest token that is looked at. Real ones are below 400 bytes.
    public static let bytesMax = 2048

    public init(parsing text: some StringProtocol) throws(SASError) {
        guard text.utf8.count <= Self.bytesMax else { throw SASError(.tooLong) }
        guard text.prefix(Self.scheme.count).lowercased() == Self.scheme.lowercased() else {
            throw SASError(.notASignature)
        }
        var fields: [Substring: Substring] = [:]
        for piece in text.dropFirst(Self.scheme.count).cut(at: "&", omittingEmpty: true) {
            let halves = piece.cut(at: "=", maxSplits: 1)
            guard halves.count == 2 else { throw SASError(.badField(String(halves[0]))) }
            guard fields.updateValue(halves[1], forKey: halves[0]) == nil else {
                throw SASError(.repeatedField(String(halves[0])))
            }
        }
        guard let resource = fields["sr"], !resource.isEmpty else { throw SASError(.missingField("sr")) }
        guard let signature = fields["sig"] else { throw SASError(.missingField("sig")) }
        guard let expiry = fields["se"] else { throw SASError(.missingField("se")) }
        guard let decoded = PercentEncoding.decode(signature), let bytes = Base64.decode(decoded), !bytes.isEmpty else {
            throw SASError(.badField("sig"))
        }
        guard expiry.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let seconds = Int64(expiry)
        else { throw SASError(.badField("se")) }
        self.resource = String(resource)
        self.signature = bytes
        self.expiry = seconds
        expiryText = String(expiry)
        guard let name = fields["skn"] else {
            policy = nil
            return
        }
        guard let decodedName = PercentEncoding.decode(name) else { throw SASError(.badField("skn")) }
        policy = decodedName.isEmpty ? nil : decodedName
    }

    /// Whether this key made the signature. The key is the decoded base64 for everything but Event Hubs readers, who
    /// sign with the key's text.
    public func isSigned(
        by key: [UInt8], hmacSHA256: (_ key: [UInt8], _ message: [UInt8]) -> [UInt8]
    ) -> Bool {
        Secret(hmacSHA256(key, Self.message(resource, expiryText))).matches(signature)
    }

    /// A whole token. `resource` is the `sr` text as it shall stand there, already encoded (`SASToken.resource`).
    public static func build(
        resource: String, key: [UInt8], expiry: Int64, policy: String? = nil,
        hmacSHA256: (_ key: [UInt8], _ message: [UInt8]) -> [UInt8]
    ) -> String {
        let signature = Base64.encode(hmacSHA256(key, message(resource, String(expiry))))
        let token = "\(scheme)sr=\(resource)&sig=\(PercentEncoding.encode(signature))&se=\(expiry)"
        return policy.map { token + "&skn=" + PercentEncoding.encode($0) } ?? token
    }

    /// The `sr` text that device SDKs send: every part encoded, the slashes too.
    public static func resource(host: String, path: [String] = []) -> String {
        PercentEncoding.encode(([host] + path).joined(separator: "/"))
    }

    /// Whether the token's resource is this path or a whole-segment prefix of it: `H/devices/a` covers
    /// `H/devices/a/modules/m` but not `H/devices/ab`. The host's case and port do not matter, nor does a scheme.
    public func covers(host: String, path: [String]) -> Bool {
        if let decoded = PercentEncoding.decode(resource), Self.covers(decoded, host, path) { return true }
        // Sent raw with a percent sign in an id: the text itself is the resource.
        return Self.covers(resource, host, path)
    }

    /// The end of the token's life, cut to what an instant holds.
    public var expiresAt: WallInstant {
        let (milliseconds, overflow) = expiry.multipliedReportingOverflow(by: 1000)
        return WallInstant(milliseconds: overflow ? .max : milliseconds)
    }

    public func isExpired(at now: WallInstant) -> Bool { expiresAt <= now }

    private static func message(_ resource: String, _ expiry: String) -> [UInt8] {
        Array("\(resource)\n\(expiry)".utf8)
    }

    private static func covers(_ resource: String, _ host: String, _ path: [String]) -> Bool {
        var segments = (resource.behind("://") ?? Substring(resource)).cut(at: "/")
        while segments.last?.isEmpty == true { segments.removeLast() }
        guard let first = segments.first, HostName.same(first, host) else { return false }
        return path.starts(with: segments.dropFirst().map(String.init))
    }
}

/// Why a text is not a usable shared access signature. Says nothing of its contents. Not retryable.
public struct SASError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        case notASignature
        case tooLong
        case missingField(String)
        case repeatedField(String)
        case badField(String)
    }

    public let problem: Problem
    public var isRetryable: Bool { false }

    init(_ problem: Problem) { self.problem = problem }

    public var description: String {
        let what =
            switch problem {
            case .notASignature: "the password does not begin with 'SharedAccessSignature '"
            case .tooLong: "it is longer than \(SASToken.bytesMax) bytes"
            case .missingField(let name): "the field '\(name.prefix(16))' is missing"
            case .repeatedField(let name): "the field '\(name.prefix(16))' comes twice"
            case .badField(let name): "the field '\(name.prefix(16))' cannot be read"
            }
        return "the shared access signature cannot be used: \(what); expected "
            + "'SharedAccessSignature sr={resource}&sig={base64}&se={unix seconds}[&skn={policy}]'"
    }
}
