import HubTLS

/// Why a TLS handshake failed, in words for the operator.
public enum HandshakeFailure {
    /// What is wrong and what to do; `nil` when the peer just went away, or the error is none of a handshake.
    public static func sentence(_ error: any Error, on port: ServerTLS.Port) -> String? {
        if let refusal = error as? HandshakeRefusal { return refusal.sentence }
        guard case .handshakeFailed(let name)? = error as? TLSError else { return nil }
        return sentence(reasonName: name, on: port)
    }

    static func sentence(reasonName name: String, on port: ServerTLS.Port) -> String {
        switch name {
        case "UNSUPPORTED_PROTOCOL":
            "the client offers no TLS version from 1.2 on; update the client"
        case "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST":
            "what came is no TLS; this port is for \(port == .mqtt ? "MQTT" : "HTTPS and MQTT") over TLS only"
        case "NO_SHARED_CIPHER":
            "the client offers no cipher that the hub takes; update the client"
        case "KEY_USAGE_BIT_INCORRECT":
            "the client's certificate is not meant for a client by its key usage; have it issued for TLS client authentication"
        // OpenSSL's clients tell it in plain text within TLS 1.3, which counts as a packet of the wrong length.
        case "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
            "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "BAD_PACKET_LENGTH":
            "the client broke it off and most likely does not take the hub's certificate; give it the hub's ca.pem, a name "
                + "that the certificate covers, and the right time"
        default: "TLS failed with \(name); check the client's TLS settings"
        }
    }
}

extension HandshakeRefusal {
    /// What is wrong and what to do, for the operator.
    var sentence: String {
        switch self {
        case .crowdedOut:
            "too many connections wait for TLS, so the oldest are closed; they come again, and if this goes on, raise "
                + "limits.handshakes_waiting_max or give the hub more processors"
        case .crowdedOutSlow:
            "too many clients began TLS and let the hub wait, so the oldest are closed; if they are devices, raise "
                + "limits.handshakes_slow_max"
        case .timedOut(.silent):
            "the client connected and sent nothing; if it is a device, look at its network or at a proxy in between"
        case .timedOut(.waited):
            "the client waited for its turn longer than limits.handshake_wait; it comes again, and if this goes on, give "
                + "the hub more processors"
        case .timedOut:
            "the client began TLS and did not go on with it within limits.handshake_timeout; look at its network, or raise "
                + "the limit for slow ones"
        }
    }
}
