import MQTTCodec
import MQTTSession
import Testing

/// Everything else between CONNACK and the end: keep alive, subscriptions, messages to the client, the will.
struct ActiveSessionTests {
    @Test(arguments: scripts) func script(_ script: Script) { script.run() }

    static let subscribe = Subscribe(
        packetID: id(3),
        requests: [
            .init(topicFilter: "$iothub/methods/POST/#", qosMax: .exactlyOnce),
            .init(topicFilter: "a/+", qosMax: .atMostOnce),
        ])
    static let unsubscribe = Unsubscribe(packetID: id(4), topicFilters: ["a/+"])
    static let misplaced = Subscribe(packetID: id(5), requests: [.init(topicFilter: "a/b+", qosMax: .atMostOnce)])
    static let malformed = DecodeError(.qosReserved, at: 0, in: .publish)

    static func withKeepAlive(_ seconds: UInt16) -> Connect {
        Connect(clientID: "d", isCleanSession: true, keepAliveSeconds: seconds)
    }
    static func withWindow(_ countMax: Int) -> SessionLimits {
        var limits = SessionLimits()
        limits.inflightCountMax = countMax
        return limits
    }
    static var oneSubscriptionAtATime: SessionLimits {
        var limits = SessionLimits()
        limits.subscriptionAnswersMax = 1
        return limits
    }

    static let scripts: [Script] = keepAlive + subscriptions + outbound + endings

    static let keepAlive: [Script] = [
        .connected(
            "one and a half keep alives of silence close", with: connectWithWill,
            [
                .timer(at: 89.999, .rearm(at: instant(90))),
                .timer(at: 90, .close(.keepAliveTimedOut)),
                .timer(at: 91, .ignore),
                .lost(.publishWill(will)),
            ]),
        .connected(
            "any packet puts the end off",
            [
                .receive(.pingReq, at: 50, .reply(.pingResp)),
                .deadline(140),
                .timer(at: 90, .rearm(at: instant(140))),
                .receive(.pubAck(id(77)), at: 100, .ignore),
                .timer(at: 140, .rearm(at: instant(190))),
                .timer(at: 190, .close(.keepAliveTimedOut)),
            ]),
        .connected(
            "zero turns it off", with: withKeepAlive(0),
            [
                .deadline(nil),
                .timer(at: 1_000_000, .ignore),
            ]),
        .connected("1178 s reaches IoT Hub's cap", with: withKeepAlive(1178), [.deadline(1767)]),
        .connected("1177 s stays below the cap", with: withKeepAlive(1177), [.deadline(1765.5)]),
        .connected(
            "65 535 s is capped", with: withKeepAlive(65_535),
            [
                .timer(at: 1766, .rearm(at: instant(1767))),
                .timer(at: 1767, .close(.keepAliveTimedOut)),
            ]),
        .connected("PINGREQ is answered", [.receive(.pingReq, .reply(.pingResp))]),
    ]

    static let subscriptions: [Script] = [
        .connected(
            "SUBSCRIBE is answered when the shell has settled it",
            [
                .receive(.subscribe(subscribe), .subscribe(subscribe)),
                .subscribeAnswered(
                    id(3), [.grantedAtLeastOnce, .failure],
                    .reply(.subAck(SubAck(packetID: id(3), codes: [.grantedAtLeastOnce, .failure])))),
            ]),
        .connected(
            "UNSUBSCRIBE is answered when the shell has settled it",
            [
                .receive(.unsubscribe(unsubscribe), .unsubscribe(unsubscribe)),
                .unsubscribeAnswered(id(4), .reply(.unsubAck(id(4)))),
            ]),
        .connected(
            "an answer after the end is dropped",
            [
                .receive(.subscribe(subscribe), .subscribe(subscribe)),
                .receive(.disconnect, .close(.clientDisconnected)),
                .subscribeAnswered(id(3), [.failure, .failure], .ignore),
            ]),
        .connected(
            "a misplaced wildcard is a violation [MQTT-4.7.1-3]",
            [
                .receive(.subscribe(misplaced), .close(.protocolViolation(.topicFilterInvalid)))
            ]),
        .connected(
            "a misplaced wildcard in UNSUBSCRIBE too",
            [
                .receive(
                    .unsubscribe(Unsubscribe(packetID: id(1), topicFilters: ["a/#/b"])),
                    .close(.protocolViolation(.topicFilterInvalid)))
            ]),
        .connected(
            "too many waiting pause, then close", limits: oneSubscriptionAtATime,
            [
                .reads(true),
                .receive(.subscribe(subscribe), .subscribe(subscribe)),
                .reads(false),
                .receive(
                    .unsubscribe(unsubscribe), .close(.protocolViolation(.tooManySubscriptionsWaiting(countMax: 1)))),
            ]),
    ]

    static let outbound: [Script] = [
        .connected(
            "QoS 0 needs no identifier", limits: withWindow(1),
            [
                .send(.atMostOnce, .send(.atMostOnce)),
                .send(.atMostOnce, .send(.atMostOnce)),
            ]),
        .connected(
            "QoS 1 takes an identifier until PUBACK, within the window", limits: withWindow(2),
            [
                .send(.atLeastOnce, .send(.atLeastOnce(id(1)))),
                .send(.atLeastOnce, .send(.atLeastOnce(id(2)))),
                .send(.atLeastOnce, .windowFull),
                .receive(.pubAck(id(2)), .outboundAcknowledged(id(2))),
                .receive(.pubAck(id(2)), .ignore),
                .send(.atLeastOnce, .send(.atLeastOnce(id(3)))),
                .send(.atLeastOnce, .windowFull),
            ]),
        .connected(
            "a message that was not sent gives its identifier back", limits: withWindow(1),
            [
                .send(.atLeastOnce, .send(.atLeastOnce(id(1)))),
                .abandon(id(1)),
                .send(.atLeastOnce, .send(.atLeastOnce(id(2)))),
                .receive(.pubAck(id(1)), .ignore),
                .send(.atLeastOnce, .windowFull),
            ]),
        .connected(
            "QoS 2 walks PUBREC, PUBREL, PUBCOMP", limits: withWindow(1),
            [
                .send(.exactlyOnce, .send(.exactlyOnce(id(1)))),
                .receive(.pubRec(id(1)), .reply(.pubRel(id(1)))),
                .receive(.pubRec(id(1)), .reply(.pubRel(id(1)))),
                .send(.exactlyOnce, .windowFull),
                .receive(.pubComp(id(1)), .outboundAcknowledged(id(1))),
                .send(.exactlyOnce, .send(.exactlyOnce(id(2)))),
            ]),
        .connected(
            "the wrong acknowledgement is a violation",
            [
                .send(.exactlyOnce, .send(.exactlyOnce(id(1)))),
                .receive(.pubAck(id(1)), .close(.protocolViolation(.acknowledgementMismatched(.pubAck, id(1))))),
            ]),
        .connected(
            "PUBREC for QoS 1 is a violation",
            [
                .send(.atLeastOnce, .send(.atLeastOnce(id(1)))),
                .receive(.pubRec(id(1)), .close(.protocolViolation(.acknowledgementMismatched(.pubRec, id(1))))),
            ]),
        .connected(
            "PUBCOMP before PUBREC is a violation",
            [
                .send(.exactlyOnce, .send(.exactlyOnce(id(1)))),
                .receive(.pubComp(id(1)), .close(.protocolViolation(.acknowledgementMismatched(.pubComp, id(1))))),
            ]),
        .connected(
            "acknowledgements of an earlier connection's messages do no harm",
            [
                .receive(.pubAck(id(9)), .ignore),
                .receive(.pubRec(id(9)), .reply(.pubRel(id(9)))),
                .receive(.pubComp(id(9)), .ignore),
            ]),
        Script(
            "nothing is sent before CONNACK",
            [
                .send(.atMostOnce, .notConnected),
                .receive(.connect(plainConnect), .authenticate(plainConnect)),
                .send(.atLeastOnce, .notConnected),
            ]),
    ]

    static let endings: [Script] = [
        .connected(
            "DISCONNECT discards the will [MQTT-3.14.4-3]", with: connectWithWill,
            [
                .receive(.disconnect, .close(.clientDisconnected)),
                .receive(.pingReq, .ignore),
                .send(.atMostOnce, .notConnected),
                .lost(.nothing),
            ]),
        .connected(
            "loss publishes the will, once", with: connectWithWill,
            [
                .lost(.publishWill(will)),
                .lost(.nothing),
            ]),
        .connected("no will, nothing to publish", [.lost(.nothing)]),
        .connected(
            "takeover publishes the will", with: connectWithWill,
            [
                .closeRequested(.close),
                .closeRequested(.ignore),
                .receive(.publish(message(.atMostOnce)), .ignore),
                .lost(.publishWill(will)),
            ]),
        .connected(
            "malformed bytes close and publish the will", with: connectWithWill,
            [
                .malformed(malformed, .close(.malformed(malformed))),
                .malformed(malformed, .ignore),
                .timer(at: 500, .ignore),
                .lost(.publishWill(will)),
            ]),
        .connected(
            "CONNACK from a client is a violation",
            [
                .receive(
                    .connAck(.accepted(isSessionPresent: false)),
                    .close(.protocolViolation(.packetForClients(.connAck))))
            ]),
        .connected(
            "SUBACK from a client is a violation",
            [
                .receive(
                    .subAck(SubAck(packetID: id(1), codes: [.failure])),
                    .close(.protocolViolation(.packetForClients(.subAck))))
            ]),
        .connected(
            "UNSUBACK from a client is a violation",
            [
                .receive(.unsubAck(id(1)), .close(.protocolViolation(.packetForClients(.unsubAck))))
            ]),
        .connected(
            "PINGRESP from a client is a violation",
            [
                .receive(.pingResp, .close(.protocolViolation(.packetForClients(.pingResp))))
            ]),
    ]

    @Test func identifiersWrapAroundAndSkipTheOnesInUse() {
        var window = InflightWindow(countMax: 2)
        let held = window.reserve(.atLeastOnce)
        #expect(held == id(1))
        for expected in UInt16(2)...65_535 {
            let next = window.reserve(.atLeastOnce)
            #expect(next == id(expected))
            #expect(window.pubAckReceived(id(expected)) == .completed)
        }
        #expect(window.reserve(.atLeastOnce) == id(2), "1 is still held")
        #expect(window.isFull)
    }
}
