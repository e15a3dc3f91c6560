/// Why a text is no expression. Not retryable: mend the text.
public struct ExpressionError: Error, Hashable, Sendable, CustomStringConvertible {
    public struct Problem: Hashable, Sendable, CustomStringConvertible {
        /// In characters; 1 is the first.
        public let column: Int
        /// What is wrong and what may stand there.
        public let problem: String

        public init(column: Int, problem: String) {
            self.column = column
            self.problem = problem
        }

        public var description: String { "column \(column): \(problem)" }
    }

    /// At least one, in the order of their columns.
    public let problems: [Problem]
    public var isRetryable: Bool { false }

    public init(problems: [Problem]) { self.problems = problems }

    public var description: String { problems.map(\.description).joined(separator: "; ") }
}
