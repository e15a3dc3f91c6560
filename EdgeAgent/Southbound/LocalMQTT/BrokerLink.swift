import DriverRuntime
import Glibc
import Logging
import MQTTClient
import Primitives
import SouthboundAPI
import Telemetry

/// The driver's thread: connects, reads, hands over, and acknowledges what has become durable. It never waits for the disk:
/// what is on its way there is bounded by `Flights`, and beyond that the socket is not read. Confined to that thread.
final class BrokerLink {
    /// Each of the two limits ends a delivery.
    static let readingsPerDeliveryMax = 1024
    static let payloadBytesPerDeliveryMax = 131_072
    static let connectTimeout = Duration.seconds(5)
    static let acceptTimeout = Duration.seconds(10)
    /// For what is on its way to the disk when the driver stops.
    static let endTime = Duration.seconds(5)

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
    /// The broker has not answered the subscription yet.
    var isSubscriptionAwaited = false

    /// What was handed over, also on earlier connections.
    var flights = Flights()
    /// Of the current connection: what one refusal takes with it.
    var series: UInt64 = 0
    /// Messages of this series were refused: what was read behind them is neither noted as kept nor acknowledged, because
    /// the broker hears, and `repeats` counts, from the oldest on.
    private var isSeriesRefused = false

    // What is read at the moment.
    var readings: [Reading] = []
    var flight = Flights.Flight()
    var stamp = MessageReader.Stamp(time: .never, clock: .unset, quality: .good)
    /// Read from the socket and not looked at, because too much was on its way.
    var events: ArraySlice<ClientEvent> = []
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
        let inflightMax = config.inflightMax
        repeats =
            surroundings.sink.lastMark(of: config.name).map { RepeatFilter(mark: $0, inflightMax: inflightMax) }
            ?? RepeatFilter(inflightMax: inflightMax)
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
        // The broker repeats what it was not acknowledged for: by then it must be known what of it is kept.
        awaitFlights()
        if mailbox.isStopping { return }
        series += 1
        isSeriesRefused = false
        forgetDelivery()
        defer { connectionOver() }
        guard let connection = try openSocket() else { return }
        try awaitAcceptance(connection)
        guard let answer = connectAnswer else { return }
        accepted(answer)
        try subscribe(connection, sessionPresent: answer.sessionPresent)
        try serve(connection)
        try end(connection)
    }

    /// Waits until everything that was handed over has ended, or the driver is stopped.
    private func awaitFlights() {
        while !mailbox.isStopping {
            // What is refused now is not acknowledged, and comes again anyway.
            _ = settle(nil)
            if flights.isEmpty { return }
            let now = clock.monotonic()
            expireCommands(now: now)
            let limit = now + .seconds(1)
            mailbox.wake.wait(until: [mailbox.nextDeadline, desk.nextDeadline, limit].compactMap { $0 }.min() ?? limit)
        }
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

    /// What was read and not handed over comes again.
    private func forgetDelivery() {
        readings.removeAll(keepingCapacity: true)
        flight = Flights.Flight()
        events = []
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
    private func storeAccepted() {
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
        // A series of its own: it is told whatever became of the last connection.
        hand(Delivery(driver: config.name, readings: [], health: changes), Flights.Flight(devices: devices))
    }

    func hand(_ delivery: Delivery, _ flight: Flights.Flight) {
        flights.began(flight, isDelivered: true)
        let mailbox = mailbox
        sink.accept(delivery) { mailbox.leave($0.map { .refused($0) } ?? .kept) }
    }

    /// Looks at what has ended, and acknowledges to the broker what is kept.
    ///
    /// - Returns: why messages are refused that must come again.
    func settle(_ connection: BrokerConnection?) -> SinkError? {
        for ending in mailbox.takeEndings() { flights.ended(ending) }
        var refusal: SinkError?
        while let (flight, ending) = flights.takeEnded() {
            guard case .refused(let error) = ending else {
                kept(flight, connection)
                continue
            }
            if flight.messages > 0 { isSeriesRefused = true }
            health.notReported(flight.devices)
            if flight.tellsLearned { learned.wereRefused() }
            if flight.messages > 0 || flight.readings > 0 { refusal = refusal ?? error }
        }
        return refusal
    }

    private func kept(_ flight: Flights.Flight, _ connection: BrokerConnection?) {
        if !isSeriesRefused {
            repeats.kept(flight.messages)
            connection?.session.acknowledgeOldest(flight.messages, now: clock.monotonic())
        }
        guard flight.readings > 0 || !flight.devices.isEmpty else { return }
        storeAccepted()
        mailbox.count { $0.readings += UInt64(flight.readings) }
    }

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
