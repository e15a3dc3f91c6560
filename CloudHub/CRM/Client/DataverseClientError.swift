import Primitives

/// A call to Dataverse failed: what, while doing what, on which row.
public struct DataverseClientError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Problem: Sendable, Equatable {
        /// No connection, or no answer in time.
        case unreachable(String)
        /// The token endpoint refused the client: `error` and its description.
        case tokenRefused(status: Int, error: String, description: String)
        /// 401 with a fresh token.
        case unauthorized
        /// 403: the application user lacks a privilege.
        case forbidden(ODataError)
        /// 404: the row is not there, or one that it shall be bound to.
        case notFound(ODataError)
        /// 404: the table is not there, or this is no Dataverse at all.
        case noSuchTable(ODataError)
        /// 412: the row is there already, or has another version.
        case preconditionFailed(ODataError)
        /// 429, with how long to stay away.
        case throttled(ODataError, retryAfter: Duration?)
        /// 5xx, with how long to stay away when the server says so.
        case server(status: Int, ODataError, retryAfter: Duration?)
        /// Any other 4xx: this request will never be taken.
        case refused(status: Int, ODataError)
        /// An answer that is not what the protocol promises.
        case unreadable(String)
    }

    public let problem: Problem
    /// The operation in words: "create an alert".
    public let doing: String
    /// The entity set and id.
    public let which: String

    public init(_ problem: Problem, doing: String, which: String) {
        self.problem = problem
        self.doing = doing
        self.which = which
    }

    /// Whether the same request may succeed later without anybody changing anything.
    public var isRetryable: Bool {
        switch problem {
        case .unreachable, .throttled, .server, .unreadable: true
        case .tokenRefused, .unauthorized, .forbidden, .notFound, .noSuchTable, .preconditionFailed, .refused: false
        }
    }

    public var description: String { "could not \(doing) (\(which)): \(sentence)" }

    private var sentence: String {
        switch problem {
        case .unreachable(let cause):
            "the CRM cannot be reached (\(cause)); check its url and the network; it is tried again, nothing is lost"
        case .tokenRefused(let status, "", _):
            "the token endpoint answered \(status) without saying why; check the token url"
        case .tokenRefused(let status, let error, let description):
            "the token endpoint refused the hub's client credentials with \(status) \(error): \(description); check the "
                + "client id, the secret and its end date"
        case .unauthorized:
            "the CRM refused a fresh token; check that the application user exists in this environment and is enabled"
        case .forbidden(let error):
            "the application user lacks a privilege: \(error); give it a security role for the IoT tables"
        case .notFound(let error): "there is no such row: \(error)"
        case .noSuchTable(let error):
            "the CRM has no such table: \(error); check its url, and that Connected Field Service is installed there"
        case .preconditionFailed(let error): "the row changed or exists already: \(error)"
        case .throttled(let error, let wait):
            "the CRM limits requests: \(error)"
                + (wait.map { "; trying again in \($0.millisecondsClamped / 1000) s" } ?? "")
        case .server(let status, let error, _): "the CRM failed with status \(status): \(error); it is tried again"
        case .refused(let status, let error): "the CRM refused the row with status \(status): \(error)"
        case .unreadable(let cause):
            "the CRM's answer cannot be read: \(cause); check that its url leads to Dataverse; it is tried again"
        }
    }
}

/// What stands in the body of a refusal.
public struct ODataError: Sendable, Equatable, CustomStringConvertible {
    /// Hexadecimal platform code, or empty.
    public let code: String
    public let message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { code.isEmpty ? message : "\(code) \(message)" }
}
