/// Why the hub's certificates cannot be used or made.
public struct CertificateError: Error, Sendable, CustomStringConvertible {
    /// What is wrong and what to do about it.
    public let problem: String
    /// In words: `read tls/ca.pem`.
    public let doing: String
    public let underlying: (any Error)?
    /// Files may be mended, disks freed: the same call may succeed later.
    public var isRetryable: Bool { true }

    init(_ problem: String, doing: String, underlying: (any Error)? = nil) {
        self.problem = problem
        self.doing = doing
        self.underlying = underlying
    }

    public var description: String {
        "cannot \(doing): \(problem)" + (underlying.map { " (\($0))" } ?? "")
    }
}
