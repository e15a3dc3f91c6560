import MQTTCodec
import Primitives

/// A session whose CONNECT was accepted. Owned by `ServerSession` as the value of its `active` state.
struct ActiveSession: ~Copyable {
    /// Whether the connection survives a packet.
    enum Ending {
        case goesOn
        /// It is to be closed; this will is then to be published.
        case ends(Will?)
    }

    private let limits: SessionLimits
    let will: Will?
    private var keepAlive: KeepAlive
    private(set) var inboundExactlyOnce: InboundExactlyOnce
    private var unanswered: AcknowledgementQueue
    private var window: InflightWindow
    private var subscriptionsWaiting = 0

    init(
        limits: SessionLimits, will: Will?, keepAlive: consuming KeepAlive, inboundExactlyOnce: InboundExactlyOnce
    ) {
        self.limits = limits
        self.will = will
        self.keepAlive = keepAlive
        self.inboundExactlyOnce = inboundExactlyOnce
        unanswered = AcknowledgementQueue(countMax: limits.unansweredCountMax)
        window = InflightWindow(countMax: limits.inflightCountMax)
    }

    var deadline: MonotonicInstant? { keepAlive.deadline }

    var wantsReading: Bool {
        unanswered.count < limits.unansweredPauseCount && subscriptionsWaiting < limits.subscriptionAnswersMax
    }

    mutating func timerFired(now: MonotonicInstant) -> KeepAlive.TimerAction { keepAlive.timerFired(now: now) }

    mutating func packetReceived(
        _ packet: consuming Packet, now: MonotonicInstant
    ) -> (ServerSession.PacketAction, Ending) {
        keepAlive.packetReceived(now: now)
        switch consume packet {
        case .publish(let publish): return publishReceived(publish)
        case .pubAck(let id): return acknowledged(window.pubAckReceived(id), by: .pubAck, id)
        case .pubRec(let id): return acknowledged(window.pubRecReceived(id), by: .pubRec, id)
        case .pubComp(let id): return acknowledged(window.pubCompReceived(id), by: .pubComp, id)
        case .pubRel(let id):
            guard inboundExactlyOnce.pubRelReceived(id) else { return violation(.pubRelBeforePubRec(id)) }
            return (.reply(.pubComp(id)), .goesOn)
        case .subscribe(let subscribe):
            guard subscribe.requests.allSatisfy({ TopicFilter.isValid($0.topicFilter) }) else {
                return violation(.topicFilterInvalid)
            }
            return subscriptionChange(.subscribe(subscribe))
        case .unsubscribe(let unsubscribe):
            guard unsubscribe.topicFilters.allSatisfy(TopicFilter.isValid) else {
                return violation(.topicFilterInvalid)
            }
            return subscriptionChange(.unsubscribe(unsubscribe))
        case .pingReq: return (.reply(.pingResp), .goesOn)
        case .disconnect: return (.close(.clientDisconnected), .ends(nil))
        case .connect: return violation(.secondConnect)
        case .connAck: return violation(.packetForClients(.connAck))
        case .subAck: return violation(.packetForClients(.subAck))
        case .unsubAck: return violation(.packetForClients(.unsubAck))
        case .pingResp: return violation(.packetForClients(.pingResp))
        }
    }

    private mutating func publishReceived(_ publish: Publish) -> (ServerSession.PacketAction, Ending) {
        guard publish.qos <= limits.publishQoSMax else {
            return (.close(.qosUnsupported(publish.qos)), .ends(will))
        }
        guard let id = publish.packetID else { return (.deliver(publish, nil), .goesOn) }
        let isExactlyOnce = publish.qos == .exactlyOnce
        if isExactlyOnce {
            switch inboundExactlyOnce.publishOutcome(id) {
            case .isNew: break
            case .isCommitting: return (.ignore, .goesOn)
            case .isReceived: return (.reply(.pubRec(id)), .goesOn)
            }
            guard inboundExactlyOnce.count < limits.unansweredCountMax else {
                return violation(.tooManyUnanswered(countMax: limits.unansweredCountMax))
            }
        }
        guard !unanswered.isFull else { return violation(.tooManyUnanswered(countMax: limits.unansweredCountMax)) }
        if isExactlyOnce { inboundExactlyOnce.publishReceived(id) }
        return (.deliver(publish, unanswered.publishReceived(id, isExactlyOnce: isExactlyOnce)), .goesOn)
    }

    private mutating func subscriptionChange(
        _ action: ServerSession.PacketAction
    ) -> (ServerSession.PacketAction, Ending) {
        guard subscriptionsWaiting < limits.subscriptionAnswersMax else {
            return violation(.tooManySubscriptionsWaiting(countMax: limits.subscriptionAnswersMax))
        }
        subscriptionsWaiting += 1
        return (action, .goesOn)
    }

    private func acknowledged(
        _ outcome: InflightWindow.Outcome, by type: PacketType, _ id: PacketID
    ) -> (ServerSession.PacketAction, Ending) {
        switch outcome {
        case .completed: (.outboundAcknowledged(id), .goesOn)
        case .release: (.reply(.pubRel(id)), .goesOn)
        // After a reconnect the client may still be half-way through a message that this connection never sent: PUBREL
        // lets it finish, the other acknowledgements need no answer.
        case .unknown: (type == .pubRec ? .reply(.pubRel(id)) : .ignore, .goesOn)
        case .mismatched: violation(.acknowledgementMismatched(type, id))
        }
    }

    private func violation(_ violation: ProtocolViolation) -> (ServerSession.PacketAction, Ending) {
        (.close(.protocolViolation(violation)), .ends(will))
    }

    // MARK: From the shell

    mutating func publishCommitted(_ ticket: PublishTicket) -> ServerSession.CommitAction {
        unanswered.committed(ticket)
        return commitAction
    }

    mutating func publishSettlesAlone(_ ticket: PublishTicket) { unanswered.settlesAlone(ticket) }

    mutating func publishesCommitted(through ticket: PublishTicket) -> ServerSession.CommitAction {
        unanswered.committed(through: ticket)
        return commitAction
    }

    private var commitAction: ServerSession.CommitAction {
        if unanswered.isFrontCommitted { return .acknowledge }
        return unanswered.count > 0 ? .awaitEarlier : .ignore
    }

    mutating func takeAcknowledgements(_ send: (Acknowledgement) -> Void) -> Int {
        var count = 0
        while let acknowledgement = unanswered.next() {
            if case .pubRec(let id) = acknowledgement { inboundExactlyOnce.pubRecSent(id) }
            send(acknowledgement)
            count += 1
        }
        return count
    }

    mutating func subscriptionsAnswered(_ reply: Packet) -> ServerSession.AnswerAction {
        precondition(subscriptionsWaiting > 0, "there is no SUBSCRIBE or UNSUBSCRIBE to answer")
        subscriptionsWaiting -= 1
        return .reply(reply)
    }

    mutating func sendRequested(_ qos: QoS) -> ServerSession.SendAction {
        switch qos {
        case .atMostOnce: .send(.atMostOnce)
        case .atLeastOnce: window.reserve(qos).map { .send(.atLeastOnce($0)) } ?? .windowFull
        case .exactlyOnce: window.reserve(qos).map { .send(.exactlyOnce($0)) } ?? .windowFull
        }
    }

    mutating func sendAbandoned(_ id: PacketID) { window.release(id) }
}
