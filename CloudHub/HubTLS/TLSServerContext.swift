import CNIOBoringSSL

/// What all connections of a port begin with: certificate, key and protocols. TLS 1.2 and 1.3.
///
/// A client certificate is asked for, never required, and nothing of it is checked but that the client has its key. A
/// session is kept by its client, in a ticket, together with the certificates that it showed.
public final class TLSServerContext: Sendable {
    // Set up in `init` and only read after it; the library's own locks guard what it changes by itself.
    nonisolated(unsafe) private let context: OpaquePointer
    /// For ALPN as it is written in a handshake, best first; at an address of its own, because the library keeps it.
    nonisolated(unsafe) private let protocols: UnsafeMutableBufferPointer<UInt8>

    /// For TLS 1.2. Forward secrecy first, then the old ones that small devices have.
    private static let ciphers =
        "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES256:ECDHE+AES128:RSA+AESGCM:RSA+AES:!aNULL:!eNULL"

    /// - Parameter names: of protocols, for ALPN, best first; each has 1 to 255 bytes.
    /// - Throws: `TLSError.unusable` when the certificate is none or the key does not fit it.
    public init(_ identity: TLSIdentity, protocols names: [String]) throws(TLSError) {
        guard let context = SSL_CTX_new(TLS_method()) else { throw Self.unusable("TLS cannot be set up") }
        self.context = context
        let list = names.flatMap { [UInt8(clamping: $0.utf8.count)] + Array($0.utf8) }
        protocols = .allocate(capacity: list.count)
        _ = protocols.initialize(from: list)
        guard identity.certificates.withUnsafeBytes(take(chain:)) else {
            throw Self.unusable("the file of the server's certificate holds no certificate in PEM")
        }
        ERR_clear_error()  // the end of the chain counts as an error
        guard identity.key.withUnsafeBytes(take(key:)) else {
            throw Self.unusable(
                "the server's key is none, or does not belong to the certificate; replace both together")
        }
        try setUp()
    }

    deinit {
        SSL_CTX_free(context)
        protocols.deallocate()
    }

    func makeSSL() -> OpaquePointer? { SSL_new(context) }

    private static func unusable(_ what: String) -> TLSError { .unusable("\(what) (\(TLSError.takeReason()))") }

    private func setUp() throws(TLSError) {
        guard SSL_CTX_set_min_proto_version(context, UInt16(TLS1_2_VERSION)) == 1,
            SSL_CTX_set_max_proto_version(context, UInt16(TLS1_3_VERSION)) == 1,
            SSL_CTX_set_cipher_list(context, Self.ciphers) == 1,
            SSL_CTX_set_session_id_context(context, protocols.baseAddress, min(32, protocols.count)) == 1
        else { throw Self.unusable("TLS cannot be set up") }
        // Only the client keeps a session.
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_custom_verify(context, SSL_VERIFY_PEER) { _, _ in ssl_verify_ok }
        SSL_CTX_set_alpn_select_cb(context, Self.chooseProtocol, Unmanaged.passUnretained(self).toOpaque())
    }

    private typealias ChooseProtocol =
        @convention(c) (
            OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
            UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
        ) -> Int32

    /// The best of ours that the client offers; none when it offers only others.
    private static let chooseProtocol: ChooseProtocol = { _, chosen, length, offered, offeredLength, own in
        guard let own, let offered, let chosen, let length else { return SSL_TLSEXT_ERR_NOACK }
        let ours = Unmanaged<TLSServerContext>.fromOpaque(own).takeUnretainedValue().protocols
        var found: UnsafeMutablePointer<UInt8>?
        let outcome = SSL_select_next_proto(
            &found, length, ours.baseAddress, UInt32(ours.count), offered, offeredLength)
        guard outcome == OPENSSL_NPN_NEGOTIATED, let found else { return SSL_TLSEXT_ERR_NOACK }
        chosen.pointee = UnsafePointer(found)
        return SSL_TLSEXT_ERR_OK
    }

    // MARK: - The certificate

    private func take(chain: UnsafeRawBufferPointer) -> Bool {
        guard let text = BIO_new_mem_buf(chain.baseAddress, chain.count) else { return false }
        defer { BIO_free(text) }
        guard let leaf = PEM_read_bio_X509(text, nil, nil, nil) else { return false }
        defer { X509_free(leaf) }
        guard SSL_CTX_use_certificate(context, leaf) == 1 else { return false }
        while let next = PEM_read_bio_X509(text, nil, nil, nil) {
            defer { X509_free(next) }
            guard SSL_CTX_add1_chain_cert(context, next) == 1 else { return false }
        }
        return true
    }

    private func take(key: UnsafeRawBufferPointer) -> Bool {
        guard let text = BIO_new_mem_buf(key.baseAddress, key.count) else { return false }
        defer { BIO_free(text) }
        guard let key = PEM_read_bio_PrivateKey(text, nil, nil, nil) else { return false }
        defer { EVP_PKEY_free(key) }
        return SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1
    }
}
