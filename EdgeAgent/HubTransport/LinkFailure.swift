public import Connectivity
internal import COpenSSL
internal import Glibc

/// A link problem on its way through `throws`.
public struct LinkFailure: Error {
    public let problem: LinkProblem
    public init(_ problem: LinkProblem) { self.problem = problem }
}

/// OpenSSL's own words.
enum OpenSSLError {
    /// The reason of the oldest error of this thread, without numbers; empties the queue. `nil` when OpenSSL has no words
    /// for it, as for what a provider says while it fails to load.
    static func reason() -> String? {
        let code = ERR_get_error()
        ERR_clear_error()
        return code == 0 ? nil : ERR_reason_error_string(code).map { String(cString: $0) }
    }

    static func text() -> String { reason() ?? "no reason given" }
}

/// The system's own words.
func systemText(_ error: Int32) -> String { String(cString: strerror(error)) }
