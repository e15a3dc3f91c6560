import EventLog
import HubContract
import Ingest
import Journal
import MQTTCodec
import MQTTSession
import NIOCore
import Primitives
import Sessions
import Throttles

/// From CONNECT to CONNACK, and the end.
extension MQTTConnection {
    /// A CONNECT that nobody has decided on yet.
    struct Opening {
        let connect: Connect
        let request: ConnectRequest
        let willBag: String?
        var identity: HubIdentity { request.userName.identity }
    }

    func authenticate(_ connect: Connect, now: MonotonicInstant) {
        do {
            let request = try request(from: connect)
            let willBag = try will(of: connect, request.userName.identity)
            let wall = shared.dependencies.now()
            decide(
                Opening(connect: connect, request: request, willBag: willBag),
                shared.dependencies.authority.authenticate(request, now: wall), now: now)
        } catch {
            refuse(error.sentence, device: connect.clientID)
        }
    }

    private func decide(_ opening: Opening, _ verdict: ConnectVerdict, now: MonotonicInstant) {
        switch verdict {
        case .accepted(let grant):
            if let throttled = shared.dependencies.throttles?.admit(.connections, opening.identity.device) {
                refuse(throttled.sentence, device: opening.identity.description, .throttled, with: .serverUnavailable)
            } else {
                accept(opening, grant, now: now)
            }
        case .refused(let sentence): refuse(sentence, device: opening.identity.description)
        case .chainUnchecked: checkChain(opening)
        }
    }

    private func checkChain(_ opening: Opening) {
        self.opening = opening
        let bound = NIOLoopBound(self, eventLoop: shard.eventLoop)
        let loop = shard.eventLoop
        shared.dependencies.authority.checkChain(of: opening.request, now: shared.dependencies.now()) { verdict in
            loop.execute { bound.value.chainChecked(verdict) }
        }
    }

    private func chainChecked(_ verdict: ConnectVerdict) {
        guard let opening else { return }
        self.opening = nil
        decide(opening, verdict, now: shard.now)
        readOn()
    }

    private func request(from connect: Connect) throws(ConnectFault) -> ConnectRequest {
        guard let text = connect.userName else {
            throw ConnectFault("it has no user name; set it to '{hub host}/{device id}/?api-version=2021-04-12'")
        }
        let userName: ConnectUserName
        do throws(ConnectUserNameError) {
            userName = try ConnectUserName(parsing: text)
        } catch {
            throw ConnectFault("\(error)")
        }
        guard connect.clientID == userName.identity.description else {
            throw ConnectFault(
                "its client id '\(connect.clientID.prefix(256))' is not the identity of its user name, "
                    + "'\(userName.identity)'; make both the same")
        }
        defer { clientChain.forget() }
        guard connect.password == nil, let shown = clientChain.shown else {
            return ConnectRequest(userName: userName, password: connect.password)
        }
        return ConnectRequest(
            userName: userName, password: nil, leafSHA1: shown.leafSHA1, leafSHA256: shown.leafSHA256,
            chain: shown.chain)
    }

    private func will(of connect: Connect, _ identity: HubIdentity) throws(ConnectFault) -> String? {
        guard let will = connect.will else { return nil }
        switch SessionDispatch(identity: identity).willBag(will) {
        case .success(let bag): return bag
        case .failure(let refusal): throw ConnectFault(refusal.description)
        }
    }

    private func refuse(
        _ sentence: String, device: String, _ kind: JournalEntry.Kind = .refused,
        with code: ConnectReturnCode = .notAuthorized
    ) {
        shard.counts.connectsRefused += 1
        shared.connectRefused(sentence, kind, device: device, from: context?.remoteAddress)
        switch session.connectRefused(code) {
        case .refuse(let answer, _):
            send(.connAck(answer))
            close(.refused("CONNECT"), isLogged: true)
        case .close(let reason): close(reason.disconnectReason)
        case .ignore: break
        }
    }

    private func accept(_ opening: Opening, _ grant: ConnectGrant, now: MonotonicInstant) {
        let (connect, identity) = (opening.connect, opening.identity)
        let services = shared.dependencies.services
        let stored = services.storedSubscriptions(of: identity)
        if connect.isCleanSession, !stored.isEmpty {
            services.subscriptionsChanged(identity, to: []) { _ in }
        }
        let table = SubscriptionTable(connect.isCleanSession ? [] : stored)
        let link = ConnectionLink(
            identity: identity, grant: grant, connection: self, eventLoop: shard.eventLoop)
        let wall = shared.dependencies.now()
        if let throttles = shared.dependencies.throttles { pace = throttles.beginTelemetry(of: identity.device) }
        stamp = EventStamp(
            origin: EventOrigin(
                device: identity.device, module: identity.module, authGeneration: grant.generationID,
                authScope: grant.authScope, authType: grant.authType),
            partitionCount: shared.dependencies.eventLog.partitionCount)
        attached = Attached(
            dispatch: SessionDispatch(identity: identity), link: link, subscriptions: table,
            isCleanSession: connect.isCleanSession, willBag: opening.willBag,
            expiresAt: grant.expiresAt.map { now + ($0 - wall) }, expiry: grant.expiry)
        guard
            case .accept(let answer, let timer) = session.connectAccepted(
                sessionPresent: !table.entries.isEmpty, now: now)
        else { return }
        shard.counts.connectsAccepted += 1
        send(.connAck(answer))
        arm(timer)
        let old = shared.dependencies.connected.connect(link, subscriptions: table.entries)
        old?.deliver(.close(reason: .takenOver), to: identity)
        services.connected(identity, at: wall)
        tellReady(table.entries)
        shared.connected(identity, isSessionPresent: answer.isSessionPresent)
        // The registry may have changed before this connection could be found in the list of those that are here.
        if let reason = grant.objection() { close(reason) }
    }

    /// Asks for what waits in the queues of those whose messages this connection takes. A subscription for somebody
    /// else's child is kept, and means nothing until the child is its own.
    func tellReady(_ subscriptions: some Sequence<StoredSubscription>) {
        guard let identity = attached?.dispatch.identity else { return }
        for entry in subscriptions where entry.subscription == .cloudToDevice {
            if case .child(let child) = entry.scope {
                guard shared.dependencies.intake.right(of: identity.device, for: child) == .granted else { continue }
                shared.dependencies.services.cloudToDeviceReady(HubIdentity(child))
            } else {
                shared.dependencies.services.cloudToDeviceReady(identity)
            }
        }
    }

    /// The connection is over, or will be as soon as TLS is done: the will, and who has to know.
    func ended() {
        guard attached?.hasEnded != true else { return }
        let loss = session.connectionLost()
        guard let attached else { return }
        self.attached?.hasEnded = true
        let reason = closeReason ?? .connectionLost
        shared.dependencies.throttles?.endTelemetry(of: attached.dispatch.identity.device, pace)
        if closeReason == nil {
            shared.closes(reason, device: attached.dispatch.identity, from: context?.remoteAddress)
        }
        if case .publishWill(let will) = loss, let bag = attached.willBag {
            let text = bag.isEmpty ? "iothub-MessageType=Will" : bag + "&iothub-MessageType=Will"
            Array(text.utf8).withUnsafeBytes { bag in
                will.payload.withUnsafeBytes { append(source: .will, bag: bag, body: $0) }
            }
            shard.scheduleSeal()
        }
        if shared.dependencies.connected.disconnect(attached.link) {
            shared.dependencies.services.disconnected(
                attached.dispatch.identity, at: shared.dependencies.now(), reason: reason)
        }
    }
}

/// Why a CONNECT is refused before anybody is asked.
private struct ConnectFault: Error {
    let sentence: String

    init(_ sentence: String) { self.sentence = sentence }
}
