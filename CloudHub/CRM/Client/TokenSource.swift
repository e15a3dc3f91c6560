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
        // Somebody may have begun another one since.
        if pending == task { pending = nil }
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
            let answer = try? JSONValue(parsing: body.readableBytesView)
            let status = Int(response.status.code)
            guard status == 200 else {
                let wait = DataverseClient.wait(response.headers.first(name: "Retry-After"))
                return .failure(failure(Self.refusal(answer, status: status, retryAfter: wait)))
            }
            return keep(answer)
        } catch {
            return .failure(failure(.unreachable("\(error)")))
        }
    }

    private static func refusal(
        _ answer: JSONValue?, status: Int, retryAfter: Duration?
    ) -> DataverseClientError.Problem {
        let error = String((answer?["error"]?.stringValue ?? "").prefix(100))
        // One line: Entra breaks it before its trace id.
        let description = (answer?["error_description"]?.stringValue ?? "").prefix(500)
            .split { $0.isNewline }.joined(separator: " ")
        switch status {
        case 429: return .throttled(ODataError(code: error, message: description), retryAfter: retryAfter)
        case 500...:
            return .server(status: status, ODataError(code: error, message: description), retryAfter: retryAfter)
        default: return .tokenRefused(status: status, error: error, description: description)
        }
    }

    private func keep(_ answer: JSONValue?) -> Result<Secret, DataverseClientError> {
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
