import AsyncHTTPClient
import JSON
import NIOCore
import NIOHTTP1
import Primitives

/// The bearer token of the client-credentials flow, kept until shortly before its end. One request for it at a time.
///
/// Source: Microsoft identity platform, "OAuth 2.0 client credentials flow".
actor TokenSource {
    private let configuration: DataverseConfiguration
    private let http: HTTPClient
    private let now: @Sendable () -> MonotonicInstant
    private var current: (token: Secret, renewAt: MonotonicInstant)?
    private var pending: Task<Result<Secret, DataverseClientError>, Never>?

    init(_ configuration: DataverseConfiguration, http: HTTPClient, now: @escaping @Sendable () -> MonotonicInstant) {
        self.configuration = configuration
        self.http = http
        self.now = now
    }

    /// - Parameter refused: a token that the CRM just answered with 401; it is not given out again.
    func token(insteadOf refused: Secret? = nil) async throws(DataverseClientError) -> Secret {
        if let current, now() < current.renewAt, refused.map({ !$0.matches(current.token.bytes) }) ?? true {
            return current.token
        }
        let task = pending ?? Task { await self.request() }
        pending = task
        let result = await task.value
        pending = nil
        return try result.get()
    }

    private func request() async -> Result<Secret, DataverseClientError> {
        let fields = [
            ("grant_type", "client_credentials"), ("client_id", configuration.clientID),
            ("client_secret", String(decoding: configuration.clientSecret.bytes, as: UTF8.self)),
            ("scope", configuration.scope),
        ]
        var request = HTTPClientRequest(url: configuration.tokenURL)
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
        request.headers.add(name: "Accept", value: "application/json")
        let form = fields.map { $0.0 + "=" + PercentEncoding.encode($0.1) }.joined(separator: "&")
        request.body = .bytes(ByteBuffer(string: form))
        do {
            let response = try await http.execute(request, timeout: TimeAmount(configuration.requestTimeLimit))
            let body = try await response.body.collect(upTo: 64 << 10)
            return keep(try? JSONValue(parsing: body.readableBytesView), status: Int(response.status.code))
        } catch {
            return .failure(failure(.unreachable("\(error)")))
        }
    }

    private func keep(_ answer: JSONValue?, status: Int) -> Result<Secret, DataverseClientError> {
        guard status == 200 else {
            return .failure(
                failure(
                    .tokenRefused(
                        status: status, error: answer?["error"]?.stringValue ?? "",
                        description: String((answer?["error_description"]?.stringValue ?? "").prefix(500)))))
        }
        guard let text = answer?["access_token"]?.stringValue, !text.isEmpty, text.utf8.count <= 16 << 10,
            let seconds = answer?["expires_in"]?.int64Value, seconds > 0
        else { return .failure(failure(.unreadable("the token endpoint's answer has no access_token and expires_in"))) }
        let life = Duration.seconds(min(seconds, 86_400))
        let skew = min(configuration.tokenSkew, life / 2)
        let token = Secret(text.utf8)
        current = (token, now() + (life - skew))
        return .success(token)
    }

    private func failure(_ problem: DataverseClientError.Problem) -> DataverseClientError {
        DataverseClientError(problem, doing: "get a token", which: configuration.tokenURL)
    }
}

extension TimeAmount {
    init(_ duration: Duration) { self = .nanoseconds(duration.nanosecondsClamped) }
}
