import JSON
import Primitives
import Synchronization

/// The token endpoint: client credentials in, an opaque bearer token out.
///
/// Source: Microsoft identity platform, "OAuth 2.0 client credentials flow"; RFC 6749 sections 4.4 and 5.2.
final class TokenIssuer: Sendable {
    /// Tokens that may be valid at once; the one that ends first goes when another is asked for.
    static let tokensMax = 1024

    struct Refusal: Error, Equatable {
        let status: Int
        let error: String
        let number: Int
        let sentence: String
    }

    private struct Grant {
        let audience: String
        let expiresAt: WallInstant
    }

    private let credentials: DeskCredentials
    private let lifetime: Duration
    private let grants = Mutex<[String: Grant]>([:])

    init(credentials: DeskCredentials, lifetime: Duration) {
        self.credentials = credentials
        self.lifetime = lifetime
    }

    /// - Parameters:
    ///   - form: the decoded fields of the body.
    ///   - resources: the origins that this desk answers under.
    func token(
        tenant: String, form: [String: String], resources: Set<String>, now: WallInstant
    ) -> Result<JSONValue, Refusal> {
        guard tenant == credentials.tenant else {
            return .failure(
                Refusal(status: 400, error: "invalid_request", number: 90002, sentence: "Tenant '\(tenant)' not found.")
            )
        }
        for name in ["grant_type", "client_id", "scope"] where form[name] == nil {
            return .failure(
                Refusal(
                    status: 400, error: "invalid_request", number: 900_144,
                    sentence: "The request body must contain the following parameter: '\(name)'."))
        }
        guard form["grant_type"] == "client_credentials" else {
            return .failure(
                Refusal(
                    status: 400, error: "unsupported_grant_type", number: 70003,
                    sentence: "The app requested an unsupported grant type."))
        }
        guard let client = form["client_id"], client == credentials.clientID else {
            return .failure(
                Refusal(
                    status: 400, error: "unauthorized_client", number: 700016,
                    sentence: "Application with identifier '\((form["client_id"] ?? "").prefix(64))' was not found in "
                        + "the directory '\(credentials.tenant)'."))
        }
        guard form["client_secret"] != nil else {
            return .failure(
                Refusal(
                    status: 401, error: "invalid_client", number: 7_000_218,
                    sentence: "The request body must contain the following parameter: 'client_assertion' or "
                        + "'client_secret'."))
        }
        guard let secret = form["client_secret"], credentials.clientSecret.matches(Array(secret.utf8)) else {
            return .failure(
                Refusal(
                    status: 401, error: "invalid_client", number: 7_000_215,
                    sentence: "Invalid client secret provided. Ensure the secret being sent in the request is the "
                        + "client secret value, not the client secret ID, for a secret added to app "
                        + "'\(credentials.clientID)'."))
        }
        guard let scope = form["scope"], let resource = scope.dropping(suffix: "/.default") else {
            return .failure(
                Refusal(
                    status: 400, error: "invalid_scope", number: 1_002_012,
                    sentence: "The provided value for scope is not valid. Client credential flows must have a scope "
                        + "value with /.default suffixed to the resource identifier (application ID URI)."))
        }
        guard resources.contains(resource) else {
            return .failure(
                Refusal(
                    status: 400, error: "invalid_resource", number: 500_011,
                    sentence: "The resource principal named \(resource.prefix(200)) was not found in the tenant."))
        }
        return .success(grant(audience: resource, now: now))
    }

    /// Whether the bearer token was given out for this desk and has not ended.
    func isValid(_ token: String, for resources: Set<String>, now: WallInstant) -> Bool {
        grants.withLock { grants in
            guard let grant = grants[token], resources.contains(grant.audience) else { return false }
            guard now < grant.expiresAt else {
                grants[token] = nil
                return false
            }
            return true
        }
    }

    func forgetTokens() { grants.withLock { $0 = [:] } }

    private func grant(audience: String, now: WallInstant) -> JSONValue {
        var random = SystemRandomNumberGenerator()
        let token = DeskCredentials.randomText(bytes: 48, using: &random)
        grants.withLock { grants in
            if grants.count >= Self.tokensMax {
                grants = grants.filter { $0.value.expiresAt > now }
            }
            if grants.count >= Self.tokensMax, let first = grants.min(by: { $0.value.expiresAt < $1.value.expiresAt }) {
                grants[first.key] = nil
            }
            grants[token] = Grant(audience: audience, expiresAt: now + lifetime)
        }
        let seconds = JSONNumber(lifetime.millisecondsClamped / 1000)
        return [
            "token_type": "Bearer", "expires_in": .number(seconds), "ext_expires_in": .number(seconds),
            "access_token": .string(token),
        ]
    }
}

extension TokenIssuer.Refusal {
    /// The body, with a trace id of its own, as Entra sends it.
    func body(now: WallInstant) -> JSONValue {
        var random = SystemRandomNumberGenerator()
        let trace = UniqueID.random(using: &random).description
        let correlation = UniqueID.random(using: &random).description
        let time = WallInstant(milliseconds: now.unixSeconds * 1000).description.split(separator: "T")
            .joined(separator: " ")
        return [
            "error": .string(error),
            "error_description": .string(
                "AADSTS\(number): \(sentence)\r\nTrace ID: \(trace)\r\nCorrelation ID: \(correlation)\r\n"
                    + "Timestamp: \(time)"),
            "error_codes": .array([.number(JSONNumber(Int64(number)))]), "timestamp": .string(time),
            "trace_id": .string(trace), "correlation_id": .string(correlation),
        ]
    }
}
