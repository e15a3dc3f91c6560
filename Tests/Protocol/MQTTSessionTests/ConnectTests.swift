import MQTTCodec
import MQTTSession
import Testing

/// Section 3.1 and 3.2: from the accepted socket to CONNACK.
struct ConnectTests {
    @Test(arguments: scripts) func script(_ script: Script) { script.run() }

    static let nameless = Connect(clientID: "", isCleanSession: false, keepAliveSeconds: 0)
    static let namelessClean = Connect(clientID: "", isCleanSession: true, keepAliveSeconds: 0)
    static let level = DecodeError(.protocolLevelUnsupported(5), at: 8, in: .connect)
    static let broken = DecodeError(.textNotUTF8, at: 14, in: .connect)

    static let scripts: [Script] = [
        Script(
            "accepted",
            [
                .deadline(10),
                .receive(.connect(plainConnect), at: 1, .authenticate(plainConnect)),
                .reads(false),
                .deadline(10),
                .accept(at: 2, .accept(.accepted(isSessionPresent: false), timer: instant(92))),
                .reads(true),
                .deadline(92),
            ]),
        Script(
            "a kept session is announced",
            [
                .receive(.connect(plainConnect), .authenticate(plainConnect)),
                .accept(sessionPresent: true, .accept(.accepted(isSessionPresent: true), timer: instant(90))),
            ]),
        Script(
            "a clean session is never present [MQTT-3.2.2-1]",
            [
                .receive(.connect(cleanConnect), .authenticate(cleanConnect)),
                .accept(sessionPresent: true, .accept(.accepted(isSessionPresent: false), timer: instant(90))),
            ]),
        Script(
            "refused by the registry, then deaf, and its will is not published",
            [
                .receive(.connect(connectWithWill), .authenticate(connectWithWill)),
                .refuse(.notAuthorized, .refuse(.refused(.notAuthorized), .refused(.notAuthorized))),
                .receive(.pingReq, .ignore),
                .timer(at: 11, .ignore),
                .lost(.nothing),
            ]),
        Script(
            "first packet is not CONNECT [MQTT-3.1.0-1]",
            [
                .receive(.pingReq, .close(.protocolViolation(.packetBeforeConnect(.pingReq)))),
                .receive(.connect(plainConnect), .ignore),
                .lost(.nothing),
            ]),
        Script(
            "a packet before CONNACK closes",
            [
                .receive(.connect(connectWithWill), .authenticate(connectWithWill)),
                .receive(.pingReq, .close(.protocolViolation(.packetBeforeConnAck(.pingReq)))),
                .accept(.ignore),
                .lost(.nothing),
            ]),
        Script(
            "no name and no clean session is refused [MQTT-3.1.3-8]",
            [
                .receive(
                    .connect(nameless), .refuse(.refused(.identifierRejected), .refused(.identifierRejected))),
                .lost(.nothing),
            ]),
        Script(
            "no name and a clean session goes to the registry",
            [
                .receive(.connect(namelessClean), .authenticate(namelessClean)),
                .accept(.accept(.accepted(isSessionPresent: false), timer: nil)),
            ]),
        Script(
            "an unsupported level is answered with return code 1 [MQTT-3.1.2-2]",
            [
                .malformed(level, .refuse(.refused(.protocolLevelUnsupported), .malformed(level))),
                .malformed(level, .ignore),
            ]),
        Script("any other malformed CONNECT is only closed", [.malformed(broken, .close(.malformed(broken)))]),
        Script(
            "a malformed packet while the registry is asked closes",
            [
                .receive(.connect(plainConnect), .authenticate(plainConnect)),
                .malformed(level, .close(.malformed(level))),
                .refuse(.notAuthorized, .ignore),
            ]),
        Script(
            "silence until the deadline closes, not a moment earlier",
            [
                .timer(at: 9.999, .rearm(at: instant(10))),
                .timer(at: 10, .close(.connectTimedOut)),
                .timer(at: 11, .ignore),
            ]),
        Script(
            "a registry that does not answer in time closes",
            [
                .receive(.connect(plainConnect), at: 9, .authenticate(plainConnect)),
                .timer(at: 9.5, .rearm(at: instant(10))),
                .timer(at: 10, .close(.connectTimedOut)),
                .accept(.ignore),
            ]),
        Script("lost before CONNECT", [.lost(.nothing), .timer(at: 20, .ignore)]),
        Script(
            "lost while the registry is asked",
            [
                .receive(.connect(connectWithWill), .authenticate(connectWithWill)),
                .lost(.nothing),
                .accept(.ignore),
            ]),
        Script("closed by the hub before CONNECT", [.closeRequested(.close), .closeRequested(.ignore)]),
        .connected(
            "second CONNECT is a violation [MQTT-3.1.0-2]", with: connectWithWill,
            [
                .receive(.connect(connectWithWill), .close(.protocolViolation(.secondConnect))),
                .lost(.publishWill(will)),
            ]),
    ]
}
