import AsyncHTTPClient
public import JSON
import NIOCore
import NIOHTTP1
import Primitives
import ServiceDesk

/// A plain HTTP caller of a live desk, for tests that look at raw answers.
public struct DeskCaller: Sendable {
    public struct Answer: Sendable {
        public let status: Int
        /// Lower-case names; the values of one that came more than once are joined by `, `.
        public let headers: [String: String]
        public let body: [UInt8]

        public var json: JSONValue? { try? JSONValue(parsing: body) }
        public var errorCode: String? { json?["error"]?["code"]?.stringValue }
        public var errorMessage: String? { json?["error"]?["message"]?.stringValue }
    }

    public let origin: String
    public var token: String?

    /// Signs in.
    public init(_ live: LiveDesk) async throws {
        origin = live.origin
        let answer = try await Self.token(
            live, secret: String(decoding: live.desk.credentials.clientSecret.bytes, as: UTF8.self))
        token = answer.json?["access_token"]?.stringValue
    }

    public static func token(
        _ live: LiveDesk, secret: String, scope: String? = nil, client: String? = nil, tenant: String? = nil,
        grant: String = "client_credentials"
    ) async throws -> Answer {
        let fields = [
            ("grant_type", grant), ("client_id", client ?? live.desk.credentials.clientID), ("client_secret", secret),
            ("scope", scope ?? live.origin + "/.default"),
        ]
        let body = fields.map { $0.0 + "=" + PercentEncoding.encode($0.1) }.joined(separator: "&")
        return try await send(
            "POST", live.origin + "/\(tenant ?? live.desk.credentials.tenant)/oauth2/v2.0/token",
            headers: [("Content-Type", "application/x-www-form-urlencoded")], body: Array(body.utf8))
    }

    /// - Parameter path: after `/api/data/v9.2/`, percent-encoded.
    public func call(
        _ method: String, _ path: String, _ body: JSONValue? = nil, headers: [(String, String)] = []
    ) async throws -> Answer {
        var all = headers
        if let token { all.append(("Authorization", "Bearer " + token)) }
        if body != nil { all.append(("Content-Type", "application/json")) }
        return try await Self.send(
            method, origin + "/api/data/v9.2/" + path, headers: all, body: body.map { $0.serialized() })
    }

    public static func send(
        _ method: String, _ url: String, headers: [(String, String)], body: [UInt8]?
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: url)
        request.method = .RAW(value: method)
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(20))
        let bytes = try await response.body.collect(upTo: 8 << 20)
        var found: [String: String] = [:]
        for header in response.headers {
            let name = header.name.lowercased()
            found[name] = found[name].map { $0 + ", " + header.value } ?? header.value
        }
        return Answer(status: Int(response.status.code), headers: found, body: Array(bytes.readableBytesView))
    }
}
