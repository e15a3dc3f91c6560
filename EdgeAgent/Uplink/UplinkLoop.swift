internal import Compression
internal import Connectivity
internal import DriverRuntime
internal import HubContract
internal import HubTransport
internal import JSON
internal import Logging
internal import MQTTClient
internal import Outbox
public import Primitives
internal import Telemetry
internal import Timekeeping

/// The uplink's thread: waits, asks the machines, performs, flushes once per turn.
///
/// One turn is wait → read → make durable → write. A message from the hub is acknowledged when what it asks for is
/// durable, and not before.
final class UplinkLoop {
    struct Surroundings: Sendable {
        let store: any OutboxStore
        let handler: any CommandHandler
        let clock: GatewayClock
        /// As the run begins.
        let restamper: Restamper
        /// Whether the outbox has it.
        var isClockKept = true
        let report: @Sendable (_ desiredVersion: Int64?) -> [UInt8]
        let desired: @Sendable (JSONValue) -> Void
        let logger: Logger
        let mailbox: UplinkMailbox
    }

    let settings: UplinkSettings
    let store: any OutboxStore
    let handler: any CommandHandler
    let clock: GatewayClock
    let report: @Sendable (_ desiredVersion: Int64?) -> [UInt8]
    let desired: @Sendable (JSONValue) -> Void
    let logger: Logger
    let mailbox: UplinkMailbox
    let identity: HubIdentity
    /// Counts connections, so that an answer to an old request is not sent on a new one.
    private(set) var connection: UInt64 = 0
    var commands = CommandQueue()
    var twin = TwinExchange()
    /// Of the gateway's own desired properties, as far as seen.
    var desiredVersion: Int64?
    var timing: HubTiming
    var bytes: DayBytes
    /// As the log and the twin have it.
    var allowanceTold = ByteBudget.Allowance.everything
    let world: any UplinkWorld
    private(set) var transport: (any HubConnection)?
    var link: LinkSupervisor
    private var drain: DrainOrder
    private var envelope: BatchEnvelope
    var random: SeededRandom
    private var travelling: [PublishID: (ticket: DrainOrder.Ticket, batch: OutboxBatch)] = [:]
    /// Acknowledged by the hub, but the store could not forget them yet.
    private var unforgotten: [OutboxBatch] = []
    private var stopBy: MonotonicInstant?

    /// - Parameter seed: of what is left to chance: how long to wait between two attempts.
    init(
        _ settings: UplinkSettings, _ surroundings: Surroundings, in world: any UplinkWorld,
        seed: UInt64 = .random(in: .min ... .max)
    ) {
        self.settings = settings
        self.world = world
        random = SeededRandom(seed: seed)
        store = surroundings.store
        handler = surroundings.handler
        clock = surroundings.clock
        report = surroundings.report
        desired = surroundings.desired
        logger = surroundings.logger
        mailbox = surroundings.mailbox
        identity = HubIdentity(settings.gateway)
        link = LinkSupervisor(limits: settings.link)
        drain = DrainOrder(
            inflightCountMax: settings.inflightCountMax, batchBytesMax: settings.batchBytesMax, shares: settings.shares)
        timing = HubTiming(clock, surroundings.restamper, isKept: surroundings.isClockKept, now: world.now)
        bytes = DayBytes(
            ByteBudget(
                perDay: settings.bytesPerDay, atEnd: settings.atEndOfBudget,
                kept: (try? surroundings.store.kept(DayBytes.key)) ?? nil))
        envelope = BatchEnvelope(identity, compresses: settings.compresses)
    }

    func run() {
        begin()
        while !isFinished { step() }
        end()
    }

    func begin() {
        countBytes()
        if bytes.closesAt == nil { connect() } else { link.pause() }
    }

    /// Waits until there is something to do, and does it.
    func step() {
        do throws(LinkFailure) {
            try turn()
        } catch {
            linkFailed(error.problem)
        }
    }

    func end() {
        transport?.disconnect(now: world.now)
        countBytes(isEnd: true)
        if bytes.budget.perDay != nil { keepBytes() }
        transport = nil
    }

    /// Stopping ends at once without a link, and otherwise when nothing is left to send or time is up.
    var isFinished: Bool {
        guard let stopBy else { return false }
        guard link.isConnected, world.now < stopBy else { return true }
        return drain.inflightCount == 0 && drain.nextRequest() == nil
    }

    private func turn() throws(LinkFailure) {
        let now = world.now
        if timing.question != nil, transport == nil { return askForTheDate() }
        try noteCorrections()
        keepClock(now: now)
        countBytes()
        if isClosedForToday(now: now) {
            world.wait(for: mailbox.wake, until: now + .seconds(1))
            return readMail()
        }
        perform(link.timerFired(now: now))
        guard let transport else {
            // A clock that nobody has vouched for may be set at any time, and what was stamped before is noted then.
            let pause = clock.now().quality == .synchronised ? Duration.seconds(60) : .seconds(1)
            world.wait(for: mailbox.wake, until: min(link.deadline ?? .init(nanoseconds: .max), now + pause))
            readMail()
            return
        }
        let idleUntil = now + (timing.question == nil ? .seconds(1) : .milliseconds(50))
        transport.wait(until: min(link.deadline ?? idleUntil, idleUntil))
        let events = Result { () throws(LinkFailure) in try transport.read(now: world.now) }
        noteDate(of: transport)
        try handle(events.get())
        readMail()
        if transport.isAccepted {
            try noteCorrections()
            try send(transport)
            keepWithheld()
            startCommands()
            exchangeTwin()
            exchangeTime()
            try learnTheDate()
        }
        try transport.write(now: world.now)
    }

    func readMail() {
        let mail = mailbox.take()
        stopBy = mail.stopBy
        if mail.hasNewRecords { drain.recordsStored() }
        if mail.bytesSpent > 0 { bytes.budget.used(mail.bytesSpent) }
        if mail.hasNews { twin.changed(now: world.now) }
        for answer in mail.answers { answered(answer) }
    }

    // MARK: Link

    private func perform(_ action: LinkSupervisor.TimerAction) {
        switch action {
        case .rearm: break
        case .connect: connect()
        case .giveUpAttempt: linkFailed(transport?.overdueProblem ?? .silent(host: settings.hubHost))
        case .renewToken:
            logger.info("the token ends soon; connecting again with a new one")
            transport?.disconnect(now: world.now)
            connect()
        }
    }

    private func connect() {
        drop()
        connection += 1
        link.attemptStarted(now: world.now)
        timing.attemptStarted()
        do throws(LinkFailure) {
            transport = try world.connect(
                to: settings.endpoint, login: try login(), certificateTime: clock.certificateTime().unixSeconds,
                wake: mailbox.wake)
        } catch {
            linkFailed(error.problem)
        }
    }

    private func linkFailed(_ problem: LinkProblem) {
        drop()
        switch link.failed(problem, now: world.now, using: &random) {
        case .ignore: break
        case .wait(let until, let isNews):
            let wait = (until - world.now).millisecondsClamped
            let level: Logger.Level = !isNews ? .debug : problem.mayHealByItself ? .warning : .error
            logger.log(
                level: level, "no link to the hub",
                metadata: ["reason": "\(problem.operatorText)", "retryMilliseconds": "\(wait)"])
            mailbox.set(.waiting(problem))
            considerTheClock(problem)
        }
    }

    func endLink() { drop() }

    private func drop() {
        countBytes(isEnd: true)
        transport = nil
        travelling = [:]
        commands.withheld = []
        drain.linkLost()
        twin.linkLost()
        timing.exchange.linkLost()
        envelope.linkLost()
    }

    private func login() throws(LinkFailure) -> ClientLogin {
        let name = ConnectUserName(host: settings.accountHost, identity: identity, clientType: "fieldline-edge-agent")
        let seconds = UInt16(clamping: max(1, settings.keepAlive.components.seconds))
        let login = ClientLogin(
            clientID: settings.gateway.text, userName: name.text,
            password: settings.token(present: clock.certificateTime().unixSeconds),
            keepAliveSeconds: seconds)
        guard let login else { throw LinkFailure(.credentialsUnusable(detail: "a name is too long for MQTT")) }
        return login
    }

    // MARK: From the hub

    private func handle(_ events: [ClientEvent]) throws(LinkFailure) {
        var acknowledged: [OutboxBatch] = []
        for event in events {
            switch event {
            case .accepted: try accepted()
            case .acknowledged(let identifier):
                guard let sent = travelling.removeValue(forKey: identifier) else { continue }
                if drain.batchAcknowledged(sent.ticket, now: world.now) { acknowledged.append(sent.batch) }
            case .subscribed(let granted):
                noteSubscriptions(granted)
                twin.linkCameUp(now: world.now)
            case .message(let message): received(message)
            case .overLargeMessage: break
            }
        }
        if !acknowledged.isEmpty { forget(acknowledged) }
    }

    private func accepted() throws(LinkFailure) {
        let now = world.now
        timing.doubt.settled()
        switch settings.credentials {
        case .certificate: link.accepted(tokenLifetime: nil, now: now)
        case .sharedAccessKey: link.accepted(tokenLifetime: settings.tokenLifetime, now: now)
        }
        timing.exchange.linkCameUp(now: now)
        transport?.subscribe(HubSubscriptions.filters(of: identity), now: now)
        do throws(OutboxError) {
            drain.linkCameUp(nextSequence: try store.status().nextSequence)
        } catch {
            throw LinkFailure(.lost(detail: error.description))
        }
        commands.mayWait = true
        logger.info("connected to the hub", metadata: ["host": "\(settings.hubHost)", "device": "\(settings.gateway)"])
        if let statistics = transport?.statistics {
            logger.debug(
                "how the connection came up",
                metadata: [
                    "handshake": "\(statistics.isResumed ? "short" : "full")", "sent": "\(statistics.bytesSent)",
                    "received": "\(statistics.bytesReceived)",
                ])
        }
        mailbox.set(.connected)
    }

    private func noteSubscriptions(_ granted: [Bool]) {
        let time = HubTopics.filter(.timeResponses, of: identity)
        for (filter, isGranted) in zip(HubSubscriptions.filters(of: identity), granted) {
            if filter == time {
                isGranted ? timing.exchange.granted(now: world.now) : timing.exchange.linkLost()
            }
            // Another hub than ours need not know it; then nobody is asked.
            if isGranted || filter == time { continue }
            logger.warning(
                "the hub refused a subscription; commands on it will not arrive", metadata: ["filter": "\(filter)"])
        }
    }

    private func forget(_ batches: [OutboxBatch]) {
        unforgotten += batches
        do throws(OutboxError) {
            try store.acknowledge(unforgotten)
            unforgotten = []
        } catch {
            // They stay stored; the hub tells repetitions by their sequences. A window's worth a turn is kept at most
            // until the next link, which sends everything stored again.
            logger.error("the outbox could not forget acknowledged records", metadata: ["reason": "\(error)"])
            unforgotten = Array(unforgotten.suffix(1024))
        }
    }

    // MARK: To the hub

    private func nextRequest() -> DrainOrder.Request? {
        switch bytes.budget.allowance {
        case .everything: drain.nextRequest()
        case .faults: drain.nextFaults()
        case .nothing: nil
        }
    }

    /// The outbox has put acknowledged records back on their way.
    func replayStarted() { drain.recordsRestored() }

    private static func stored(_ lane: DrainOrder.Lane) -> OutboxLane {
        switch lane {
        case .faults: .faults
        case .live, .backlog: .readings
        case .replays: .replays
        }
    }

    private func send(_ transport: any HubConnection) throws(LinkFailure) {
        // What time it is and how the hub takes batches comes at once, and counts for all that waits.
        if timing.exchange.isAnswerNear(now: world.now) { return }
        while transport.hasRoom, let request = nextRequest() {
            let batch: OutboxBatch?
            do throws(OutboxError) {
                batch = try store.take(
                    TakeRequest(
                        lane: Self.stored(request.lane), after: request.after, before: request.before,
                        bytesMax: request.bytesMax))
            } catch {
                logger.error("the outbox could not be read", metadata: ["reason": "\(error)"])
                return
            }
            guard let batch else {
                drain.nothingFound(request)
                continue
            }
            let message = envelope.message(of: batch, epoch: store.epoch, mendedBy: timing.restamper)
            guard let identifier = transport.publish(message.topic, message.payload, now: world.now) else {
                throw LinkFailure(.lost(detail: "a batch could not be published on \(message.topic)"))
            }
            bytes.prepay(UInt64(message.payload.count))
            let sent = DrainOrder.Sent(
                runStarts: batch.runs.map(\.start), lastSequence: batch.lastSequence, bytes: message.payload.count)
            let ticket = drain.batchSent(request, sent, now: world.now)
            travelling[identifier] = (
                ticket, OutboxBatch(rows: batch.rows, runs: batch.runs, fragments: [], dropped: batch.dropped)
            )
            if PlantedBug.agentForgetsWhenSent.isPlanted { forget([batch]) }
        }
    }
}

extension UplinkLoop {
    /// The hub has said how it takes batches.
    func learnedEncodings(_ encodings: [String]) { envelope.hubTakes(encodings) }

    /// Needed by the other files of this loop.
    func wakeUp(asking endpoint: HubEndpoint) throws(LinkFailure) -> any HubConnection {
        let login = ClientLogin(clientID: "", userName: "", password: nil, keepAliveSeconds: 60)
        guard let login else { throw LinkFailure(.credentialsUnusable(detail: "a name is too long for MQTT")) }
        timing.doubt.asked(now: world.now, using: &random)
        return try world.connect(
            to: endpoint, login: login, certificateTime: clock.lowestTime().unixSeconds, wake: mailbox.wake)
    }
}

extension PlantedBug {
    /// The gateway deletes what it has sent, without waiting for the acknowledgement.
    public static var agentForgetsWhenSent: PlantedBug { PlantedBug("agentForgetsWhenSent") }
}
