import MQTTCodec
import MQTTSession
import NIOCore
import Primitives
import Testing

/// One input to a session and the action it has to give.
struct Step: Sendable {
    let input: String
    /// `nil` when the action was the expected one, else what it was.
    let run: @Sendable (inout ServerSession) -> String?

    private static func check<Action: Equatable & Sendable>(
        _ input: String, _ expected: Action, _ apply: @escaping @Sendable (inout ServerSession) -> Action
    ) -> Step {
        Step(input: input) { session in
            let action = apply(&session)
            return action == expected ? nil : "got \(action), expected \(expected)"
        }
    }

    static func receive(
        _ packet: Packet, at seconds: Double = 0, _ expected: ServerSession.PacketAction
    ) -> Step {
        check("\(packet.type) at \(seconds) s", expected) { $0.packetReceived(packet, now: instant(seconds)) }
    }
    static func malformed(_ error: DecodeError, _ expected: ServerSession.RefuseAction) -> Step {
        check("malformed: \(error)", expected) { $0.malformedPacket(error) }
    }
    static func accept(
        sessionPresent: Bool = false, at seconds: Double = 0, _ expected: ServerSession.AcceptAction
    ) -> Step {
        check("accepted", expected) { $0.connectAccepted(sessionPresent: sessionPresent, now: instant(seconds)) }
    }
    static func refuse(_ code: ConnectReturnCode, _ expected: ServerSession.RefuseAction) -> Step {
        check("refused \(code)", expected) { $0.connectRefused(code) }
    }
    static func timer(at seconds: Double, _ expected: ServerSession.TimerAction) -> Step {
        check("timer at \(seconds) s", expected) { $0.timerFired(now: instant(seconds)) }
    }
    static func lost(_ expected: ServerSession.LossAction) -> Step {
        check("connection lost", expected) { $0.connectionLost() }
    }
    static func closeRequested(_ expected: ServerSession.CloseAction) -> Step {
        check("close requested", expected) { $0.closeRequested() }
    }
    static func commit(_ ticket: PublishTicket, _ expected: ServerSession.CommitAction) -> Step {
        check("committed \(ticket.number)", expected) { $0.publishCommitted(ticket) }
    }
    static func commit(through ticket: PublishTicket, _ expected: ServerSession.CommitAction) -> Step {
        check("committed through \(ticket.number)", expected) { $0.publishesCommitted(through: ticket) }
    }
    static func acknowledgements(_ expected: [Acknowledgement]) -> Step {
        check("take acknowledgements", expected) { session in
            var taken: [Acknowledgement] = []
            session.takeAcknowledgements { taken.append($0) }
            return taken
        }
    }
    static func subscribeAnswered(
        _ packetID: PacketID, _ codes: [SubAck.Code], _ expected: ServerSession.AnswerAction
    ) -> Step {
        check("subscribe answered", expected) { $0.subscribeAnswered(packetID, codes: codes) }
    }
    static func unsubscribeAnswered(_ packetID: PacketID, _ expected: ServerSession.AnswerAction) -> Step {
        check("unsubscribe answered", expected) { $0.unsubscribeAnswered(packetID) }
    }
    static func send(_ qos: QoS, _ expected: ServerSession.SendAction) -> Step {
        check("send QoS \(qos.rawValue)", expected) { $0.sendRequested(qos) }
    }
    static func abandon(_ packetID: PacketID) -> Step {
        Step(input: "abandon \(packetID)") { session in
            session.sendAbandoned(packetID)
            return nil
        }
    }
    static func reads(_ expected: Bool) -> Step {
        check("wants reading", expected) { $0.wantsReading }
    }
    static func deadline(_ seconds: Double?) -> Step {
        check("deadline", seconds.map(instant)) { $0.deadline }
    }
}

/// A named run of inputs against one session that is made at 0 s.
struct Script: Sendable, CustomTestStringConvertible {
    let name: String
    var limits = SessionLimits()
    let steps: [Step]

    init(_ name: String, limits: SessionLimits = SessionLimits(), _ steps: [Step]) {
        self.name = name
        self.limits = limits
        self.steps = steps
    }

    /// The same, after a CONNECT that was accepted.
    static func connected(
        _ name: String, limits: SessionLimits = SessionLimits(), with connect: Connect = plainConnect, _ steps: [Step]
    ) -> Script {
        let timer = connect.keepAliveSeconds == 0 ? nil : instant(min(1767, 1.5 * Double(connect.keepAliveSeconds)))
        return Script(
            name, limits: limits,
            [
                .receive(.connect(connect), .authenticate(connect)),
                .accept(.accept(.accepted(isSessionPresent: false), timer: timer)),
            ] + steps)
    }

    var testDescription: String { name }

    func run() {
        var session = ServerSession(limits: limits, now: instant(0))
        for (index, step) in steps.enumerated() {
            if let difference = step.run(&session) {
                Issue.record("step \(index + 1) (\(step.input)): \(difference)")
                return
            }
        }
    }
}

func instant(_ seconds: Double) -> MonotonicInstant { MonotonicInstant(nanoseconds: Int64(seconds * 1e9)) }

func id(_ value: UInt16) -> PacketID {
    guard let id = PacketID(value) else { preconditionFailure("tests use identifiers that exist") }
    return id
}

func message(_ delivery: Publish.Delivery, topic: String = "a/b", isDuplicate: Bool = false) -> Publish {
    let publish = Publish(
        topicName: topic, payload: ByteBuffer(string: "x"), delivery: delivery, isDuplicate: isDuplicate)
    guard let publish else { preconditionFailure("tests use topics that can be sent") }
    return publish
}

/// The ticket of the n-th acknowledged message of a connection, counted from zero.
func ticket(_ number: Int) -> PublishTicket {
    var session = ServerSession(limits: SessionLimits(publishQoSMax: .exactlyOnce), now: instant(0))
    _ = session.packetReceived(.connect(plainConnect), now: instant(0))
    _ = session.connectAccepted(sessionPresent: false, now: instant(0))
    for _ in 0..<number { _ = session.packetReceived(.publish(message(.atLeastOnce(.first))), now: instant(0)) }
    guard
        case .deliver(_, let ticket?) = session.packetReceived(
            .publish(message(.atLeastOnce(.first))), now: instant(0))
    else { preconditionFailure("a PUBLISH of QoS 1 has a ticket") }
    return ticket
}

let plainConnect = Connect(clientID: "gateway-1", isCleanSession: false, keepAliveSeconds: 60)
let cleanConnect = Connect(clientID: "gateway-1", isCleanSession: true, keepAliveSeconds: 60)
let will = Will(topicName: "devices/gateway-1/messages/events/", payload: [1, 2], qos: .atLeastOnce)
let connectWithWill = Connect(clientID: "gateway-1", isCleanSession: false, keepAliveSeconds: 60, will: will)
