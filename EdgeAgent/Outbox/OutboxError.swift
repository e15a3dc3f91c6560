/// Why the outbox could not do what it was asked. Nothing of the operation was kept.
public struct OutboxError: Error, Equatable, CustomStringConvertible {
    public enum Problem: Sendable, Equatable {
        /// The disk is full, or the file reached its own limit.
        case full
        /// Another reader or writer held the file for too long.
        case busy
        /// The disk refused a read, a write or a sync.
        case diskFailed
        /// The file system is read-only, or became so after a failure.
        case readOnly
        /// The file is not at its place any more: its disk was taken out, or it was moved or deleted.
        case away
        /// Another file lies at its place: another outbox, or an older copy of this one.
        case replaced
        /// Another agent runs on this outbox; `pid` is zero when it could not be read.
        case heldByAnother(pid: Int32)
        /// The file was written by a newer version of this program.
        case newerSchema(found: Int, known: Int)
        /// The file is not an outbox, or its pages are damaged.
        case damaged
        /// The file does not exist, or may not be opened.
        case cannotOpen
        /// SQLite did not take the settings that make a commit durable.
        case notDurable
        /// The records do not continue the stored sequence, or one of them is over the size limit: a bug of ours.
        case wrongRecords
    }

    public let problem: Problem
    /// The operation in words: "append 40 records".
    public let doing: String
    /// The path of the file.
    public let which: String
    /// What the library or the system said; empty when the problem says it all.
    public let detail: String

    public init(_ problem: Problem, doing: String, which: String, detail: String = "") {
        self.problem = problem
        self.doing = doing
        self.which = which
        self.detail = detail
    }

    /// Whether the same call may succeed later with nothing changed by a person.
    public var isRetryable: Bool {
        switch problem {
        case .full, .busy, .diskFailed, .readOnly, .away, .replaced: true
        case .heldByAnother, .newerSchema, .damaged, .cannotOpen, .notDurable, .wrongRecords: false
        }
    }

    public var description: String {
        "cannot \(doing) in outbox \(which): \(words)" + (detail.isEmpty ? "" : " (\(detail))")
    }

    private var words: String {
        switch problem {
        case .full:
            "the disk is full; free some space, and the agent goes on by itself"
        case .busy:
            "another program holds the file; close whatever has it open"
        case .diskFailed:
            "the disk reported a failure; look for it in the kernel log and check the card or disk; when it works or is mounted "
                + "again, the agent goes on by itself"
        case .readOnly:
            "the disk is read-only; look for its failure in the kernel log, or mount it writable, and the agent goes on by "
                + "itself"
        case .away:
            "its file is not there: the disk was taken out, or the file was moved or deleted; put it back, and the agent "
                + "goes on by itself; if it is gone for good, restart the agent, and it begins a new outbox"
        case .replaced:
            "another file lies in its place, or an older copy; put the right one back, and the agent goes on by itself; "
                + "never put an old copy there: its numbers would be given twice, and the hub would drop what has them"
        case .heldByAnother(let pid):
            pid > 0
                ? "another agent, process \(pid), is running on it; stop that one or give this one a file of its own"
                : "another agent is running on it; stop that one or give this one a file of its own"
        case .newerSchema(let found, let known):
            "it has schema version \(found), this program knows up to \(known); install the newer edge-agent again"
        case .damaged:
            "the file is not an outbox or is damaged; move it away, and the agent starts a new one with a new epoch"
        case .cannotOpen:
            "the file cannot be opened; check that its folder exists and that this user may write there"
        case .notDurable:
            "SQLite refused the settings that make commits durable; this library or file system cannot be used"
        case .wrongRecords:
            "the records do not fit the stored sequence; this is a fault of the program"
        }
    }
}
