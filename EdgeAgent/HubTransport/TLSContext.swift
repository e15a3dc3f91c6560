internal import COpenSSL
internal import Connectivity
internal import Glibc

/// What all connections to one hub have in common, as an `SSL_CTX`: versions, host name, authorities, our certificate;
/// and the last session, so that the next handshake is short.
///
/// A session is as good as the files that it came about with: whoever changes one of them makes a new context, and with
/// it a full handshake. A class, because OpenSSL's callback finds it through a pointer in the context.
final class TLSContext {
    let context: OpaquePointer
    let endpoint: HubEndpoint
    /// The host is an IP address, so no server name is sent. Source: RFC 6066 section 3.
    private(set) var isAddress = false
    private let library: OpenSSLLibrary
    private let stamps: [FileStamp]
    private var session: OpaquePointer?

    /// - Throws: `.credentialsUnusable`, `.keyProviderUnusable` or `.keyUnusable`.
    init(_ endpoint: HubEndpoint) throws(LinkFailure) {
        stamps = Self.stamps(of: endpoint)
        library = try OpenSSLLibrary(for: endpoint.certificate)
        guard let made = SSL_CTX_new_ex(library.context, library.properties, TLS_client_method()) else {
            throw LinkFailure(.credentialsUnusable(detail: "OpenSSL gave no context: \(OpenSSLError.text())"))
        }
        context = made
        self.endpoint = endpoint
        ERR_clear_error()
        // Everything is initialised from here on, so that a throw runs `deinit`, which frees the context.
        setProtocols()
        try setHostName()
        try setTrust()
        if let certificate = endpoint.certificate { try library.use(certificate, in: made) }
        SSL_CTX_set_verify(made, SSL_VERIFY_PEER, endpoint.isClockInDoubt ? Self.takesNotYetValid : nil)
        keepSessions()
    }

    deinit {
        forgetSession()
        SSL_CTX_set_ex_data(context, 0, nil)
        SSL_CTX_free(context)
    }

    /// Whether the files that it was made from are still the same.
    var isCurrent: Bool { stamps == Self.stamps(of: endpoint) }

    // MARK: Sessions

    /// Gives the session away: TLS 1.3 asks that a ticket be used once (RFC 8446 appendix C.4). The new owner frees it.
    func takeSession() -> OpaquePointer? {
        defer { session = nil }
        return session
    }

    /// The next handshake is a full one.
    func forgetSession() {
        SSL_SESSION_free(session)
        session = nil
    }

    private func keepSessions() {
        SSL_CTX_set_ex_data(context, 0, Unmanaged.passUnretained(self).toOpaque())
        let mode = SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP | SSL_SESS_CACHE_NO_INTERNAL_STORE
        SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, Int(mode), nil)
        SSL_CTX_sess_set_new_cb(context) { connection, session in
            guard let connection, let session, let context = SSL_get_SSL_CTX(connection),
                let pointer = SSL_CTX_get_ex_data(context, 0)
            else { return 0 }
            let owner = Unmanaged<TLSContext>.fromOpaque(pointer).takeUnretainedValue()
            owner.forgetSession()
            // A copy: OpenSSL spoils its own when the connection is lost, as TLS 1.0 asked for. Since TLS 1.1 a lost
            // connection says nothing about its session. Source: RFC 4346 section 7.2.1.
            owner.session = SSL_SESSION_dup(session)
            return 0
        }
    }

    // MARK: Settings

    /// Passes over one single objection.
    private static let takesNotYetValid: @convention(c) (Int32, OpaquePointer?) -> Int32 = { isGood, check in
        guard isGood == 0, let check, X509_STORE_CTX_get_error(check) == X509_V_ERR_CERT_NOT_YET_VALID else {
            return isGood
        }
        X509_STORE_CTX_set_error(check, X509_V_OK)
        return 1
    }

    private func setProtocols() {
        // The header has these as macros around SSL_CTX_ctrl.
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
        let modes =
            UInt32(SSL_MODE_RELEASE_BUFFERS) | UInt32(SSL_MODE_ENABLE_PARTIAL_WRITE)
            | UInt32(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_ctrl(context, SSL_CTRL_MODE, Int(modes), nil)
        let name: String
        switch endpoint.inner {
        case .mqtt where endpoint.port != 443: return
        case .mqtt: name = "mqtt"
        case .webSocket, .date, .document: name = "http/1.1"
        }
        let protocols = [UInt8(name.utf8.count)] + Array(name.utf8)
        SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count))
    }

    private func setHostName() throws(LinkFailure) {
        let parameters = SSL_CTX_get0_param(context)
        X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        isAddress = X509_VERIFY_PARAM_set1_ip_asc(parameters, endpoint.host) == 1
        guard isAddress || X509_VERIFY_PARAM_set1_host(parameters, endpoint.host, 0) == 1 else {
            throw LinkFailure(.credentialsUnusable(detail: "\(endpoint.host) is not a host name"))
        }
        ERR_clear_error()
    }

    private func setTrust() throws(LinkFailure) {
        guard let caFile = endpoint.caFile else {
            SSL_CTX_set_default_verify_paths(context)
            return
        }
        guard SSL_CTX_load_verify_locations(context, caFile, nil) == 1 else {
            throw LinkFailure(
                .credentialsUnusable(detail: "the CA file \(caFile) cannot be read as PEM (\(OpenSSLError.text()))"))
        }
    }

    // MARK: Files

    /// What tells one state of a file from another.
    private struct FileStamp: Equatable {
        let inode: UInt
        let size: Int
        let seconds: Int
        let nanoseconds: Int

        init(_ path: String) {
            var status = stat()
            _ = stat(path, &status)
            (inode, size) = (UInt(status.st_ino), Int(status.st_size))
            (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
        }
    }

    private static func stamps(of endpoint: HubEndpoint) -> [FileStamp] {
        var paths = [endpoint.caFile, endpoint.certificate?.file]
        switch endpoint.certificate?.key {
        case .file(let path), .inProvider(let path, _): paths.append(path)
        case nil: break
        }
        return paths.compactMap { $0.map(FileStamp.init) }
    }
}
