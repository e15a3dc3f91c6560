/// The service desk could not start or reach its own files.
public struct DeskError: Error, Sendable, CustomStringConvertible {
    public enum Problem: Sendable, Equatable {
        /// The value of `errno`.
        case fileAccess(Int32)
        case schemaNewer(found: Int, known: Int)
        case notDurable(Int)
        case credentialsBroken
        /// A row that a page named is not there.
        case noSuchRow
        /// A command that a page wrote does not fit the table.
        case refused(String)
    }

    public let problem: Problem
    /// The operation in words.
    public let doing: String

    init(_ problem: Problem, doing: String) {
        self.problem = problem
        self.doing = doing
    }

    public var isRetryable: Bool {
        switch problem {
        case .fileAccess: true
        case .schemaNewer, .notDurable, .credentialsBroken, .noSuchRow, .refused: false
        }
    }

    public var description: String { "could not \(doing): \(sentence)" }

    private var sentence: String {
        switch problem {
        case .fileAccess(let code):
            "the file cannot be opened or written (errno \(code)); check its folder's owner, permissions and free space"
        case .schemaNewer(let found, let known):
            "the file has schema version \(found), but this program knows only up to version \(known); start the newer "
                + "program, or restore a backup that was made by this version"
        case .notDurable(let level):
            "SQLite runs with synchronous=\(level) although 2 (FULL) was set; do not use this SQLite library"
        case .credentialsBroken:
            "the file with the client's credentials is broken; remove it, and new ones are made at the next start"
        case .noSuchRow: "there is no such row"
        case .refused(let text): text
        }
    }
}
