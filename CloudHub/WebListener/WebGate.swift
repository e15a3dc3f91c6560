import Listeners
import NIOCore
import NIOHTTP1
import NIOTLS

/// The first moments of a connection: waits for the handshake and the first bytes, makes the pipeline of what is spoken,
/// and leaves.
final class WebGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let shared: WebShared
    private let clientChain: ClientChain
    private let requestBy: NIODeadline
    private var timer: Scheduled<Void>?
    private var held = ByteBuffer()
    private static let lateAnswer = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

    init(shared: WebShared, clientChain: ClientChain) {
        self.shared = shared
        self.clientChain = clientChain
        requestBy = .now() + TimeAmount(shared.limits.requestTimeout)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: requestBy) { self.isLate(context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case TLSUserEvent.handshakeCompleted(let negotiated)? = event as? TLSUserEvent, negotiated == "mqtt"
        else {
            context.fireUserInboundEventTriggered(event)
            return
        }
        pass(context) { try shared.mqtt.add(to: context.channel, clientChain) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = Self.unwrapInboundIn(data)
        held.writeBuffer(&bytes)
        switch FirstLine.route(held.readableBytesView) {
        case .webSocket?: pass(context) { try openWebSocket(context.channel) }
        case .pages?:
            pass(context) {
                try shared.http.open(
                    context.channel, peer(context), requestBy: requestBy,
                    upgrade: LateUpgrade(shared: shared, clientChain: clientChain))
            }
        case nil: break
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        shared.handshakeFailed(error, clientChain, from: context.remoteAddress)
        context.close(promise: nil)
    }

    private func peer(_ context: ChannelHandlerContext) -> WebPeer {
        WebPeer(
            address: context.remoteAddress?.ipAddress, certificate: clientChain.shown)
    }

    private func openWebSocket(_ channel: any Channel) throws {
        let decoder = HTTPRequestDecoder(
            leftOverBytesStrategy: .forwardBytes, limitConfiguration: HTTPConnections.headerLimits)
        try channel.pipeline.syncOperations.addHandlers([
            HTTPResponseEncoder(), ByteToMessageHandler(decoder),
            WebSocketDoor(shared: shared, clientChain: clientChain, requestBy: requestBy),
        ])
    }

    /// `open` puts its handlers behind this one, which hands over what it holds and leaves.
    private func pass(_ context: ChannelHandlerContext, _ open: () throws -> Void) {
        do {
            try open()
        } catch {
            context.close(promise: nil)  // the hub is stopping
            return
        }
        if held.readableBytes > 0 { context.fireChannelRead(Self.wrapInboundOut(held)) }
        held = ByteBuffer()
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    private func isLate(_ context: ChannelHandlerContext) {
        shared.http.refused("the request did not come in time", from: context.remoteAddress)
        if held.readableBytes > 0 {
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: Self.lateAnswer)), promise: nil)
        }
        context.close(promise: nil)
    }
}
