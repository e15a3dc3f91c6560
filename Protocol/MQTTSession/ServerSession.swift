public import MQTTCodec
public import Primitives

/// The hub's side of one MQTT 3.1.1 connection: what is allowed when, and what is answered.
///
/// The shell passes in what happens and does what the returned action says. After `.close` or `.refuse` every further
/// packet is ignored; when the socket is gone, whoever closed it, the shell calls `connectionLost` once and so learns of
/// the will.
public struct ServerSession: ~Copyable {
    private enum State: ~Copyable {
        /// Nothing heard. Exits: `awaitingAnswer`, `ended`.
        case awaitingConnect(deadline: MonotonicInstant)
        /// The shell asks the registry. Exits: `active`, `ended`.
        case awaitingAnswer(Opening, deadline: MonotonicInstant)
        /// Connected. Exit: `ended`.
        case active(ActiveSession)
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
    private var state: State

    /// A connection whose socket was accepted at `now`. Set a timer to `deadline`.
    public init(limits: SessionLimits = SessionLimits(), now: MonotonicInstant) {
        limits.check()
        self.init(limits, .awaitingConnect(deadline: now + limits.connectTimeout))
    }

    private init(_ limits: SessionLimits, _ state: consuming State) {
        self.limits = limits
        self.state = state
    }

    /// When `timerFired` should be called next; `nil`: never. It moves later by itself as packets come; the timer need not
    /// follow, because firing early is answered with `.rearm`.
    public var deadline: MonotonicInstant? {
        switch state {
        case .awaitingConnect(let deadline): deadline
        case .awaitingAnswer(_, let deadline): deadline
        case .active(let session): session.deadline
        case .ended: nil
        }
    }

    /// Whether the shell should go on reading from the socket. It changes to `false` when many messages wait to become
    /// durable, and back with `takeAcknowledgements`.
    public var wantsReading: Bool {
        switch state {
        case .awaitingConnect: true
        case .awaitingAnswer: false
        case .ended: false
        case .active(let session): session.wantsReading
        }
    }

    /// What a shell that keeps sessions stores for the next connection of this client; `nil` before CONNECT is accepted.
    public var inboundExactlyOnce: InboundExactlyOnce? {
        switch state {
        case .awaitingConnect: nil
        case .awaitingAnswer: nil
        case .ended: nil
        case .active(let session): session.inboundExactlyOnce.resumable
        }
    }

    // MARK: From the client

    /// A whole packet arrived.
    public mutating func packetReceived(_ packet: consuming Packet, now: MonotonicInstant) -> PacketAction {
        switch consume state {
        case .active(var session):
            let (action, ending) = session.packetReceived(packet, now: now)
            switch ending {
            case .goesOn: self = Self(limits, .active(session))
            case .ends(let will): self = Self(limits, .ended(will))
            }
            return action
        case .awaitingConnect(let deadline):
            let (action, opening) = Self.firstPacket(packet)
            self = Self(limits, opening.map { .awaitingAnswer($0, deadline: deadline) } ?? .ended(nil))
            return action
        case .awaitingAnswer:
            // The client may send before CONNACK (section 3.1.4), but the shell was told to hold that back.
            self = Self(limits, .ended(nil))
            return .close(.protocolViolation(.packetBeforeConnAck(packet.type)))
        case .ended(let will):
            self = Self(limits, .ended(will))
            return .ignore
        }
    }

    /// The decoder refused the bytes.
    public mutating func malformedPacket(_ error: DecodeError) -> RefuseAction {
        switch consume state {
        case .awaitingConnect:
            self = Self(limits, .ended(nil))
            // The one malformed packet that has an answer: section 3.1.2.2.
            guard case .protocolLevelUnsupported = error.problem else { return .close(.malformed(error)) }
            return .refuse(.refused(.protocolLevelUnsupported), .malformed(error))
        case .awaitingAnswer:
            self = Self(limits, .ended(nil))
            return .close(.malformed(error))
        case .active(let session):
            self = Self(limits, .ended(session.will))
            return .close(.malformed(error))
        case .ended(let will):
            self = Self(limits, .ended(will))
            return .ignore
        }
    }

    /// The socket is gone, whoever closed it. Source: section 3.1.2.5.
    public mutating func connectionLost() -> LossAction {
        let will: Will?
        switch consume state {
        case .awaitingConnect: will = nil
        case .awaitingAnswer: will = nil
        case .active(let session): will = session.will
        case .ended(let kept): will = kept
        }
        self = Self(limits, .ended(nil))
        return will.map { .publishWill($0) } ?? .nothing
    }

    /// The timer that the shell keeps for this session went off.
    public mutating func timerFired(now: MonotonicInstant) -> TimerAction {
        switch consume state {
        case .awaitingConnect(let deadline):
            let isLate = now >= deadline
            self = Self(limits, isLate ? .ended(nil) : .awaitingConnect(deadline: deadline))
            return isLate ? .close(.connectTimedOut) : .rearm(at: deadline)
        case .awaitingAnswer(let opening, let deadline):
            let isLate = now >= deadline
            self = Self(limits, isLate ? .ended(nil) : .awaitingAnswer(opening, deadline: deadline))
            return isLate ? .close(.connectTimedOut) : .rearm(at: deadline)
        case .active(var session):
            switch session.timerFired(now: now) {
            case .closeConnection:
                self = Self(limits, .ended(session.will))
                return .close(.keepAliveTimedOut)
            case .rearm(let deadline):
                self = Self(limits, .active(session))
                return .rearm(at: deadline)
            case .ignore:
                self = Self(limits, .active(session))
                return .ignore
            }
        case .ended(let will):
            self = Self(limits, .ended(will))
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
        switch consume state {
        case .awaitingAnswer(let opening, _):
            let session = ActiveSession(
                limits: limits, will: opening.will,
                keepAlive: KeepAlive(seconds: opening.keepAliveSeconds, silenceMax: limits.silenceMax, now: now),
                inboundExactlyOnce: opening.isCleanSession ? InboundExactlyOnce() : inboundExactlyOnce)
            let deadline = session.deadline
            self = Self(limits, .active(session))
            let isPresent = sessionPresent && !opening.isCleanSession
            return .accept(.accepted(isSessionPresent: isPresent), timer: deadline)
        case .ended(let will):
            self = Self(limits, .ended(will))
            return .ignore
        case .awaitingConnect: preconditionFailure("connectAccepted answers .authenticate; there was no CONNECT")
        case .active: preconditionFailure("connectAccepted answers .authenticate, once")
        }
    }

    /// The registry does not let the client in.
    public mutating func connectRefused(_ code: ConnectReturnCode) -> RefuseAction {
        switch consume state {
        case .awaitingAnswer:
            self = Self(limits, .ended(nil))
            return .refuse(.refused(code), .refused(code))
        case .ended(let will):
            self = Self(limits, .ended(will))
            return .ignore
        case .awaitingConnect: preconditionFailure("connectRefused answers .authenticate; there was no CONNECT")
        case .active: preconditionFailure("connectRefused answers .authenticate, once")
        }
    }

    /// The hub wants the connection closed: takeover, removed device, expired token, shutdown. The will is published, as
    /// for any end without DISCONNECT.
    public mutating func closeRequested() -> CloseAction {
        switch consume state {
        case .awaitingConnect:
            self = Self(limits, .ended(nil))
            return .close
        case .awaitingAnswer:
            self = Self(limits, .ended(nil))
            return .close
        case .active(let session):
            self = Self(limits, .ended(session.will))
            return .close
        case .ended(let will):
            self = Self(limits, .ended(will))
            return .ignore
        }
    }

    /// One delivered message is durable.
    public mutating func publishCommitted(_ ticket: PublishTicket) -> CommitAction {
        withActive(else: .ignore) { $0.publishCommitted(ticket) }
    }

    /// This delivered message and all before it are durable: one call for a whole group commit.
    public mutating func publishesCommitted(through ticket: PublishTicket) -> CommitAction {
        withActive(else: .ignore) { $0.publishesCommitted(through: ticket) }
    }

    /// Takes every answer that may go, in the order in which the messages came [MQTT-4.6.0-2]; nothing after the end.
    /// - Returns: how many there were.
    @discardableResult
    public mutating func takeAcknowledgements(_ send: (Acknowledgement) -> Void) -> Int {
        withActive(else: 0) { $0.takeAcknowledgements(send) }
    }

    /// The shell settled a SUBSCRIBE: one code for each of its topic filters, in their order.
    public mutating func subscribeAnswered(_ id: PacketID, codes: [SubAck.Code]) -> AnswerAction {
        withActive(else: .ignore) { $0.subscriptionsAnswered(.subAck(SubAck(packetID: id, codes: codes))) }
    }

    /// The shell settled an UNSUBSCRIBE.
    public mutating func unsubscribeAnswered(_ id: PacketID) -> AnswerAction {
        withActive(else: .ignore) { $0.subscriptionsAnswered(.unsubAck(id)) }
    }

    /// The shell has a message for the client. With `.send`, the identifier is taken until `.outboundAcknowledged`.
    public mutating func sendRequested(_ qos: QoS) -> SendAction {
        withActive(else: .notConnected) { $0.sendRequested(qos) }
    }

    /// The shell sends a message again that an earlier connection sent under this identifier and the client did not
    /// acknowledge (section 4.4). Do it before any `sendRequested`.
    public mutating func redeliveryRequested(_ id: PacketID, _ qos: QoS) -> SendAction {
        withActive(else: .notConnected) { $0.redeliveryRequested(id, qos) }
    }

    // MARK: Helpers

    private mutating func withActive<Action>(
        else otherwise: Action, _ body: (inout ActiveSession) -> Action
    ) -> Action {
        switch consume state {
        case .active(var session):
            let action = body(&session)
            self = Self(limits, .active(session))
            return action
        case .awaitingConnect(let deadline): self = Self(limits, .awaitingConnect(deadline: deadline))
        case .awaitingAnswer(let opening, let deadline):
            self = Self(limits, .awaitingAnswer(opening, deadline: deadline))
        case .ended(let will): self = Self(limits, .ended(will))
        }
        return otherwise
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
