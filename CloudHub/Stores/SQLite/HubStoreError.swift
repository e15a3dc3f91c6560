import GRDB

/// A store of the hub failed: what, while doing what, in which file.
///
/// SQL statements and their arguments never appear in it.
public struct HubStoreError: Error, Sendable, CustomStringConvertible {
    public enum Problem: Sendable, Equatable {
        /// No room left on the file system of the database.
        case diskFull
        /// Another process or connection held the database for longer than the time limit.
        case busy
        /// More writes wait than the writer may keep.
        case overloaded(writesMax: Int)
        /// The file was written by a newer version of this program.
        case schemaNewer(found: Int, known: Int)
        /// The file is damaged or no database at all.
        case damaged
        /// The database was closed before the operation could run.
        case closed
        /// The file cannot be opened, created or written.
        case fileAccess
        /// The disk did not give or keep the bytes (read, write or sync error).
        case inputOutput(code: Int32)
        /// SQLite promised durability it does not give.
        case notDurable(synchronous: Int)
        /// Anything else; the extended result code of SQLite.
        case sqlite(code: Int32)
    }

    public let problem: Problem
    /// The operation in words, for example "commit a group of 3 writes".
    public let doing: String
    /// The file name of the database, without its folder.
    public let which: String

    public init(_ problem: Problem, doing: String, which: String) {
        self.problem = problem
        self.doing = doing
        self.which = which
    }

    /// Whether the same call can succeed later without anybody changing the program or the file.
    public var isRetryable: Bool {
        switch problem {
        case .diskFull, .busy, .overloaded, .inputOutput: true
        case .schemaNewer, .damaged, .closed, .fileAccess, .notDurable, .sqlite: false
        }
    }

    /// For the operator: what is wrong and what to do.
    public var description: String {
        "could not \(doing) in \(which): \(sentence)"
    }

    private var sentence: String {
        switch problem {
        case .diskFull: "the disk is full; free some space, the hub resumes by itself"
        case .busy: "the database is locked by another process; stop the other process"
        case .overloaded(let most): "\(most) writes are already waiting; the disk is too slow for the load"
        case .schemaNewer(let found, let known):
            "the file has schema version \(found), but this program knows only up to version \(known); "
                + "start the newer program, or restore a backup that was made by this version"
        case .damaged: "the file is damaged or is not a database; restore a backup"
        case .closed: "the database is closed because the hub is shutting down"
        case .fileAccess: "the file cannot be opened or written; check its folder's owner and permissions"
        case .inputOutput(let code): "the disk failed to read, write or sync (SQLite code \(code)); check the disk"
        case .notDurable(let synchronous):
            "SQLite runs with synchronous=\(synchronous) although 2 (FULL) was set; do not use this SQLite library"
        case .sqlite(let code): "SQLite answered code \(code)"
        }
    }

    /// Turns what GRDB threw into this room's error; an error that is no database error is kept as it is.
    public static func wrapping(_ error: any Error, doing: String, which: String) -> any Error {
        guard let database = error as? DatabaseError else { return error }
        return HubStoreError(problem(of: database), doing: doing, which: which)
    }

    private static func problem(of error: DatabaseError) -> Problem {
        switch error.resultCode {
        case .SQLITE_FULL: .diskFull
        case .SQLITE_BUSY, .SQLITE_LOCKED: .busy
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: .damaged
        case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM: .fileAccess
        case .SQLITE_IOERR: .inputOutput(code: error.extendedResultCode.rawValue)
        default: .sqlite(code: error.extendedResultCode.rawValue)
        }
    }
}
