import CNIOBoringSSL
import NIOCore

/// What the TLS connections of one event loop read from and write to while the library is called, so that none of them
/// keeps a buffer between two calls. Never leaves its loop.
public final class TLSWire {
    private var input = UnsafeRawBufferPointer(start: nil, count: 0)
    private var output = ByteBuffer()
    /// One for all connections of the loop: it has no state of its own.
    private let bio: OpaquePointer

    public init() {
        guard let bio = BIO_new(Self.method) else { preconditionFailure("there is memory for a BIO") }
        self.bio = bio
        BIO_set_data(bio, Unmanaged.passUnretained(self).toOpaque())
        BIO_set_init(bio, 1)
    }

    deinit {
        // A connection that outlives the wire finds nothing behind it.
        BIO_set_data(bio, nil)
        BIO_free(bio)
    }

    /// The connection owns a reference from now on, for both directions.
    func attach(to ssl: OpaquePointer) {
        BIO_up_ref(bio)
        SSL_set_bio(ssl, bio, bio)
    }

    /// Runs the body with these bytes as what came from the peer. What it leaves of them is lost.
    func feeding<Outcome>(_ bytes: ByteBuffer, _ body: () -> Outcome) -> Outcome {
        bytes.withUnsafeReadableBytes { bytes in
            input = bytes
            defer { input = UnsafeRawBufferPointer(start: nil, count: 0) }
            return body()
        }
    }

    /// Whether the library has taken all of the peer's bytes.
    var isDrained: Bool { input.isEmpty }

    /// What the library wrote since the last call.
    func takeOutput() -> ByteBuffer {
        defer { output = ByteBuffer() }
        return output
    }

    // MARK: - What the library calls

    private func read(_ target: UnsafeMutablePointer<CChar>, _ count: Int32) -> Int32 {
        let taken = min(Int(count), input.count)
        guard taken > 0, let start = input.baseAddress else { return 0 }
        UnsafeMutableRawPointer(target).copyMemory(from: start, byteCount: taken)
        input = UnsafeRawBufferPointer(rebasing: input[taken...])
        return Int32(taken)
    }

    private func write(_ source: UnsafePointer<CChar>, _ count: Int32) {
        output.writeBytes(UnsafeRawBufferPointer(start: source, count: max(0, Int(count))))
    }

    private static func behind(_ bio: OpaquePointer?) -> TLSWire? {
        BIO_get_data(bio).map { Unmanaged<TLSWire>.fromOpaque($0).takeUnretainedValue() }
    }

    // Made once, never changed and never freed.
    nonisolated(unsafe) private static let method: OpaquePointer? = {
        let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "event loop")
        BIO_meth_set_read(method) { bio, target, count in
            BIO_clear_retry_flags(bio)
            guard let wire = TLSWire.behind(bio), let target else { return -1 }
            let taken = wire.read(target, count)
            if taken > 0 { return taken }
            BIO_set_retry_read(bio)
            return -1
        }
        BIO_meth_set_write(method) { bio, source, count in
            BIO_clear_retry_flags(bio)
            guard let wire = TLSWire.behind(bio), let source else { return -1 }
            wire.write(source, count)
            return count
        }
        BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        return method
    }()
}
