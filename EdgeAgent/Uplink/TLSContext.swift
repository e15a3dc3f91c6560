internal import COpenSSL
internal import Connectivity
internal import Glibc
internal import Primitives

/// The TLS settings of one connection attempt, as an `SSL_CTX` of ours. libmosquitto takes such a context as it is:
/// peer verification, host name, versions and ALPN are all set here, or they would not be checked at all.
///
/// A class, because OpenSSL's verify callback finds it through a pointer in the context.
final class TLSContext {
    let context: OpaquePointer
    private let settings: UplinkSettings
    private var isAddress = false
    /// The first error of the certificate check, an `X509_V_ERR_…` number; 0 while there was none.
    private(set) var verifyError: Int32 = 0

    /// - Parameter certificateTime: what the check takes for the present, in seconds since 1970; `nil` for the
    ///   system's clock.
    init(_ settings: UplinkSettings, certificateTime: Int64?) throws(LinkFailure) {
        guard let made = SSL_CTX_new(TLS_client_method()) else {
            throw LinkFailure(.credentialsUnusable(detail: "OpenSSL gave no context: \(Self.lastError())"))
        }
        context = made
        self.settings = settings
        ERR_clear_error()
        // Everything is initialised from here on, so that a throw runs `deinit`, which frees the context.
        Self.setProtocols(made, port: settings.port)
        isAddress = try Self.setHostName(made, settings.hubHost)
        try Self.setTrust(made, settings, certificateTime: certificateTime)
        try Self.setCredentials(made, settings.credentials)
        SSL_CTX_set_ex_data(made, 0, Unmanaged.passUnretained(self).toOpaque())
        SSL_CTX_set_verify(made, SSL_VERIFY_PEER) { isGood, store in
            if isGood == 0, let store { TLSContext.note(store) }
            return isGood
        }
        // libmosquitto connects to an address and would name that one to the server.
        SSL_CTX_set_info_callback(made) { connection, place, _ in
            if place & SSL_CB_HANDSHAKE_START != 0, let connection { TLSContext.nameHost(to: connection) }
        }
    }

    deinit {
        SSL_CTX_set_ex_data(context, 0, nil)
        SSL_CTX_free(context)
    }

    /// What the certificate check said, as a problem; `nil` when it did not refuse anything.
    var certificateProblem: LinkProblem? {
        let host = settings.hubHost
        switch verifyError {
        case X509_V_OK: return nil
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: return .wrongHostName(host: host)
        case X509_V_ERR_CERT_HAS_EXPIRED: return .certificateExpired(host: host)
        case X509_V_ERR_CERT_NOT_YET_VALID: return .certificateNotYetValid(host: host)
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            return .unknownCertificateAuthority(host: host, caFile: settings.caFile ?? "")
        default:
            return .certificateRefused(
                host: host, reason: String(cString: X509_verify_cert_error_string(Int(verifyError))))
        }
    }

    private static func note(_ store: OpaquePointer) {
        guard let connection = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
            let owner = owner(of: OpaquePointer(connection))
        else { return }
        if owner.verifyError == 0 { owner.verifyError = X509_STORE_CTX_get_error(store) }
    }

    /// Server name indication: the configured name, and none for an address. Source: RFC 6066 section 3.
    private static func nameHost(to connection: OpaquePointer) {
        guard let owner = owner(of: connection) else { return }
        let name = owner.isAddress ? nil : strdup(owner.settings.hubHost)
        defer { free(name) }
        // The header has this as a macro around SSL_ctrl, which copies the name.
        SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), name)
    }

    private static func owner(of connection: OpaquePointer) -> TLSContext? {
        guard let context = SSL_get_SSL_CTX(connection), let pointer = SSL_CTX_get_ex_data(context, 0) else {
            return nil
        }
        return Unmanaged<TLSContext>.fromOpaque(pointer).takeUnretainedValue()
    }

    private static func setProtocols(_ context: OpaquePointer, port: Int) {
        // The header has these as macros around SSL_CTX_ctrl.
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
        SSL_CTX_ctrl(context, SSL_CTRL_MODE, Int(SSL_MODE_RELEASE_BUFFERS), nil)
        if port == 443 {
            let protocols: [UInt8] = [4] + Array("mqtt".utf8)
            SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count))
        }
    }

    /// - Returns: whether the host is an IP address.
    private static func setHostName(_ context: OpaquePointer, _ host: String) throws(LinkFailure) -> Bool {
        let parameters = SSL_CTX_get0_param(context)
        X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        let isAddress = X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1
        guard isAddress || X509_VERIFY_PARAM_set1_host(parameters, host, 0) == 1 else {
            throw LinkFailure(.credentialsUnusable(detail: "\(host) is not a host name"))
        }
        ERR_clear_error()
        return isAddress
    }

    private static func setTrust(
        _ context: OpaquePointer, _ settings: UplinkSettings, certificateTime: Int64?
    ) throws(LinkFailure) {
        if let certificateTime {
            X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(context), time_t(certificateTime))
        }
        guard let caFile = settings.caFile else {
            SSL_CTX_set_default_verify_paths(context)
            return
        }
        guard SSL_CTX_load_verify_locations(context, caFile, nil) == 1 else {
            throw LinkFailure(
                .credentialsUnusable(detail: "the CA file \(caFile) cannot be read as PEM (\(lastError()))"))
        }
    }

    private static func setCredentials(
        _ context: OpaquePointer, _ credentials: UplinkSettings.Credentials
    ) throws(LinkFailure) {
        guard case .certificate(let certificateFile, let keyFile) = credentials else { return }
        guard SSL_CTX_use_certificate_chain_file(context, certificateFile) == 1 else {
            throw LinkFailure(
                .credentialsUnusable(
                    detail: "the certificate file \(certificateFile) cannot be read as PEM (\(lastError()))"))
        }
        guard SSL_CTX_use_PrivateKey_file(context, keyFile, SSL_FILETYPE_PEM) == 1 else {
            throw LinkFailure(
                .credentialsUnusable(
                    detail:
                        "the key file \(keyFile) cannot be read, or does not fit \(certificateFile) (\(lastError()))"))
        }
    }

    /// The reason of the oldest error of this thread, without numbers; empties the queue.
    private static func lastError() -> String {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0, let reason = ERR_reason_error_string(code) else { return "no reason given" }
        return String(cString: reason)
    }
}

/// A link problem on its way through `throws`.
struct LinkFailure: Error {
    let problem: LinkProblem
    init(_ problem: LinkProblem) { self.problem = problem }
}
