import Crypto
public import NIOCore
import Primitives

/// What a request carries; it can be read again for every attempt.
public struct S3Body<Chunks: AsyncSequence & Sendable>: Sendable where Chunks.Element == ByteBuffer {
    let bytes: Int64
    /// SHA-256 in hex: the store refuses a body that is another.
    let hash: String
    let chunks: Chunks?

    /// Reads the chunks once, for their digest.
    public init(_ chunks: Chunks) async throws {
        var digest = SHA256()
        var bytes: Int64 = 0
        for try await chunk in chunks {
            bytes += Int64(chunk.readableBytes)
            chunk.withUnsafeReadableBytes { digest.update(bufferPointer: $0) }
        }
        self.bytes = bytes
        hash = Hex.encode(digest.finalize())
        self.chunks = chunks
    }
}

/// Chunks that come no faster than they are sent: the client takes them as long as its connection has not said that it has
/// enough, and the connection says so only when its event loop comes to the chunks before.
struct PacedChunks<Chunks: AsyncSequence & Sendable>: AsyncSequence, Sendable where Chunks.Element == ByteBuffer {
    private let chunks: Chunks
    private let loop: any EventLoop

    init(_ chunks: Chunks, _ loop: any EventLoop) {
        self.chunks = chunks
        self.loop = loop
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        var inner: Chunks.AsyncIterator
        let loop: any EventLoop

        mutating func next() async throws -> ByteBuffer? {
            let chunk = try await inner.next()
            try await loop.submit {}.get()
            return chunk
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(inner: chunks.makeAsyncIterator(), loop: loop) }
}

/// A body that is in memory.
public struct S3Chunk: AsyncSequence, Sendable {
    let bytes: ByteBuffer

    public struct AsyncIterator: AsyncIteratorProtocol {
        var rest: ByteBuffer?

        public mutating func next() async -> ByteBuffer? { rest.take() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(rest: bytes) }
}

extension S3Body where Chunks == S3Chunk {
    static var none: S3Body { S3Body(bytes: 0, hash: SignatureV4.emptyHash, chunks: nil) }

    init(text: String) {
        let bytes = ByteBuffer(string: text)
        self.init(
            bytes: Int64(bytes.readableBytes), hash: SignatureV4.hash(Array(text.utf8)), chunks: S3Chunk(bytes: bytes))
    }

    private init(bytes: Int64, hash: String, chunks: S3Chunk?) {
        self.bytes = bytes
        self.hash = hash
        self.chunks = chunks
    }
}
