public import MQTTCodec
public import Primitives

/// The hub's side of one MQTT 3.1.1 connection: what is allowed when, and what is answered.
///
/// The shell passes in what happens and does what the returned action says. After `.close` or `.refuse` every further
/// packet is ignored; when the socket is gone, whoever closed it, the shell calls `connectionLost` once and so learns of
/// the will.
public struct ServerSession: ~Copyable {
    private enum Phase {
        /// Nothing heard. Exits: `awaitingAnswer`, `ended`.
        case awaitingConnect(deadline: MonotonicInstant)
        /// The shell asks the registry. Exits: `active`, `ended`.
        case awaitingAnswer(Opening, deadline: MonotonicInstant)
        /// Connected. Exit: `ended`.
        case active
        /// To be closed, or closed. Holds the will until it is asked for. No exit.
        case ended(Will?)
    }

    /// What CONNECT said that matters after it was accepted.
    private struct Opening {
        let keepAliveSeconds: UInt16
        let isCleanSession: Bool
        let will: Will?
    }

    private let limits: SessionLimits
    private var phase: Phase
    /// There exactly in the phase `active`. It stands beside the phase and not inside it, because it is changed in place:
    /// taking it out and putting it back cost a third of a PUBLISH.
    private var active: ActiveSession?

    /// A connection whose socket was accepted at `now`. Set a timer to `deadline`.
    public init(limits: SessionLimits = SessionLimits(), now: MonotonicInstant) {
        limits.check()
        self.limits = limits
        phase = .awaitingConnect(deadline: now + limits.connectTimeout)
    }

    /// When `timerFired` should be called next; `nil`: never. It moves later by itself as packets come; the timer need not
    /// follow, because firing early is answered with `.rearm`.
    public var deadline: MonotonicInstant? {
        switch phase {
        case .awaitingConnect(let deadline), .awaitingAnswer(_, let deadline): deadline
        case .active: activeDeadline
        case .ended: nil
        }
    }

    /// Whether the shell should go on reading from the socket. It changes to `false` when many messages wait to become
    /// durable, and back with `takeAcknowledgements`.
    public var wantsReading: Bool {
        switch phase {
        case .awaitingConnect: true
        case .awaitingAnswer, .ended: false
        case .active: activeWantsReading
        }
    }

    /// What a shell that keeps sessions stores for the next connection of this client; `nil` before CONNECT is accepted
    /// and after the end.
    public var inboundExactlyOnce: InboundExactlyOnce? {
        switch active {
        case .some(let session): session.inboundExactlyOnce.resumable
        case .none: nil
        }
    }

    // MARK: From the client

    /// A whole packet arrived.
    public mutating func packetReceived(_ packet: consuming Packet, now: MonotonicInstant) -> PacketAction {
        switch phase {
        case .active:
            guard let (action, ending) = active?.packetReceived(packet, now: now) else {
                preconditionFailure("the phase active has its session")
            }
            if case .ends(let will) = ending { end(will) }
            return action
        case .awaitingConnect(let deadline):
            let (action, opening) = Self.firstPacket(packet)
            phase = opening.map { .awaitingAnswer($0, deadline: deadline) } ?? .ended(nil)
            return action
        case .awaitingAnswer:
            // The client may send before CONNACK (section 3.1.4), but the shell was told to hold that back.
            end(nil)
            return .close(.protocolViolation(.packetBeforeConnAck(packet.type)))
        case .ended:
            return .ignore
        }
    }

    /// The decoder refused the bytes.
    public mutating func malformedPacket(_ error: DecodeError) -> RefuseAction {
        switch phase {
        case .awaitingConnect:
            end(nil)
            // The one malformed packet that has an answer: section 3.1.2.2.
            guard case .protocolLevelUnsupported = error.problem else { return .close(.malformed(error)) }
            return .refuse(.refused(.protocolLevelUnsupported), .malformed(error))
        case .awaitingAnswer, .active:
            end(active?.will ?? nil)
            return .close(.malformed(error))
        case .ended:
            return .ignore
        }
    }

    /// The socket is gone, whoever closed it. Source: section 3.1.2.5.
    public mutating func connectionLost() -> LossAction {
        let will: Will? =
            switch phase {
            case .awaitingConnect, .awaitingAnswer: nil
            case .active: active?.will ?? nil
            case .ended(let kept): kept
            }
        end(nil)
        return will.map { .publishWill($0) } ?? .nothing
    }

    /// The timer that the shell keeps for this session went off.
    public mutating func timerFired(now: MonotonicInstant) -> TimerAction {
        switch phase {
        case .awaitingConnect(let deadline), .awaitingAnswer(_, let deadline):
            guard now >= deadline else { return .rearm(at: deadline) }
            end(nil)
            return .close(.connectTimedOut)
        case .active:
            switch active?.timerFired(now: now) {
            case .closeConnection?:
                end(active?.will ?? nil)
                return .close(.keepAliveTimedOut)
            case .rearm(let deadline)?: return .rearm(at: deadline)
            case .ignore?, nil: return .ignore
            }
        case .ended:
            return .ignore
        }
    }

    // MARK: From the shell

    /// The registry knows the client.
    ///
    /// - Parameters:
    ///   - sessionPresent: whether the hub kept a session; a client that asked for a clean one is told `false`
    ///     [MQTT-3.2.2-1].
    ///   - resuming: the kept session's `inboundExactlyOnce`; dropped when the client asked for a clean session.
    public mutating func connectAccepted(
        sessionPresent: Bool, resuming inboundExactlyOnce: InboundExactlyOnce = InboundExactlyOnce(),
        now: MonotonicInstant
    ) -> AcceptAction {
        switch phase {
        case .awaitingAnswer(let opening, _):
            let session = ActiveSession(
                limits: limits, will: opening.will,
                keepAlive: KeepAlive(seconds: opening.keepAliveSeconds, silenceMax: limits.silenceMax, now: now),
                inboundExactlyOnce: opening.isCleanSession ? InboundExactlyOnce() : inboundExactlyOnce)
            let deadline = session.deadline
            active = consume session
            phase = .active
            let isPresent = sessionPresent && !opening.isCleanSession
            return .accept(.accepted(isSessionPresent: isPresent), timer: deadline)
        case .ended:
            return .ignore
        case .awaitingConnect, .active:
            preconditionFailure("connectAccepted answers .authenticate, once")
        }
    }

    /// The registry does not let the client in.
    public mutating func connectRefused(_ code: ConnectReturnCode) -> RefuseAction {
        switch phase {
        case .awaitingAnswer:
            end(nil)
            return .refuse(.refused(code), .refused(code))
        case .ended:
            return .ignore
        case .awaitingConnect, .active:
            preconditionFailure("connectRefused answers .authenticate, once")
        }
    }

    /// The hub wants the connection closed: takeover, removed device, expired token, shutdown. The will is published, as
    /// for any end without DISCONNECT.
    public mutating func closeRequested() -> CloseAction {
        switch phase {
        case .awaitingConnect, .awaitingAnswer, .active:
            end(active?.will ?? nil)
            return .close
        case .ended:
            return .ignore
        }
    }

    /// One delivered message is durable.
    public mutating func publishCommitted(_ ticket: PublishTicket) -> CommitAction {
        active?.publishCommitted(ticket) ?? .ignore
    }

    /// This delivered message is stored elsewhere than the others: only its own `publishCommitted` makes it durable, a
    /// later message's `publishesCommitted` does not. Call it when the message is delivered.
    public mutating func publishSettlesAlone(_ ticket: PublishTicket) { active?.publishSettlesAlone(ticket) }

    /// This delivered message and all before it are durable, but for those that settle alone: one call for a whole group
    /// commit.
    public mutating func publishesCommitted(through ticket: PublishTicket) -> CommitAction {
        active?.publishesCommitted(through: ticket) ?? .ignore
    }

    /// Takes every answer that may go, in the order in which the messages came [MQTT-4.6.0-2]; nothing after the end.
    /// - Returns: how many there were.
    @discardableResult
    public mutating func takeAcknowledgements(_ send: (Acknowledgement) -> Void) -> Int {
        active?.takeAcknowledgements(send) ?? 0
    }

    /// The shell settled a SUBSCRIBE: one code for each of its topic filters, in their order.
    public mutating func subscribeAnswered(_ id: PacketID, codes: [SubAck.Code]) -> AnswerAction {
        active?.subscriptionsAnswered(.subAck(SubAck(packetID: id, codes: codes))) ?? .ignore
    }

    /// The shell settled an UNSUBSCRIBE.
    public mutating func unsubscribeAnswered(_ id: PacketID) -> AnswerAction {
        active?.subscriptionsAnswered(.unsubAck(id)) ?? .ignore
    }

    /// The shell has a message for the client. With `.send`, the identifier is taken until `.outboundAcknowledged`.
    public mutating func sendRequested(_ qos: QoS) -> SendAction {
        active?.sendRequested(qos) ?? .notConnected
    }

    /// The message that `sendRequested` gave this identifier to was not sent: its place is free again.
    public mutating func sendAbandoned(_ id: PacketID) { active?.sendAbandoned(id) }

    // MARK: Helpers

    private var activeDeadline: MonotonicInstant? {
        switch active {
        case .some(let session): session.deadline
        case .none: nil
        }
    }

    private var activeWantsReading: Bool {
        switch active {
        case .some(let session): session.wantsReading
        case .none: false
        }
    }

    private mutating func end(_ will: Will?) {
        active = nil
        phase = .ended(will)
    }

    private static func firstPacket(_ packet: Packet) -> (PacketAction, Opening?) {
        guard case .connect(let connect) = packet else {
            return (.close(.protocolViolation(.packetBeforeConnect(packet.type))), nil)
        }
        // [MQTT-3.1.3-8]: without a name there is nothing to keep a session under.
        guard !connect.clientID.isEmpty || connect.isCleanSession else {
            return (.refuse(.refused(.identifierRejected), .refused(.identifierRejected)), nil)
        }
        let opening = Opening(
            keepAliveSeconds: connect.keepAliveSeconds, isCleanSession: connect.isCleanSession, will: connect.will)
        return (.authenticate(connect), opening)
    }
}
