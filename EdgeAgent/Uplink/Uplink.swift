public import Connectivity
internal import DriverRuntime
public import JSON
public import Logging
public import Outbox
internal import Primitives
internal import Synchronization
public import Timekeeping

/// The way to the hub: sends what the outbox holds and brings commands back, on one thread of its own.
public final class Uplink: Sendable {
    private let settings: UplinkSettings
    private let store: any OutboxStore
    private let handler: any CommandHandler
    private let report: @Sendable (_ desiredVersion: Int64?) -> [UInt8]
    private let desired: @Sendable (JSONValue) -> Void
    private let clock: GatewayClock
    /// Knows where this run begins: nothing is read before the uplink is made.
    private let restamper: Restamper
    private let isClockKept: Bool
    private let logger: Logger
    private let mailbox: UplinkMailbox
    private let thread = Mutex<OwnThread?>(nil)

    /// - Parameters:
    ///   - clock: the gateway's time: tokens and certificates go by it, and the hub corrects it.
    ///   - report: what the gateway tells about itself in the reported properties of its twin, as a JSON object of at
    ///     most 32 KiB: a patch. Told again when it says something else than before. `desiredVersion` is the last version
    ///     of the desired properties that was seen. Called on the uplink's thread.
    ///   - desired: told all desired properties of the gateway's twin, with every connection and after every change, on
    ///     the uplink's thread.
    /// - Throws: `.systemRefused` when the process has no descriptor left.
    public init(
        _ settings: UplinkSettings, store: any OutboxStore, handler: any CommandHandler, clock: GatewayClock,
        logger: Logger, desired: @escaping @Sendable (JSONValue) -> Void = { _ in },
        report: @escaping @Sendable (_ desiredVersion: Int64?) -> [UInt8]
    ) throws(UplinkError) {
        // A store that cannot be read now has nothing of this run either.
        let first = (try? store.status())?.nextSequence ?? .max
        let last = ((try? store.kept(ClockMemory.key)) ?? nil).flatMap { ClockMemory($0) }
        restamper = Restamper(clock.at(), first: first, boot: SystemTime.bootID, after: last)
        guard let mailbox = UplinkMailbox() else { throw UplinkError.systemRefused(doing: "make the wake signal") }
        self.settings = settings
        self.store = store
        self.handler = handler
        self.report = report
        self.desired = desired
        self.clock = clock
        self.logger = logger
        self.mailbox = mailbox
        // Before anything is stamped: what is stamped from here on is this run's. What fails now is tried again.
        isClockKept = first != .max && (try? store.keep(clock, restamper)) != nil
    }

    /// Starts the thread and returns at once; a hub that is down is not an error. May be called once.
    public func start() throws(UplinkError) {
        let (settings, mailbox) = (settings, mailbox)
        let surroundings = UplinkLoop.Surroundings(
            store: store, handler: handler, clock: clock, restamper: restamper, isClockKept: isClockKept,
            report: report, desired: desired, logger: logger, mailbox: mailbox)
        let made = OwnThread.run(name: "uplink") {
            UplinkLoop(settings, surroundings, in: SystemWorld(settings.endpoint)).run()
            mailbox.ended()
        }
        guard let made else { throw UplinkError.systemRefused(doing: "start the uplink's thread") }
        thread.withLock { $0 = made }
    }

    /// Something was appended to the outbox. Any thread; does not block.
    public func recordsStored() { mailbox.post { $0.hasNewRecords = true } }

    /// The gateway's report may say something else now. Any thread; does not block.
    public func reportChanged() { mailbox.post { $0.hasNews = true } }

    /// Something else of this gateway has used the network: it counts for the bytes of the day. Any thread; does not block.
    public func spent(_ bytes: UInt64) { mailbox.post { $0.bytesSpent += bytes } }

    /// What the link does now; for status pages and `status`.
    public var state: LinkState { mailbox.linkState }

    /// Sends what is left for at most `grace`, says goodbye and ends the thread; without a link it ends at once. An
    /// attempt that hangs in the system's name resolver is left behind.
    public func stop(grace: Duration) {
        let now = SystemTime.monotonic
        let deadline = state == .connected ? now + grace : now
        mailbox.post { $0.stopBy = $0.stopBy ?? deadline }
        guard mailbox.waitForEnd(until: deadline + .seconds(1)) else {
            logger.warning("the uplink did not end in time and is left behind")
            return
        }
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }
}

/// What the link does.
public enum LinkState: Sendable, Equatable {
    case starting
    case connected
    /// Down; the gateway keeps its records and tries again.
    case waiting(LinkProblem)
    case stopped
}

/// Why there is no uplink at all.
public enum UplinkError: Error, Equatable, CustomStringConvertible {
    case systemRefused(doing: String)

    public var isRetryable: Bool { false }

    public var description: String {
        switch self {
        case .systemRefused(let doing):
            "cannot \(doing): the system has no thread or no descriptor left; raise the limits of this service"
        }
    }
}

/// Messages to the uplink's thread, and its state for others.
final class UplinkMailbox: Sendable {
    struct Mail: Sendable {
        var hasNewRecords = false
        var hasNews = false
        var bytesSpent: UInt64 = 0
        var answers: [Answer] = []
        var stopBy: MonotonicInstant?
    }

    /// What a command handler replied.
    struct Answer: Sendable {
        enum Purpose: Sendable {
            /// A method request, answered on this topic if the connection is still the one it came on.
            case method(topic: String, connection: UInt64)
            /// A cloud-to-device command.
            case queued(messageID: String)
        }
        let purpose: Purpose
        let call: CommandCall
        let answer: CommandAnswer
    }

    let wake: WakeSignal
    private let finished: WakeSignal
    private let mail = Mutex(Mail())
    private let state = Mutex((link: LinkState.starting, hasEnded: false))

    init?() {
        guard let wake = WakeSignal(), let finished = WakeSignal() else { return nil }
        self.wake = wake
        self.finished = finished
    }

    func post(_ change: (inout Mail) -> Void) {
        mail.withLock { change(&$0) }
        wake.ring()
    }

    var isStopping: Bool { mail.withLock { $0.stopBy != nil } }

    /// Takes everything but the wish to stop, which stays.
    func take() -> Mail {
        mail.withLock { mail in
            defer { mail = Mail(stopBy: mail.stopBy) }
            return mail
        }
    }

    var linkState: LinkState { state.withLock { $0.link } }
    func set(_ link: LinkState) { state.withLock { $0.link = link } }

    func ended() {
        state.withLock { $0 = (.stopped, true) }
        finished.ring()
    }

    func waitForEnd(until deadline: MonotonicInstant) -> Bool {
        while !state.withLock({ $0.hasEnded }), SystemTime.monotonic < deadline { finished.wait(until: deadline) }
        return state.withLock { $0.hasEnded }
    }
}
