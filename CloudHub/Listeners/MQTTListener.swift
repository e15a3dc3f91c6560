import EventLog
public import NIOCore
import NIOPosix
import NIOSSL
import Sessions
import Synchronization

/// Takes MQTT 3.1.1 over TLS from devices and gateways.
public final class MQTTListener: Sendable {
    public struct Configuration: Sendable, Hashable {
        /// Default 127.0.0.1.
        public var host = "127.0.0.1"
        /// 0 takes a free port. Default 8883.
        public var port = 8883
        /// More are closed as they come. Default 50,000.
        public var connectionsMax = 50_000
        /// Handshake and CONNECT must be done by then. Default 10 s.
        public var connectTimeout = Duration.seconds(10)
        /// Bytes of events that wait for the disk, over all loops; beyond that nothing is read. Default 64 MiB.
        public var waitingBytesMax = 64 << 20
        /// How long `stop` waits for what is on its way to the disk. Default 5 s.
        public var drainTimeout = Duration.seconds(5)

        public init() {}
    }

    private struct Shard {
        let eventLoop: any EventLoop
        let bound: NIOLoopBound<LoopShard>
    }

    private struct Running {
        let channel: any Channel
        let shards: [Shard]
        let conditionToken: WakeToken
    }

    private let configuration: Configuration
    private let tls: ServerTLS
    private let dependencies: MQTTDependencies
    private let group: any EventLoopGroup
    private let collected = ListenerMetrics()
    private let running = Mutex<Running?>(nil)

    /// - Parameter group: its loops carry the connections; it must outlive the listener.
    public init(
        configuration: Configuration, tls: ServerTLS, dependencies: MQTTDependencies, group: any EventLoopGroup
    ) {
        self.configuration = configuration
        self.tls = tls
        self.dependencies = dependencies
        self.group = group
    }

    /// What happened so far, over all loops; a loop's own part comes in with its next group.
    public var counts: ListenerCounts { collected.total }

    /// Binds and accepts.
    /// - Returns: the port.
    /// - Throws: the operating system's error when the address cannot be bound.
    public func start() async throws -> Int {
        let shards = try await makeShards()
        let byLoop = Dictionary(uniqueKeysWithValues: shards.map { (ObjectIdentifier($0.eventLoop), $0.bound) })
        let shared = ListenerShared(
            dependencies: dependencies, connectTimeout: configuration.connectTimeout,
            connectionsMax: configuration.connectionsMax)
        let tls = tls
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 512, maximum: 65_536)
            )
            // One read a turn: what is left makes the socket ready again, and mostly nothing is.
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                guard shared.connectionOpens() else { return channel.close() }
                guard let shard = byLoop[ObjectIdentifier(channel.eventLoop)]?.value else {
                    preconditionFailure("a connection runs on a loop of the listener's own group")
                }
                return channel.eventLoop.makeCompletedFuture {
                    let connection = MQTTConnection(shard: shard, shared: shared)
                    let handler = tls.makeHandler(connection.clientChain)
                    try channel.pipeline.syncOperations.addHandlers([handler, connection])
                }
            }
            .bind(host: configuration.host, port: configuration.port).get()
        let token = dependencies.eventLog.onCondition { condition in
            let isStalled = condition != .storing
            for shard in shards { shard.eventLoop.execute { shard.bound.value.stallChanged(isStalled) } }
        }
        running.withLock { $0 = Running(channel: channel, shards: shards, conditionToken: token) }
        return channel.localAddress?.port ?? configuration.port
    }

    /// Accepts nothing more, waits for what is on its way to the disk, closes every connection.
    public func stop() async {
        let taken = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let taken else { return }
        try? await taken.channel.close()  // an error means that it is closed already
        await withTaskGroup(of: Void.self) { tasks in
            for shard in taken.shards {
                tasks.addTask { await self.drain(shard) }
            }
        }
    }

    private func drain(_ shard: Shard) async {
        let limit = TimeAmount(configuration.drainTimeout)
        let bound = shard.bound
        try? await shard.eventLoop.flatSubmit { bound.value.drain(limit: limit) }.get()  // it never fails
    }

    private func makeShards() async throws -> [Shard] {
        let loops = Array(group.makeIterator())
        let log = dependencies.eventLog
        let throttles = dependencies.throttles
        let bytesMax = configuration.waitingBytesMax / max(1, loops.count)
        var shards: [Shard] = []
        for loop in loops {
            let bound = try await loop.submit { [collected] in
                let shard = LoopShard(
                    eventLoop: loop, log: log, bytesMax: bytesMax, metrics: collected, throttles: throttles)
                return NIOLoopBound(shard, eventLoop: loop)
            }.get()
            shards.append(Shard(eventLoop: loop, bound: bound))
        }
        return shards
    }
}
