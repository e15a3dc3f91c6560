public import Primitives

/// One GET of a document. Source: RFC 9110 section 9.3.1, RFC 9112 section 3.
public struct WebRequest: Sendable {
    /// Without port or brackets.
    public let host: String
    public let port: Int
    /// Path and query, beginning with `/`; printable ASCII without blanks.
    public let path: String
    /// What stands in the field Authorization; `nil` for none.
    public let authorization: Secret?
    /// A longer document is refused.
    public let bytesMax: Int

    public init(host: String, port: Int, path: String, authorization: Secret?, bytesMax: Int) {
        precondition(path.utf8.allSatisfy { (0x21...0x7E).contains($0) }, "a path goes into the request as it is")
        self.host = host
        self.port = port
        self.path = path
        self.authorization = authorization
        self.bytesMax = bytesMax
    }

    public var bytes: [UInt8] {
        let name = host.contains(":") ? "[\(host)]" : host
        let authority = port == 443 ? name : "\(name):\(port)"
        var bytes = Array(
            """
            GET \(path) HTTP/1.1\r
            Host: \(authority)\r
            Accept: */*\r
            Accept-Encoding: identity\r
            Connection: close\r\n
            """.utf8)
        if let authorization { bytes += Array("Authorization: ".utf8) + authorization.bytes + Array("\r\n".utf8) }
        return bytes + Array("\r\n".utf8)
    }

    /// An `https://` address taken apart; `nil` when it is none. A fragment is left out, a user is not allowed.
    public static func parts(of address: String) -> (host: String, port: Int, path: String)? {
        let scheme = "https://"
        guard address.lowercased().hasPrefix(scheme) else { return nil }
        let rest = address.dropFirst(scheme.count).prefix { $0 != "#" }
        let authority = rest.prefix { !"/?".contains($0) }
        var path = String(rest.dropFirst(authority.count))
        if !path.hasPrefix("/") { path = "/" + path }
        guard !authority.contains("@"), path.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
            let (host, port) = place(authority)
        else { return nil }
        return (host, port, path)
    }

    private static func place(_ authority: Substring) -> (host: String, port: Int)? {
        var host = authority
        var port = 443
        let afterBrackets = authority.lastIndex(of: "]") ?? authority.startIndex
        if let colon = authority[afterBrackets...].lastIndex(of: ":") {
            guard let number = Int(authority[authority.index(after: colon)...]), (1...65_535).contains(number) else {
                return nil
            }
            host = authority[..<colon]
            port = number
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        let isName = host.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || "-._:".utf8.contains(byte)
        }
        return isName && (1...253).contains(host.utf8.count) ? (String(host), port) : nil
    }
}
