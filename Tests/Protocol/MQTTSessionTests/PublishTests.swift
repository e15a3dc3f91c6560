import MQTTCodec
import MQTTSession
import Primitives
import Testing

/// Sections 3.3 to 3.7, 4.3 and 4.6: messages from the client.
struct PublishTests {
    @Test(arguments: scripts) func script(_ script: Script) { script.run() }

    static let upToQoS2 = SessionLimits(publishQoSMax: .exactlyOnce)
    static var tight: SessionLimits {
        var limits = upToQoS2
        limits.unansweredPauseCount = 2
        limits.unansweredCountMax = 3
        return limits
    }
    static let qos0 = message(.atMostOnce)
    static func qos1(_ number: UInt16) -> Publish { message(.atLeastOnce(id(number))) }
    static func qos2(_ number: UInt16, isDuplicate: Bool = false) -> Publish {
        message(.exactlyOnce(id(number)), isDuplicate: isDuplicate)
    }

    static let scripts: [Script] = [
        .connected("QoS 0 is delivered without a ticket", [.receive(.publish(qos0), .deliver(qos0, nil))]),
        .connected(
            "QoS 1 is acknowledged when it is durable and not before",
            [
                .receive(.publish(qos1(7)), .deliver(qos1(7), ticket(0))),
                .acknowledgements([]),
                .commit(ticket(0), .acknowledge),
                .acknowledgements([.pubAck(id(7))]),
                .acknowledgements([]),
            ]),
        .connected(
            "PUBACKs go in the order of the PUBLISHes [MQTT-4.6.0-2]",
            [
                .receive(.publish(qos1(9)), .deliver(qos1(9), ticket(0))),
                .receive(.publish(qos1(5)), .deliver(qos1(5), ticket(1))),
                .receive(.publish(qos1(7)), .deliver(qos1(7), ticket(2))),
                .commit(ticket(2), .awaitEarlier),
                .commit(ticket(1), .awaitEarlier),
                .acknowledgements([]),
                .commit(ticket(0), .acknowledge),
                .acknowledgements([.pubAck(id(9)), .pubAck(id(5)), .pubAck(id(7))]),
            ]),
        .connected(
            "one commit answers all up to it",
            [
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(0))),
                .receive(.publish(qos1(2)), .deliver(qos1(2), ticket(1))),
                .receive(.publish(qos1(3)), .deliver(qos1(3), ticket(2))),
                .commit(through: ticket(1), .acknowledge),
                .acknowledgements([.pubAck(id(1)), .pubAck(id(2))]),
                .commit(through: ticket(1), .awaitEarlier),
                .commit(through: ticket(2), .acknowledge),
                .acknowledgements([.pubAck(id(3))]),
                .commit(ticket(0), .ignore),
            ]),
        .connected(
            "the same identifier twice is two messages under QoS 1",
            [
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(0))),
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(1))),
                .commit(through: ticket(1), .acknowledge),
                .acknowledgements([.pubAck(id(1)), .pubAck(id(1))]),
            ]),
        .connected(
            "after the end nothing is acknowledged",
            [
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(0))),
                .receive(.disconnect, .close(.clientDisconnected)),
                .commit(ticket(0), .ignore),
                .acknowledgements([]),
            ]),
        .connected(
            "QoS 2 closes unless it is allowed", with: connectWithWill,
            [
                .receive(.publish(qos2(1)), .close(.qosUnsupported(.exactlyOnce))),
                .lost(.publishWill(will)),
            ]),
        .connected(
            "QoS 2 is delivered once and walks PUBREC, PUBREL, PUBCOMP", limits: upToQoS2,
            [
                .receive(.publish(qos2(4)), .deliver(qos2(4), ticket(0))),
                .receive(.publish(qos2(4, isDuplicate: true)), .ignore),
                .commit(ticket(0), .acknowledge),
                .acknowledgements([.pubRec(id(4))]),
                .receive(.publish(qos2(4, isDuplicate: true)), .reply(.pubRec(id(4)))),
                .receive(.pubRel(id(4)), .reply(.pubComp(id(4)))),
                .receive(.pubRel(id(4)), .reply(.pubComp(id(4)))),
                .receive(.publish(qos2(4)), .deliver(qos2(4), ticket(1))),
            ]),
        .connected(
            "PUBREC keeps its place between PUBACKs", limits: upToQoS2,
            [
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(0))),
                .receive(.publish(qos2(2)), .deliver(qos2(2), ticket(1))),
                .receive(.publish(qos1(3)), .deliver(qos1(3), ticket(2))),
                .commit(through: ticket(2), .acknowledge),
                .acknowledgements([.pubAck(id(1)), .pubRec(id(2)), .pubAck(id(3))]),
            ]),
        .connected(
            "PUBREL before PUBREC is a violation", limits: upToQoS2,
            [
                .receive(.publish(qos2(4)), .deliver(qos2(4), ticket(0))),
                .receive(.pubRel(id(4)), .close(.protocolViolation(.pubRelBeforePubRec(id(4))))),
            ]),
        .connected(
            "reading pauses at the pause count and resumes with the acknowledgements", limits: tight,
            [
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(0))),
                .reads(true),
                .receive(.publish(qos1(2)), .deliver(qos1(2), ticket(1))),
                .reads(false),
                .commit(ticket(0), .acknowledge),
                .reads(false),
                .acknowledgements([.pubAck(id(1))]),
                .reads(true),
            ]),
        .connected(
            "more unanswered than the limit closes", limits: tight, with: connectWithWill,
            [
                .receive(.publish(qos1(1)), .deliver(qos1(1), ticket(0))),
                .receive(.publish(qos2(2)), .deliver(qos2(2), ticket(1))),
                .receive(.publish(qos1(3)), .deliver(qos1(3), ticket(2))),
                .receive(.publish(qos0), .deliver(qos0, nil)),
                .receive(.publish(qos1(4)), .close(.protocolViolation(.tooManyUnanswered(countMax: 3)))),
                .reads(false),
                .lost(.publishWill(will)),
            ]),
        .connected(
            "more unreleased QoS 2 identifiers than the limit closes", limits: tight,
            [
                .receive(.publish(qos2(1)), .deliver(qos2(1), ticket(0))),
                .receive(.publish(qos2(2)), .deliver(qos2(2), ticket(1))),
                .receive(.publish(qos2(3)), .deliver(qos2(3), ticket(2))),
                .commit(through: ticket(2), .acknowledge),
                .acknowledgements([.pubRec(id(1)), .pubRec(id(2)), .pubRec(id(3))]),
                .receive(.publish(qos2(4)), .close(.protocolViolation(.tooManyUnanswered(countMax: 3)))),
            ]),
    ]

    @Test func aReceivedQoS2MessageIsRememberedByTheNextConnection() {
        var first = ServerSession(limits: Self.upToQoS2, now: instant(0))
        _ = first.packetReceived(.connect(plainConnect), now: instant(0))
        #expect(first.inboundExactlyOnce == nil)
        _ = first.connectAccepted(sessionPresent: false, now: instant(0))
        _ = first.packetReceived(.publish(Self.qos2(8)), now: instant(0))
        _ = first.packetReceived(.publish(Self.qos2(9)), now: instant(0))
        _ = first.publishCommitted(ticket(0))
        first.takeAcknowledgements { _ in }
        let kept = first.inboundExactlyOnce
        #expect(kept?.count == 1, "9 is not durable: the client has to send it again")

        var second = ServerSession(limits: Self.upToQoS2, now: instant(0))
        _ = second.packetReceived(.connect(plainConnect), now: instant(0))
        _ = second.connectAccepted(sessionPresent: true, resuming: kept ?? InboundExactlyOnce(), now: instant(0))
        let again = Self.qos2(8, isDuplicate: true)
        #expect(second.packetReceived(.publish(again), now: instant(0)) == .reply(.pubRec(id(8))))
        #expect(
            second.packetReceived(.publish(Self.qos2(9)), now: instant(0)) == .deliver(Self.qos2(9), ticket(0)))

        var clean = ServerSession(limits: Self.upToQoS2, now: instant(0))
        _ = clean.packetReceived(.connect(cleanConnect), now: instant(0))
        _ = clean.connectAccepted(sessionPresent: false, resuming: kept ?? InboundExactlyOnce(), now: instant(0))
        #expect(clean.packetReceived(.publish(again), now: instant(0)) == .deliver(again, ticket(0)))
    }

    @Test func aGroupCommitDoesNotSettleAMessageThatIsStoredElsewhere() {
        var session = ServerSession(now: instant(0))
        _ = session.packetReceived(.connect(plainConnect), now: instant(0))
        _ = session.connectAccepted(sessionPresent: false, now: instant(0))
        for value: UInt16 in 1...3 { _ = session.packetReceived(.publish(Self.qos1(value)), now: instant(0)) }
        session.publishSettlesAlone(ticket(1))
        var answered: [PacketID] = []
        #expect(session.publishesCommitted(through: ticket(2)) == .acknowledge)
        session.takeAcknowledgements { if case .pubAck(let id) = $0 { answered.append(id) } }
        #expect(answered == [id(1)], "2 is not durable, and 3 waits for its turn")
        #expect(session.publishCommitted(ticket(1)) == .acknowledge)
        session.takeAcknowledgements { if case .pubAck(let id) = $0 { answered.append(id) } }
        #expect(answered == [id(1), id(2), id(3)])
    }

    @Test func acknowledgementsKeepTheirOrderForAnyOrderOfCommits() {
        for seed in UInt64(0)..<200 {
            var random = SeededRandom(seed: seed)
            var session = ServerSession(now: instant(0))
            _ = session.packetReceived(.connect(plainConnect), now: instant(0))
            _ = session.connectAccepted(sessionPresent: false, now: instant(0))
            var open: [PublishTicket] = []
            var sent: [PacketID] = []
            var answered: [PacketID] = []
            var durable: Set<PacketID> = []
            var idOfTicket: [PublishTicket: PacketID] = [:]
            for _ in 0..<300 {
                if Bool.random(using: &random) || open.isEmpty {
                    let next = id(UInt16.random(in: 1...UInt16.max, using: &random))
                    guard
                        case .deliver(_, let ticket?) = session.packetReceived(
                            .publish(Self.qos1(next.value)), now: instant(0))
                    else {
                        Issue.record("seed \(seed): not delivered")
                        return
                    }
                    open.append(ticket)
                    sent.append(next)
                    idOfTicket[ticket] = next
                } else {
                    let ticket = open.remove(at: Int.random(in: open.indices, using: &random))
                    if let id = idOfTicket[ticket] { durable.insert(id) }
                    _ = session.publishCommitted(ticket)
                    session.takeAcknowledgements { if case .pubAck(let id) = $0 { answered.append(id) } }
                }
            }
            #expect(answered == Array(sent.prefix(answered.count)), "seed \(seed)")
            #expect(answered.allSatisfy(durable.contains), "seed \(seed)")
            if let last = open.max() {
                _ = session.publishesCommitted(through: last)
                session.takeAcknowledgements { if case .pubAck(let id) = $0 { answered.append(id) } }
            }
            #expect(answered == sent, "seed \(seed)")
        }
    }
}
