public import Primitives

/// Which Dataverse environment to write to, and as whom.
public struct DataverseConfiguration: Sendable {
    /// `https://contoso.crm4.dynamics.com`: scheme, host and port, no path. Plain `http` only on loopback.
    public var baseURL: String
    /// `https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token`.
    public var tokenURL: String
    public var clientID: String
    public var clientSecret: Secret
    /// What the token is asked for. Default: the base URL followed by `/.default`.
    public var scope: String
    /// One request, from connect to the last byte. Range 1 s … 120 s.
    public var requestTimeLimit: Duration
    /// A token is renewed this long before it ends, but never before half of its life.
    public var tokenSkew: Duration

    public init(
        baseURL: String, tokenURL: String, clientID: String, clientSecret: Secret, scope: String? = nil,
        requestTimeLimit: Duration = .seconds(20), tokenSkew: Duration = .seconds(300)
    ) {
        self.baseURL = baseURL
        self.tokenURL = tokenURL
        self.clientID = clientID
        self.clientSecret = clientSecret
        self.scope = scope ?? baseURL + "/.default"
        self.requestTimeLimit = requestTimeLimit
        self.tokenSkew = tokenSkew
    }

    /// What is wrong with the addresses, in words; empty when nothing is.
    public var problems: [String] {
        [("the CRM's base URL", baseURL), ("the CRM's token URL", tokenURL)].compactMap { name, url in
            let host = Self.host(of: url)
            if url.hasPrefix("https://"), !host.isEmpty { return nil }
            if url.hasPrefix("http://"), ["127.0.0.1", "[::1]", "localhost"].contains(host) { return nil }
            return "\(name) must begin with https:// (plain http:// is taken only for this machine): \(url)"
        } + (baseURL.split(separator: "/").count > 2 ? ["the CRM's base URL must have no path: \(baseURL)"] : [])
    }

    private static func host(of url: String) -> String {
        guard let start = url.firstRange(of: "://")?.upperBound else { return "" }
        let authority = url[start...].prefix { $0 != "/" }
        guard !authority.hasPrefix("["), let colon = authority.lastIndex(of: ":") else {
            return String(authority.prefix { $0 != "]" }) + (authority.hasPrefix("[") ? "]" : "")
        }
        return String(authority[..<colon])
    }
}
