/// Why a driver could not do what it was asked.
public struct DriverError: Error, Equatable, CustomStringConvertible {
    public enum Problem: Sendable, Equatable {
        /// `start` was called before.
        case alreadyStarted
        /// No thread, no memory, no library handle.
        case systemRefused
        /// The driver has stopped.
        case stopped
        /// The actuation is of a kind that this driver does not do.
        case notForThisDriver
        /// No such device, register or topic in the configuration.
        case unknownTarget
        /// The value does not fit the register, or the register is not writable.
        case valueNotAllowed
        /// Too many actions wait already.
        case queueFull
    }

    public let problem: Problem
    /// The operation in words: "write register relay".
    public let doing: String
    /// Device, topic, path or address.
    public let which: String
    /// What to know or do about it; empty when the problem says it all.
    public let detail: String

    public init(_ problem: Problem, doing: String, which: String, detail: String = "") {
        self.problem = problem
        self.doing = doing
        self.which = which
        self.detail = detail
    }

    public var isRetryable: Bool {
        switch problem {
        case .queueFull: true
        case .alreadyStarted, .systemRefused, .stopped, .notForThisDriver, .unknownTarget, .valueNotAllowed: false
        }
    }

    public var description: String {
        "cannot \(doing) (\(which)): \(words)" + (detail.isEmpty ? "" : "; \(detail)")
    }

    private var words: String {
        switch problem {
        case .alreadyStarted: "the driver was started before"
        case .systemRefused: "the system refused what the driver needs"
        case .stopped: "the driver has stopped"
        case .notForThisDriver: "this driver does not do that"
        case .unknownTarget: "nothing of that name is configured"
        case .valueNotAllowed: "the value is not allowed there"
        case .queueFull: "too many actions are waiting already"
        }
    }
}
