internal import COpenSSL
internal import Connectivity
internal import Glibc
internal import Primitives

/// Why a TLS connection is over.
enum TLSFailure: Error {
    /// The certificate check, an `X509_V_ERR_…` number.
    case certificate(Int)
    /// In OpenSSL's words.
    case failed(String)
    case system(Int32)
    /// The peer said goodbye.
    case closed
}

/// One TLS connection on a socket that does not block.
final class TLSConnection {
    private let connection: OpaquePointer
    private let socket: SocketHandle
    /// What is read at once: a TLS record. One for all, because a new one each time would move the heap's end up and down.
    private let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 * 1024, alignment: 16)
    /// The socket has to take bytes before anything goes on.
    private(set) var wantsWrite = false
    /// The check of a resumed session: seconds since 1970, `nil` for the system's clock.
    private let certificateTime: Int64?

    var descriptor: Int32 { socket.descriptor }

    init(_ context: TLSContext, on socket: SocketHandle, certificateTime: Int64?) throws(TLSFailure) {
        ERR_clear_error()
        guard let made = SSL_new(context.context) else {
            piece.deallocate()
            throw .failed(OpenSSLError.text())
        }
        connection = made
        self.socket = socket
        self.certificateTime = certificateTime
        guard SSL_set_fd(made, socket.descriptor) == 1 else { throw .failed(OpenSSLError.text()) }
        if let certificateTime { X509_VERIFY_PARAM_set_time(SSL_get0_param(made), time_t(certificateTime)) }
        if !context.isAddress {
            // The header has this as a macro around SSL_ctrl, which copies the name.
            let name = strdup(context.endpoint.host)
            defer { free(name) }
            SSL_ctrl(made, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), name)
        }
        if let session = context.takeSession() {
            SSL_set_session(made, session)
            SSL_SESSION_free(session)
        }
        SSL_set_connect_state(made)
    }

    deinit {
        SSL_free(connection)
        piece.deallocate()
    }

    var isResumed: Bool { SSL_session_reused(connection) == 1 }
    /// Bytes of TLS on the wire so far.
    var bytesSent: UInt64 { BIO_number_written(SSL_get_wbio(connection)) }
    var bytesReceived: UInt64 { BIO_number_read(SSL_get_rbio(connection)) }

    /// - Returns: whether the handshake is over.
    func handshake() throws(TLSFailure) -> Bool {
        guard try perform({ SSL_do_handshake($0) }) != nil else { return false }
        if isResumed { try checkEnd() }
        return true
    }

    /// Reads one piece. `nil` when nothing is there; the bytes are good until the next call.
    func read() throws(TLSFailure) -> UnsafeRawBufferPointer? {
        let count = try perform { SSL_read($0, piece.baseAddress, Int32(piece.count)) }
        return count.map { UnsafeRawBufferPointer(rebasing: piece[..<Int($0)]) }
    }

    /// Writes from the front of the queue as much as the socket takes.
    func write(_ bytes: inout ByteQueue) throws(TLSFailure) {
        while !bytes.isEmpty {
            let written = try bytes.withBytes { (all) throws(TLSFailure) in
                try perform { SSL_write($0, all.baseAddress, Int32(clamping: all.count)) }
            }
            guard let written else { return }
            bytes.removeFirst(Int(written))
        }
    }

    /// Says goodbye, as far as the socket takes it at once.
    func close() {
        ERR_clear_error()
        SSL_shutdown(connection)
        ERR_clear_error()
    }

    /// `nil` when it has to wait for the socket.
    private func perform(_ call: (OpaquePointer) -> Int32) throws(TLSFailure) -> Int32? {
        ERR_clear_error()
        wantsWrite = false
        errno = 0
        let result = call(connection)
        let systemError = errno
        guard result <= 0 else { return result }
        switch SSL_get_error(connection, result) {
        case SSL_ERROR_WANT_READ: return nil
        case SSL_ERROR_WANT_WRITE:
            wantsWrite = true
            return nil
        case SSL_ERROR_ZERO_RETURN: throw .closed
        case SSL_ERROR_SYSCALL: throw systemError == 0 ? .closed : .system(systemError)
        default:
            let checked = SSL_get_verify_result(connection)
            throw checked == Int(X509_V_OK) ? .failed(OpenSSLError.text()) : .certificate(checked)
        }
    }

    /// When the hub's certificate ends, in seconds since 1970; `nil` before the handshake.
    var certificateEnd: Int64? {
        guard let certificate = SSL_get0_peer_certificate(connection) else { return nil }
        var parts = tm()
        guard ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) == 1 else { return nil }
        return Int64(timegm(&parts))
    }

    /// A resumed session was checked when it was new; only time has passed since.
    private func checkEnd() throws(TLSFailure) {
        guard let certificate = SSL_get0_peer_certificate(connection) else { throw .failed("no certificate") }
        var present = certificateTime.map { time_t($0) } ?? time(nil)
        if X509_cmp_time(X509_get0_notAfter(certificate), &present) < 0 {
            throw .certificate(Int(X509_V_ERR_CERT_HAS_EXPIRED))
        }
    }
}
