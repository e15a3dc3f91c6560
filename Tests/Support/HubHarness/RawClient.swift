import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A TLS connection that sends whatever bytes a test wants and keeps whatever comes back.
public final class RawClient: Sendable {
    private struct State {
        var received: [UInt8] = []
        var isClosed = false
        var waiters: [(enough: @Sendable ([UInt8], Bool) -> Bool, promise: EventLoopPromise<[UInt8]>)] = []
    }

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let state: Mutex<State>

        init() { state = Mutex(State()) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Array(Self.unwrapInboundIn(data).readableBytesView)
            settle { $0.received += bytes }
        }

        func channelInactive(context: ChannelHandlerContext) { settle { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func settle(_ change: (inout State) -> Void) {
            let (ready, bytes) = state.withLock { state in
                change(&state)
                let (received, isClosed) = (state.received, state.isClosed)
                let ready = state.waiters.filter { $0.enough(received, isClosed) }.map(\.promise)
                state.waiters.removeAll { $0.enough(received, isClosed) }
                return (ready, received)
            }
            for promise in ready { promise.succeed(bytes) }
        }
    }

    private let channel: any Channel
    private let collector: Collector

    private init(channel: any Channel, collector: Collector) {
        self.channel = channel
        self.collector = collector
    }

    /// - Parameter protocols: what the client offers by ALPN; nothing by default.
    public static func connect(port: Int, protocols: [String] = []) async throws -> RawClient {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configuration.applicationProtocols = protocols
        let context = try NIOSSLContext(configuration: configuration)
        let collector = Collector()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers([
                        try NIOSSLClientHandler(context: context, serverHostname: nil), collector,
                    ])
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawClient(channel: channel, collector: collector)
    }

    /// A client that speaks no TLS.
    public static func connectPlainly(port: Int) async throws -> RawClient {
        let collector = Collector()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { $0.pipeline.addHandler(collector) }
            .connect(host: "127.0.0.1", port: port).get()
        return RawClient(channel: channel, collector: collector)
    }

    public func send(_ text: String) { send(Array(text.utf8)) }

    public func send(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    public var received: [UInt8] { collector.state.withLock { $0.received } }

    /// Everything received once that is at least `count` bytes, or once the hub closed.
    public func bytes(atLeast count: Int) async throws -> [UInt8] {
        try await wait { bytes, isClosed in bytes.count >= count || isClosed }
    }

    /// Everything that came before the hub closed.
    public func bytesUntilClosed() async throws -> [UInt8] { try await wait { _, isClosed in isClosed } }

    public func close() { channel.close(promise: nil) }

    /// Everything received once it ends with this text, or once the hub closed.
    public func bytes(endingWith end: String) async throws -> [UInt8] {
        try await wait { bytes, isClosed in isClosed || bytes.suffix(end.utf8.count).elementsEqual(end.utf8) }
    }

    /// Everything received once it is enough, or once the hub closed.
    public func bytes(until isEnough: @escaping @Sendable ([UInt8]) -> Bool) async throws -> [UInt8] {
        try await wait { bytes, isClosed in isClosed || isEnough(bytes) }
    }

    private func wait(_ enough: @escaping @Sendable ([UInt8], Bool) -> Bool) async throws -> [UInt8] {
        let promise = channel.eventLoop.makePromise(of: [UInt8].self)
        collector.settle { $0.waiters.append((enough, promise)) }
        return try await promise.futureResult.get()
    }
}
