internal import Connectivity
internal import DriverRuntime
internal import HubContract
internal import HubTransport
internal import Logging
internal import MQTTClient
internal import Outbox
public import Primitives
internal import Telemetry

/// The uplink's thread: waits, asks the machines, performs, flushes once per turn.
///
/// One turn is wait → read → make durable → write. A message from the hub is acknowledged when what it asks for is
/// durable, and not before.
final class UplinkLoop {
    struct Surroundings: Sendable {
        let store: any OutboxStore
        let handler: any CommandHandler
        let report: @Sendable (_ desiredVersion: Int64?) -> [UInt8]
        let logger: Logger
        let mailbox: UplinkMailbox
    }

    let settings: UplinkSettings
    let store: any OutboxStore
    let handler: any CommandHandler
    let report: @Sendable (_ desiredVersion: Int64?) -> [UInt8]
    let logger: Logger
    let mailbox: UplinkMailbox
    let identity: HubIdentity
    /// Counts connections, so that an answer to an old request is not sent on a new one.
    private(set) var connection: UInt64 = 0
    var commands = CommandQueue()
    var twin = TwinExchange()
    /// Of the gateway's own desired properties, as far as seen.
    var desiredVersion: Int64?
    private let hub: HubTransport
    private(set) var transport: HubLink?
    private var link: LinkSupervisor
    private var drain: DrainOrder
    private var random = SystemRandomNumberGenerator()
    private var travelling: [PublishID: (ticket: DrainOrder.Ticket, batch: OutboxBatch)] = [:]
    /// Acknowledged by the hub, but the store could not forget them yet.
    private var unforgotten: [OutboxBatch] = []
    private var stopBy: MonotonicInstant?
    private let telemetryTopic: String

    init(_ settings: UplinkSettings, _ surroundings: Surroundings) {
        self.settings = settings
        store = surroundings.store
        handler = surroundings.handler
        report = surroundings.report
        logger = surroundings.logger
        mailbox = surroundings.mailbox
        identity = HubIdentity(settings.gateway)
        hub = HubTransport(settings.endpoint)
        link = LinkSupervisor(limits: settings.link)
        drain = DrainOrder(
            inflightCountMax: settings.inflightCountMax, batchBytesMax: settings.batchBytesMax, shares: settings.shares)
        let bag = PropertyBag([
            PropertyBag.Entry("$.ct", Batch.contentType), PropertyBag.Entry("$.ce", Batch.contentEncoding),
        ])
        telemetryTopic = HubTopics.events(from: identity, bag: bag)
    }

    func run() {
        connect()
        while !isFinished {
            do throws(LinkFailure) {
                try turn()
            } catch {
                linkFailed(error.problem)
            }
        }
        transport?.disconnect(now: SystemTime.monotonic)
        transport = nil
    }

    /// Stopping ends at once without a link, and otherwise when nothing is left to send or time is up.
    private var isFinished: Bool {
        guard let stopBy else { return false }
        guard link.isConnected, SystemTime.monotonic < stopBy else { return true }
        return drain.inflightCount == 0 && drain.nextRequest() == nil
    }

    private func turn() throws(LinkFailure) {
        let now = SystemTime.monotonic
        perform(link.timerFired(now: now))
        guard let transport else {
            mailbox.wake.wait(until: min(link.deadline ?? .init(nanoseconds: .max), now + .seconds(60)))
            readMail()
            return
        }
        let idleUntil = now + .seconds(1)
        transport.wait(until: min(link.deadline ?? idleUntil, idleUntil))
        try handle(transport.read(now: SystemTime.monotonic))
        readMail()
        if transport.isAccepted {
            try send(transport)
            keepWithheld()
            startCommands()
            exchangeTwin()
        }
        try transport.write(now: SystemTime.monotonic)
    }

    private func readMail() {
        let mail = mailbox.take()
        stopBy = mail.stopBy
        if mail.hasNewRecords { drain.recordsStored() }
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
            transport?.disconnect(now: SystemTime.monotonic)
            connect()
        }
    }

    private func connect() {
        drop()
        connection += 1
        let now = SystemTime.monotonic
        link.attemptStarted(now: now)
        do throws(LinkFailure) {
            transport = try HubLink(
                hub, login: try login(), certificateTime: certificateTime(), wake: mailbox.wake, now: now)
        } catch {
            linkFailed(error.problem)
        }
    }

    private func linkFailed(_ problem: LinkProblem) {
        drop()
        switch link.failed(problem, now: SystemTime.monotonic, using: &random) {
        case .ignore: break
        case .wait(let until, let isNews):
            let wait = (until - SystemTime.monotonic).millisecondsClamped
            let level: Logger.Level = !isNews ? .debug : problem.mayHealByItself ? .warning : .error
            logger.log(
                level: level, "no link to the hub",
                metadata: ["reason": "\(problem.operatorText)", "retryMilliseconds": "\(wait)"])
            mailbox.set(.waiting(problem))
        }
    }

    private func drop() {
        transport = nil
        travelling = [:]
        commands.withheld = []
        drain.linkLost()
        twin.linkLost()
    }

    private func login() throws(LinkFailure) -> ClientLogin {
        let name = ConnectUserName(host: settings.accountHost, identity: identity, clientType: "fieldline-edge-agent")
        let seconds = UInt16(clamping: max(1, settings.keepAlive.components.seconds))
        let login = ClientLogin(
            clientID: settings.gateway.text, userName: name.text, password: password(), keepAliveSeconds: seconds)
        guard let login else { throw LinkFailure(.credentialsUnusable(detail: "a name is too long for MQTT")) }
        return login
    }

    /// A token; `nil` with a certificate.
    private func password() -> Secret? {
        guard case .sharedAccessKey(let key) = settings.credentials else { return nil }
        let token = SASToken.build(
            resource: SASToken.resource(host: settings.accountHost, path: identity.resourcePath), key: key.bytes,
            expiry: presentTime().unixSeconds + settings.tokenLifetime.components.seconds
        ) { GatewayCrypto.hmacSHA256(key: $0, message: $1) }
        return Secret(token.utf8)
    }

    /// The wall clock, or, while it is plainly unset, the latest time that is known to have passed.
    private func presentTime() -> WallInstant {
        let known = (try? store.status())?.lastWallTime ?? KnownTime.build
        return max(SystemTime.wall, known, KnownTime.build)
    }

    private func certificateTime() -> Int64? {
        let present = presentTime()
        return present > SystemTime.wall ? present.unixSeconds : nil
    }

    // MARK: From the hub

    private func handle(_ events: [ClientEvent]) throws(LinkFailure) {
        var acknowledged: [OutboxBatch] = []
        for event in events {
            switch event {
            case .accepted: try accepted()
            case .acknowledged(let identifier):
                guard let sent = travelling.removeValue(forKey: identifier) else { continue }
                if drain.batchAcknowledged(sent.ticket, now: SystemTime.monotonic) { acknowledged.append(sent.batch) }
            case .subscribed(let granted):
                noteSubscriptions(granted)
                twin.linkCameUp(now: SystemTime.monotonic)
            case .message(let message): received(message)
            }
        }
        if !acknowledged.isEmpty { forget(acknowledged) }
    }

    private func accepted() throws(LinkFailure) {
        let now = SystemTime.monotonic
        switch settings.credentials {
        case .certificate: link.accepted(tokenLifetime: nil, now: now)
        case .sharedAccessKey: link.accepted(tokenLifetime: settings.tokenLifetime, now: now)
        }
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
        for (filter, isGranted) in zip(HubSubscriptions.filters(of: identity), granted) where !isGranted {
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

    /// The outbox has put acknowledged records back on their way.
    func replayStarted() { drain.recordsRestored() }

    private static func stored(_ lane: DrainOrder.Lane) -> OutboxLane {
        switch lane {
        case .faults: .faults
        case .live, .backlog: .readings
        case .replays: .replays
        }
    }

    private func send(_ transport: HubLink) throws(LinkFailure) {
        while transport.hasRoom, let request = drain.nextRequest() {
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
            let payload = Batch.envelope(
                epoch: store.epoch, fragments: batch.fragments, runs: batch.runs, dropped: batch.dropped)
            guard let identifier = transport.publish(telemetryTopic, payload, now: SystemTime.monotonic) else {
                throw LinkFailure(.lost(detail: "a batch could not be published on \(telemetryTopic)"))
            }
            let sent = DrainOrder.Sent(
                runStarts: batch.runs.map(\.start), lastSequence: batch.lastSequence, bytes: payload.count)
            let ticket = drain.batchSent(request, sent, now: SystemTime.monotonic)
            travelling[identifier] = (
                ticket, OutboxBatch(rows: batch.rows, runs: batch.runs, fragments: [], dropped: batch.dropped)
            )
            if PlantedBug.agentForgetsWhenSent.isPlanted { forget([batch]) }
        }
    }
}

/// Times that are known to have passed, for boards that start with their clock at 1970.
enum KnownTime {
    /// 2026-11-01: this program did not exist before.
    static let build = WallInstant(milliseconds: 1_793_491_200_000)
}

extension PlantedBug {
    /// The gateway deletes what it has sent, without waiting for the acknowledgement.
    public static var agentForgetsWhenSent: PlantedBug { PlantedBug("agentForgetsWhenSent") }
}
