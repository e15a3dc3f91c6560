import CNIOBoringSSL
import NIOCore

/// The TLS of one connection, on the side that is connected to: bytes in, bytes out. Never leaves its event loop.
final class TLSConnection {
    /// What came of bytes from the peer.
    struct Received {
        /// Decrypted; empty when no record became whole.
        var plain = ByteBuffer()
        /// The handshake was ended by them.
        var isOpened = false
        var end: End?
    }

    enum End {
        /// The peer says that it sends nothing more.
        case farewell
        case failed(TLSError)
    }

    private let wire: TLSWire
    private let ssl: OpaquePointer
    /// Its callback must find it.
    private let context: TLSServerContext
    private var isOpen = false

    /// - Parameter wire: used by no other connection in the middle of one of the calls below.
    init(_ context: TLSServerContext, wire: TLSWire) throws(TLSError) {
        guard let ssl = context.makeSSL() else { throw .unusable("there is no memory for a TLS connection") }
        self.ssl = ssl
        self.wire = wire
        self.context = context
        wire.attach(to: ssl)
        SSL_set_accept_state(ssl)
        // What only the handshake needs is given back after it.
        SSL_set_shed_handshake_config(ssl, 1)
    }

    deinit { SSL_free(ssl) }

    /// What is to be sent to the peer; ask after each of the calls below.
    func takeOutput() -> ByteBuffer { wire.takeOutput() }

    /// Takes all of the bytes; the start of a record is kept until its rest comes.
    func receive(_ bytes: ByteBuffer) -> Received {
        wire.feeding(bytes) {
            var received = Received()
            if !isOpen {
                goOnWithHandshake(&received)
                guard isOpen else { return received }
            }
            if !wire.isDrained || SSL_pending(ssl) > 0 { decrypt(&received, capacity: bytes.readableBytes) }
            return received
        }
    }

    private func goOnWithHandshake(_ received: inout Received) {
        ERR_clear_error()
        let outcome = SSL_do_handshake(ssl)
        isOpen = outcome == 1
        received.isOpened = isOpen
        if !isOpen { received.end = end(outcome, TLSError.handshakeFailed) }
    }

    /// - Parameter capacity: what is decrypted is shorter than what was encrypted.
    private func decrypt(_ received: inout Received, capacity: Int) {
        var plain = ByteBufferAllocator().buffer(capacity: capacity)
        var outcome: Int32
        repeat {
            outcome = 0
            plain.writeWithUnsafeMutableBytes(minimumWritableBytes: 1) { free in
                outcome = SSL_read(ssl, free.baseAddress, Int32(clamping: free.count))
                return max(0, Int(outcome))
            }
        } while outcome > 0 && (!wire.isDrained || SSL_pending(ssl) > 0)
        received.plain = plain
        if outcome <= 0 { received.end = end(outcome, TLSError.broken) }
    }

    /// `nil` when it goes on with more of the peer's bytes.
    private func end(_ outcome: Int32, _ failure: (String) -> TLSError) -> End? {
        switch SSL_get_error(ssl, outcome) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: nil
        case SSL_ERROR_ZERO_RETURN: .farewell
        default: .failed(failure(TLSError.takeReason()))
        }
    }

    /// - Throws: `TLSError.broken` when nothing more can be sent.
    func send(_ bytes: ByteBuffer) throws(TLSError) {
        let isSent = bytes.withUnsafeReadableBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                let written = SSL_write(ssl, part.baseAddress, Int32(clamping: part.count))
                guard written > 0 else { return false }
                rest = rest.dropFirst(Int(written))
            }
            return true
        }
        guard isSent else { throw .broken(reason: TLSError.takeReason()) }
    }

    /// Says that nothing more is sent.
    func sayFarewell() {
        // Whether the peer has said it too is seen when it comes.
        if SSL_shutdown(ssl) < 0 { ERR_clear_error() }
    }

    // MARK: - What the handshake brought

    var negotiatedProtocol: String? {
        var name: UnsafePointer<UInt8>?
        var length: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &name, &length)
        guard let name, length > 0 else { return nil }
        return String(decoding: UnsafeBufferPointer(start: name, count: Int(length)), as: UTF8.self)
    }

    /// The peer's certificate and what it sent behind it, in DER; empty when it showed none.
    var peerChain: [[UInt8]] {
        guard let chain = SSL_get0_peer_certificates(ssl) else { return [] }
        return (0..<sk_CRYPTO_BUFFER_num(chain)).compactMap { index in
            guard let one = sk_CRYPTO_BUFFER_value(chain, index) else { return nil }
            return Array(UnsafeBufferPointer(start: CRYPTO_BUFFER_data(one), count: CRYPTO_BUFFER_len(one)))
        }
    }
}
