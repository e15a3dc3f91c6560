/// Why something cannot be done with an authority.
public struct AuthorityError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What is wrong and what to do about it.
    public let description: String
    /// Whether the same call may succeed later.
    public let isRetryable: Bool

    init(_ sentence: String, isRetryable: Bool = false) {
        description = sentence
        self.isRetryable = isRetryable
    }
}
