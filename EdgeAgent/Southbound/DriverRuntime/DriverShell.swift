public import Logging
import Primitives
public import SouthboundAPI
import Synchronization

/// What every driver with a thread of its own has around its machine: a name, the clocks, a log that names it, the signal
/// that wakes the thread, and the thread's one start and one end.
public final class DriverShell: Sendable {
    private struct Running {
        var thread: OwnThread?
        var hasStopped = false
    }

    public let name: String
    public let clock: DriverClock
    /// Names the driver in every line.
    public let logger: Logger
    public let wake: WakeSignal
    private let kind: String
    private let running = Mutex(Running())

    /// Does no I/O.
    ///
    /// - Parameters:
    ///   - kind: in an operator's words: "Modbus driver".
    ///   - problem: the first thing that is wrong with its configuration, if any.
    /// - Throws: `.valueNotAllowed` with the problem; `.systemRefused` without a descriptor.
    public init(
        _ kind: String, name: String, problem: String?, clock: DriverClock, logger: Logger
    ) throws(DriverError) {
        let doing = "set up the \(kind)"
        if let problem { throw DriverError(.valueNotAllowed, doing: doing, which: name, detail: problem) }
        guard let wake = WakeSignal() else {
            throw DriverError(.systemRefused, doing: doing, which: name, detail: "no file descriptor is left")
        }
        self.wake = wake
        self.kind = kind
        self.name = name
        self.clock = clock
        var logger = logger
        logger[metadataKey: "driver"] = "\(name)"
        self.logger = logger
    }

    /// Starts the driver's thread.
    ///
    /// - Parameter threadName: shown by `top -H`; cut to 15 bytes.
    /// - Throws: `.alreadyStarted`, `.stopped`, or `.systemRefused` when the system gives no thread.
    public func start(threadName: String, _ body: @escaping @Sendable () -> Void) throws(DriverError) {
        let problem: DriverError.Problem? = running.withLock { running in
            if running.hasStopped { return .stopped }
            if running.thread != nil { return .alreadyStarted }
            running.thread = OwnThread.run(name: threadName, body)
            return running.thread == nil ? .systemRefused : nil
        }
        if let problem { throw DriverError(problem, doing: "start the \(kind)", which: name) }
    }

    /// Waits until the thread has ended, which the driver has told it to; no other starts from now on. Any number of
    /// times.
    public func stop() {
        let thread = running.withLock { running in
            defer { running.thread = nil }
            running.hasStopped = true
            return running.thread
        }
        thread?.join()
    }

    /// Answers a command that comes when its time limit has passed already.
    /// - Returns: whether it may still be carried out.
    public func isInTime(_ command: DeviceCommand, reply: (CommandOutcome) -> Void) -> Bool {
        if clock.monotonic() < command.deadline { return true }
        reply(.expired(reason: "the time limit had passed when the command came to the driver"))
        return false
    }
}
