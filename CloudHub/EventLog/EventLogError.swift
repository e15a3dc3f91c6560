/// Why the log could not do something.
public struct EventLogError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        /// The file system or the size limit of the log is full.
        case full
        /// A read, write or sync failed.
        case storage
        /// The bytes on disk are not a log.
        case damaged
        /// The log was written by a newer version of the hub.
        case newerSchema
        /// The log was closed while this waited; nothing of it is stored.
        case closed
    }

    public let problem: Problem
    /// The operation, in words.
    public let doing: String
    /// What the store said.
    public let detail: String

    public init(_ problem: Problem, doing: String, detail: String) {
        self.problem = problem
        self.doing = doing
        self.detail = detail
    }

    public var isRetryable: Bool {
        switch problem {
        case .full, .storage: true
        case .damaged, .newerSchema, .closed: false
        }
    }

    public var description: String {
        let advice =
            switch problem {
            case .full: "free space on the disk that holds the hub's data, or lower the log's retention"
            case .storage: "check the disk and the kernel's log"
            case .damaged: "stop the hub and restore its data from a backup"
            case .newerSchema: "start the version of the hub that wrote it, or a newer one"
            case .closed: "it is sent again when the hub is back"
            }
        return "cannot \(doing): \(detail); \(advice)"
    }
}
