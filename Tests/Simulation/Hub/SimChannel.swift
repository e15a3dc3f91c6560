import NIOCore
import NIOEmbedded
import SimulationWorld

@testable import Listeners

/// The hub's end: the real connection handler in a channel without a socket.
final class SimChannel: ServerEnd, @unchecked Sendable {
    let channel: EmbeddedChannel
    private let gate = ReadGate()
    private let wire: Wire
    private let moved: () -> Void
    private var arrived: [[UInt8]] = []

    init(
        _ wire: Wire, shard: LoopShard, shared: ListenerShared, loop: EmbeddedEventLoop, moved: @escaping () -> Void
    ) throws {
        self.wire = wire
        self.moved = moved
        let connection = MQTTConnection(shard: shard, shared: shared, clientChain: ClientChain())
        channel = EmbeddedChannel(handlers: [gate, connection], loop: loop)
        try channel.connect(to: SocketAddress(ipAddress: "192.0.2.1", port: 8883)).wait()
    }

    func receive(_ bytes: [UInt8]) {
        arrived.append(bytes)
        moved()
    }

    func peerClosed() {
        channel.close(promise: nil)
        moved()
    }

    /// Hands over what arrived as far as the hub reads, and sends what it wrote.
    /// - Returns: whether anything happened.
    func pump() -> Bool {
        var isMoved = false
        while !arrived.isEmpty, gate.isOpen, channel.isActive {
            gate.isOpen = false
            _ = try? channel.writeInbound(ByteBuffer(bytes: arrived.removeFirst()))
            channel.pipeline.fireChannelReadComplete()
            channel.pipeline.read()
            isMoved = true
        }
        while let bytes = try? channel.readOutbound(as: ByteBuffer.self) {
            wire.down(Array(bytes.readableBytesView))
            isMoved = true
        }
        return isMoved
    }

    func closed(isSilent: Bool) { wire.serverClosed(isSilent: isSilent) }
}

/// Where a socket would be read: opens when somebody asks for more.
private final class ReadGate: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var isOpen = true

    func read(context: ChannelHandlerContext) { isOpen = true }
}
