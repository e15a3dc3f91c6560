internal import COpenSSL
internal import Connectivity
internal import Glibc
internal import MQTTClient
internal import Tunnels

/// What went wrong, as the operator is told.
extension HubLink {
    func unreachable(_ error: Int32) -> LinkProblem {
        if let proxy = endpoint.proxy { return .proxyFailed(proxy: proxy.name, detail: systemText(error)) }
        let (host, port) = (endpoint.host, endpoint.port)
        if error == ECONNREFUSED { return .connectionRefused(host: host, port: port) }
        return .unreachable(host: host, port: port, detail: systemText(error))
    }

    func problem(of failure: TLSFailure) -> LinkProblem {
        let host = endpoint.host
        switch failure {
        case .certificate(let code): return certificateProblem(code)
        case .failed(let reason): return wasAccepted ? .lost(detail: reason) : .tlsFailed(host: host, detail: reason)
        case .system(let error):
            guard case .securing = phase else { return .lost(detail: systemText(error)) }
            // Whoever speaks no TLS ends the connection; whether that arrives as a reset or as an end is chance.
            let isEnd = error == ECONNRESET || error == EPIPE
            return .tlsFailed(host: host, detail: isEnd ? Self.endedEarly : systemText(error))
        case .closed:
            if case .securing = phase { return .tlsFailed(host: host, detail: Self.endedEarly) }
            return .lost(detail: "the hub closed the connection")
        }
    }

    /// OpenSSL's words for it.
    private static var endedEarly: String { "unexpected eof while reading" }

    private func certificateProblem(_ code: Int) -> LinkProblem {
        let host = endpoint.host
        switch Int32(clamping: code) {
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: return .wrongHostName(host: host)
        case X509_V_ERR_CERT_HAS_EXPIRED: return .certificateExpired(host: host)
        case X509_V_ERR_CERT_NOT_YET_VALID: return .certificateNotYetValid(host: host)
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            return .unknownCertificateAuthority(host: host, caFile: endpoint.caFile ?? "")
        default:
            return .certificateRefused(host: host, reason: String(cString: X509_verify_cert_error_string(code)))
        }
    }

    func problem(of error: ClientError) -> LinkProblem {
        switch error {
        case .refused(let code):
            .refused(code: Int(code), host: endpoint.host, device: session.clientID)
        case .silent: .silent(host: endpoint.host)
        case .malformed(let what): .lost(detail: "the hub sent \(what)")
        case .tooManyUnacknowledged(let countMax):
            .lost(detail: "the hub sent more than \(countMax) messages without waiting for their acknowledgement")
        }
    }

    func webSocketProblem(of error: TunnelError) -> LinkProblem {
        if case .asking = phase { return .lost(detail: "the hub's web server says nothing about the time") }
        switch error {
        case .refused(let status): return refused("it answers with HTTP status \(status)")
        case .malformed(let detail) where wasAccepted: return .lost(detail: detail)
        case .malformed(let detail): return refused(detail)
        case .closed(let code): return .lost(detail: "the hub closed the WebSocket with code \(code)")
        }
    }

    private func refused(_ detail: String) -> LinkProblem {
        .webSocketRefused(host: endpoint.host, port: endpoint.port, detail: detail)
    }

    func proxyProblem(of error: TunnelError, _ proxy: HubEndpoint.Proxy) -> LinkProblem {
        switch error {
        case .refused(let status):
            .proxyRefused(proxy: proxy.name, host: endpoint.host, port: endpoint.port, status: status)
        case .malformed(let detail): .proxyFailed(proxy: proxy.name, detail: detail)
        case .closed: .proxyFailed(proxy: proxy.name, detail: "it closed the connection")
        }
    }
}
