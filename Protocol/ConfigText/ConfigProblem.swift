/// One thing that is wrong with a configuration.
public struct ConfigProblem: Hashable, Sendable, CustomStringConvertible {
    /// Where: `uplink.keep_alive`, `rule[2].metric` (lists count from 1). Empty for the text as a whole.
    public let keyPath: String
    /// The line of the value; `nil` when the key is missing.
    public let line: Int?
    /// What was written, as an error may show it; `nil` when the key is missing or the value is secret.
    public let given: String?
    /// What is wrong, or what was expected instead.
    public let expected: String

    public init(keyPath: String, line: Int?, given: String?, expected: String) {
        self.keyPath = keyPath
        self.line = line
        self.given = given
        self.expected = expected
    }

    public var description: String {
        let place = line.map { "line \($0): " } ?? ""
        let assignment = given.map { "\(keyPath) = \($0)" } ?? keyPath
        return place + (assignment.isEmpty ? expected : "\(assignment): \(expected)")
    }
}

/// Everything that is wrong with a configuration, in the order of its lines. Not retryable: mend the file.
public struct ConfigError: Error, Hashable, Sendable, CustomStringConvertible {
    public let problems: [ConfigProblem]
    public var isRetryable: Bool { false }

    public init(problems: [ConfigProblem]) { self.problems = problems }

    /// One line a problem.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}
