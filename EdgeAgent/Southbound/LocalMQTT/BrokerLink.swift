import CMosquitto
import DriverRuntime
import Glibc
import Logging
import Primitives
import SouthboundAPI
import Synchronization
import Telemetry

/// The driver's thread: connects, reads, delivers, and only then writes. Confined to that thread.
final class BrokerLink {
    /// Packets read before they are delivered together. Each of the three limits ends a delivery: a flood costs more
    /// deliveries, not more memory.
    static let readsMax = 512
    static let readingsPerDeliveryMax = 1024
    static let payloadBytesPerDeliveryMax = 131_072
    static let connectTimeout = Duration.seconds(5)
    static let acceptTimeout = Duration.seconds(10)

    struct Surroundings {
        let mailbox: Mailbox
        let sink: any ReadingSink
        let clock: DriverClock
        let logger: Logger
        let learned: LearnedDevices
    }

    /// Why a connection ended, in the operator's words.
    struct Ending: Error {
        let reason: String
        let advice: String
        /// The connection was given up here, so that what could not be kept comes again; the broker is well.
        var isStoreRefusal = false
    }

    let config: LocalMQTTConfig
    let answerFilters: [String]
    let mailbox: Mailbox
    let sink: any ReadingSink
    let clock: DriverClock
    let logger: Logger

    var reader: MessageReader
    var repeats: RepeatFilter
    var desk = CommandDesk()
    var health = BrokerHealth()
    var learned: LearnedDevices
    var warnings = WarningLimiter()
    private var backoff: Backoff
    private var random = SystemRandomNumberGenerator()
    /// What was logged last about a broker that cannot be reached, so that a long outage is one line and not thousands.
    private var loggedEnding: String?
    /// Tries that the broker has not accepted, without one in between that it has.
    private var failedTryCount = 0
    /// The store refused and has taken nothing since: connections come and go, which is no news.
    private var isStoreRefusing = false
    private var storeBackoff: Backoff
    var isSubscribed = false
    /// Subscriptions that the broker has not confirmed yet.
    var subscriptionsAwaited = 0

    // Of the current connection.
    var readings: [Reading] = []
    var payloadByteCount = 0
    var qos1Count = 0
    var stamp = MessageReader.Stamp(time: .never, clock: .unset, quality: .good)
    var connectAnswer: (code: Int32, sessionPresent: Bool)?

    init(config: LocalMQTTConfig, answerFilters: [String], surroundings: Surroundings) {
        self.config = config
        self.answerFilters = answerFilters
        mailbox = surroundings.mailbox
        sink = surroundings.sink
        clock = surroundings.clock
        logger = surroundings.logger
        learned = surroundings.learned
        reader = MessageReader(config: config)
        repeats = surroundings.sink.lastMark(of: config.name).map { RepeatFilter(mark: $0) } ?? RepeatFilter()
        backoff = Backoff(first: config.reconnectFirst, most: config.reconnectMost)
        storeBackoff = Backoff(first: config.reconnectFirst, most: min(config.reconnectMost, .seconds(5)))
        for device in config.topics.compactMap(\.device) { health.heardOf(device) }
    }

    /// Returns when the driver is stopped.
    func run() {
        while !mailbox.isStopping {
            do throws(Ending) {
                try connection()
            } catch {
                if connectAnswer?.code != 0 { failedTryCount += 1 }
                ended(error)
                pause(for: error.isStoreRefusal ? storeBackoff.next(using: &random) : backoff.next(using: &random))
            }
        }
        for ended in desk.stopped() { reply(ended) }
        for command in mailbox.takeAllCommands() {
            mailbox.end(command.id, .failed(reason: "the gateway stopped before the command was sent"))
        }
    }

    /// One connection from its beginning to its end; returns without an error only when the driver is stopped.
    private func connection() throws(Ending) {
        connectAnswer = nil
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard let handle = MosquittoHandle(clientID: config.clientID, cleanSession: false, context: context) else {
            throw Ending(reason: "libmosquitto gave no client", advice: "the gateway is short of memory")
        }
        handle.set(Self.callbacks)
        if let userName = config.userName { handle.setCredentials(userName: userName, password: config.password) }
        forgetDelivery()
        defer { connectionOver() }
        try openSocket(handle)
        try awaitAcceptance(handle)
        guard let answer = connectAnswer else { return }
        accepted(answer)
        try subscribe(handle, sessionPresent: answer.sessionPresent)
        try serve(handle)
        handle.disconnect()
        _ = handle.write()
    }

    private func accepted(_ answer: (code: Int32, sessionPresent: Bool)) {
        repeats.connected(sessionPresent: answer.sessionPresent)
        backoff.reset()
        loggedEnding = nil
        failedTryCount = 0
        guard !isStoreRefusing else { return }
        logger.info(
            "connected to the local broker", metadata: ["session": answer.sessionPresent ? "resumed" : "new"])
    }

    /// Commands that were handed to the library and not confirmed are not sent again.
    private func connectionOver() {
        for ended in desk.linkLost() { reply(ended) }
    }

    func reply(_ ended: CommandDesk.Ended) {
        switch ended.outcome {
        case .executed(let answer): mailbox.end(ended.id, .executed(answer: answer))
        case .failed(let reason): mailbox.end(ended.id, .failed(reason: reason))
        }
    }

    /// What was read is kept or comes again.
    func forgetDelivery() {
        readings.removeAll(keepingCapacity: true)
        payloadByteCount = 0
        qos1Count = 0
    }

    /// Says it once until it changes, and tells the core which devices cannot be heard when a second try fails.
    private func ended(_ ending: Ending) {
        if ending.isStoreRefusal {
            if !isStoreRefusing {
                logger.warning(
                    "messages go back to the local broker; will keep trying",
                    metadata: ["reason": "\(ending.reason)", "advice": "\(ending.advice)"])
            }
            isStoreRefusing = true
            return
        }
        if loggedEnding != ending.reason {
            loggedEnding = ending.reason
            logger.warning(
                "no connection to the local broker; will keep trying",
                metadata: ["reason": "\(ending.reason)", "advice": "\(ending.advice)"])
        }
        if failedTryCount >= 2 {
            let silent = health.brokerLost()
            report(
                silent, reason: "the local broker at \(config.host):\(config.port) cannot be reached: \(ending.reason)")
        }
    }

    /// The store has taken a delivery.
    func storeAccepted() {
        guard isStoreRefusing else { return }
        isStoreRefusing = false
        storeBackoff.reset()
        logger.info("messages of the local broker are kept again")
    }

    private func report(_ devices: [DeviceID], reason: String) {
        guard !devices.isEmpty else { return }
        let (time, quality) = clock.wall()
        let changes = devices.map {
            DeviceHealth(device: $0, answers: false, reason: reason, time: time, clock: quality)
        }
        do {
            try wait(for: Delivery(driver: config.name, readings: [], health: changes))
        } catch {
            health.notReported(devices)
        }
    }

    func wait(for delivery: Delivery) throws {
        guard let wake = WakeSignal() else { throw SinkError(.storeFailed, detail: "no file descriptor is left") }
        let box = Box()
        sink.accept(delivery) { error in
            box.ending.withLock { $0 = .some(error) }
            wake.ring()
        }
        while true {
            if let ended = box.ending.withLock({ $0 }) {
                if let ended { throw ended }
                return
            }
            wake.wait(until: clock.monotonic() + .seconds(1))
        }
    }

    final class Box: Sendable { let ending = Mutex<SinkError??>(nil) }

    /// Waits for the next try; commands still expire on time.
    private func pause(for duration: Duration) {
        let end = clock.monotonic() + duration
        while !mailbox.isStopping {
            let now = clock.monotonic()
            expireCommands(now: now)
            guard now < end else { return }
            mailbox.wake.wait(until: [mailbox.nextDeadline, desk.nextDeadline, end].compactMap { $0 }.min() ?? end)
        }
    }

    func expireCommands(now: MonotonicInstant) {
        for command in mailbox.takeCommands(0, now: now).expired {
            mailbox.end(
                command.id,
                .expired(
                    reason:
                        "the local broker at \(config.host):\(config.port) could not be reached within the time limit"
                ))
        }
        for ended in desk.timeReached(now) { reply(ended) }
    }
}
