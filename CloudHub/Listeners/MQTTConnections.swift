import EventLog
import MQTTCodec
public import NIOCore
import Sessions
import Synchronization

/// What carries MQTT's bytes was broken by the peer: fired by a handler before the connection, and told as its end.
public struct TransportViolation: Error, Sendable, Hashable {
    /// What the peer did, to follow "the device broke the MQTT protocol: ".
    public let sentence: String
    public var isRetryable: Bool { false }

    public init(_ sentence: String) { self.sentence = sentence }
}

/// Everything that speaks MQTT, whichever port it came by: the loops' groups, the limits and the counts are the same.
public final class MQTTConnections: Sendable {
    private struct Shard {
        let eventLoop: any EventLoop
        let bound: NIOLoopBound<LoopShard>
    }

    private struct Running {
        let shards: [Shard]
        let byLoop: [ObjectIdentifier: NIOLoopBound<LoopShard>]
        let conditionToken: WakeToken
    }

    private let configuration: MQTTListener.Configuration
    private let shared: ListenerShared
    private let group: any EventLoopGroup
    private let collected = ListenerMetrics()
    private let running = Mutex<Running?>(nil)

    init(configuration: MQTTListener.Configuration, dependencies: MQTTDependencies, group: any EventLoopGroup) {
        self.configuration = configuration
        self.group = group
        shared = ListenerShared(dependencies: dependencies, connectTimeout: configuration.connectTimeout)
    }

    var counts: ListenerCounts { collected.total }

    /// Longest packet that is taken. Unit: bytes.
    public var packetBytesMax: Int { shared.codecLimits.packetBytesMax }

    /// The channel speaks MQTT from now on: a connection is put at the end of its pipeline. It closes when the hub stops.
    ///
    /// Call it on the channel's loop, one of the listener's own group, once TLS is in the pipeline.
    ///
    /// - Parameters:
    ///   - chain: what the TLS handler of the channel fills.
    ///   - position: handlers behind it hear nothing that the peer sends.
    public func add(
        to channel: any Channel, _ chain: ClientChain,
        position: ChannelPipeline.SynchronousOperations.Position = .last
    ) throws {
        let shard = running.withLock { $0?.byLoop[ObjectIdentifier(channel.eventLoop)] }
        guard let shard = shard?.value, !shard.isStopping else { throw ChannelError.alreadyClosed }
        try channel.pipeline.syncOperations.addHandler(
            MQTTConnection(shard: shard, shared: shared, clientChain: chain), position: position)
    }

    func handshakeFailed(_ error: any Error, _ chain: ClientChain, from address: SocketAddress?) {
        shared.transportFailed(error, device: nil, from: address)
        noteFailedHandshake(error, chain, on: .mqtt, from: address)
    }

    /// Tells the journal of the device that a client certificate names why a handshake failed behind it, on any port.
    /// Call it on the connection's loop.
    public func noteFailedHandshake(
        _ error: any Error, _ chain: ClientChain, on port: ServerTLS.Port, from address: SocketAddress?
    ) {
        guard let certificate = chain.takeUnproven(), let sentence = HandshakeFailure.sentence(error, on: port) else {
            return
        }
        shared.handshakeFailed(sentence, showing: certificate, from: address)
    }

    func start() async throws {
        let shards = try await makeShards()
        let token = shared.dependencies.eventLog.onCondition { condition in
            let isStalled = condition != .storing
            for shard in shards { shard.eventLoop.execute { shard.bound.value.stallChanged(isStalled) } }
        }
        let byLoop = Dictionary(uniqueKeysWithValues: shards.map { (ObjectIdentifier($0.eventLoop), $0.bound) })
        running.withLock { $0 = Running(shards: shards, byLoop: byLoop, conditionToken: token) }
    }

    /// Waits for what is on its way to the disk and closes every connection.
    func stop() async {
        let taken = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let taken else { return }
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
        let log = shared.dependencies.eventLog
        let throttles = shared.dependencies.throttles
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
