import AsyncHTTPClient
public import NIOCore

/// Bytes of an object on their way: read as fast as they are asked for, and given up when they no longer are.
public struct S3Content: AsyncSequence, Sendable {
    let body: HTTPClientResponse.Body

    public struct AsyncIterator: AsyncIteratorProtocol {
        var inner: HTTPClientResponse.Body.AsyncIterator

        public mutating func next() async throws -> ByteBuffer? { try await inner.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(inner: body.makeAsyncIterator()) }
}
