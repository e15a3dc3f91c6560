public import Logging
public import NIOCore
import NIOPosix
import Synchronization

/// One TCP port of the hub, and the one place where connections are let in: whatever port they came to, nothing was read
/// from them and TLS has not begun.
public final class AcceptPort: Sendable {
    public struct Configuration: Sendable, Hashable {
        /// Default 127.0.0.1.
        public var host = "127.0.0.1"
        /// 0 takes a free port, which is the default.
        public var port = 0
        /// More are closed as they come. Default 50,000.
        public var connectionsMax = 50_000

        public init() {}
    }

    private let configuration: Configuration
    private let logger: Logger
    private let complaints = Complaints()
    private let group: any EventLoopGroup
    private let connectionCount = Mutex(0)
    private let channel = Mutex<(any Channel)?>(nil)

    /// - Parameter group: its loops carry the connections; it must outlive the port.
    public init(configuration: Configuration, group: any EventLoopGroup, logger: Logger) {
        self.configuration = configuration
        self.group = group
        self.logger = logger
    }

    /// Binds and accepts.
    ///
    /// - Parameter open: makes the pipeline of a connection that was let in, on its loop, before anything is read.
    /// - Returns: the port.
    /// - Throws: the operating system's error when the address cannot be bound.
    public func start(_ open: @escaping @Sendable (any Channel) throws -> Void) async throws -> Int {
        let bound = try await ServerBootstrap(group: group)
            // As many as the system allows, and each of them accepted within a turn or two.
            .serverChannelOption(.backlog, value: 65_535)
            .serverChannelOption(.maxMessagesPerRead, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 512, maximum: 65_536)
            )
            // One read a turn: what is left makes the socket ready again, and mostly nothing is.
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in self.accept(channel, open) }
            .bind(host: configuration.host, port: configuration.port).get()
        channel.withLock { $0 = bound }
        return bound.localAddress?.port ?? configuration.port
    }

    /// Accepts nothing more; connections that are open stay.
    public func stop() async {
        let taken = channel.withLock { channel in
            defer { channel = nil }
            return channel
        }
        try? await taken?.close()  // an error means that it is closed already
    }

    private func accept(
        _ channel: any Channel, _ open: @Sendable (any Channel) throws -> Void
    ) -> EventLoopFuture<Void> {
        guard admits() else { return channel.close() }
        channel.closeFuture.whenComplete { _ in self.connectionCount.withLock { $0 -= 1 } }
        return channel.eventLoop.makeCompletedFuture { try open(channel) }
    }

    private func admits() -> Bool {
        let isAdmitted = connectionCount.withLock { count in
            guard count < configuration.connectionsMax else { return false }
            count += 1
            return true
        }
        if !isAdmitted, complaints.mayComplain(about: "connections") {
            logger.warning(
                "a connection was refused because the listener is full; raise its limit or spread the devices",
                metadata: ["connectionsMax": "\(configuration.connectionsMax)"])
        }
        return isAdmitted
    }
}
