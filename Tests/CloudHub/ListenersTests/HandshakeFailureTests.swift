import HubTLS
import Testing

@testable import Listeners

@Suite struct HandshakeFailureTests {
    @Test(arguments: [
        ("UNSUPPORTED_PROTOCOL", "the client offers no TLS version from 1.2 on; update the client"),
        ("WRONG_VERSION_NUMBER", "what came is no TLS; this port is for MQTT over TLS only"),
        ("HTTP_REQUEST", "what came is no TLS; this port is for MQTT over TLS only"),
        ("NO_SHARED_CIPHER", "the client offers no cipher that the hub takes; update the client"),
        (
            "KEY_USAGE_BIT_INCORRECT",
            "the client's certificate is not meant for a client by its key usage; have it issued for TLS client authentication"
        ),
        ("DECODE_ERROR", "TLS failed with DECODE_ERROR; check the client's TLS settings"),
    ])
    func aReasonBecomesASentence(name: String, sentence: String) {
        #expect(HandshakeFailure.sentence(reasonName: name, on: .mqtt) == sentence)
    }

    @Test(arguments: ["TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "BAD_PACKET_LENGTH"])
    func aRefusedCertificateSaysWhatToGiveTheClient(name: String) {
        #expect(HandshakeFailure.sentence(reasonName: name, on: .mqtt).hasSuffix("and the right time"))
    }

    @Test func aPeerThatJustGoesAwayIsNothingToWarnOf() {
        #expect(HandshakeFailure.sentence(TLSError.cutOff, on: .web) == nil)
        #expect(HandshakeFailure.sentence(TLSError.leftInHandshake, on: .web) == nil)
    }
}
