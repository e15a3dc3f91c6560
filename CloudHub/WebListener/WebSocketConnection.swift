import Listeners
import NIOCore
import WebSocketCodec

/// The frames of one WebSocket: what comes in is handed on as plain bytes, and each write goes out as one frame.
final class WebSocketConnection: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Exits: `closing`, `ended`.
        case open
        /// The hub said close and waits for the peer's. Exit: `ended`.
        case closing(EventLoopPromise<Void>?)
        /// Nothing more is said or heard. No exit.
        case ended
    }

    private let shared: WebShared
    private var decoder: WebSocketDecoder
    private var state = State.open
    private var timer: Scheduled<Void>?
    /// A ping that is not answered yet, because the peer does not read. Only the last one needs an answer.
    private var unanswered: ByteBuffer?
    /// Up to here a frame is copied into one buffer with its header, so that it is one TLS record.
    private static let joinedBytesMax = 8 * 1024

    init(shared: WebShared) {
        self.shared = shared
        decoder = WebSocketDecoder(frameBytesMax: shared.mqtt.packetBytesMax)
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        if case .closing(let promise) = state { promise?.succeed() }
        state = .ended
        timer?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // There is nobody left to say close to.
        if case .open = state { state = .ended }
        context.fireErrorCaught(error)
    }

    // MARK: - In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var input = Self.unwrapInboundIn(data)
        var output = context.channel.allocator.buffer(capacity: input.readableBytes)
        do throws(WebSocketError) {
            while let event = try decoder.next(from: &input, into: &output) {
                switch event {
                case .ping(let payload): answer(payload, context)
                case .pong: break
                case .close(let code):
                    handOn(output, context)
                    peerCloses(code, context)
                    return
                }
            }
            handOn(output, context)
        } catch {
            handOn(output, context)
            broken(error, context)
        }
    }

    /// MQTT says so in the log and in the device's journal, and closes.
    private func broken(_ error: WebSocketError, _ context: ChannelHandlerContext) {
        if case .open = state {
            sendClose(error.closeCode, context)
            state = .ended
            context.fireErrorCaught(TransportViolation("in its WebSocket \(error)"))
            context.close(promise: nil)
        } else {
            finish(context)
        }
    }

    private func handOn(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        guard bytes.readableBytes > 0, case .open = state else { return }
        context.fireChannelRead(Self.wrapInboundOut(bytes))
    }

    private func answer(_ ping: ByteBuffer, _ context: ChannelHandlerContext) {
        guard case .open = state else { return }
        guard context.channel.isWritable else {
            unanswered = ping
            return
        }
        var bytes = context.channel.allocator.buffer(capacity: 2 + ping.readableBytes)
        WebSocketFrame.writeHeader(.pong, length: ping.readableBytes, into: &bytes)
        bytes.writeImmutableBuffer(ping)
        context.writeAndFlush(Self.wrapOutboundOut(bytes), promise: nil)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable, let ping = unanswered {
            unanswered = nil
            answer(ping, context)
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - Out

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .open = state else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        let payload = Self.unwrapOutboundIn(data)
        let length = payload.readableBytes
        let isJoined = length <= Self.joinedBytesMax
        var frame = context.channel.allocator.buffer(
            capacity: WebSocketFrame.headerBytesMax + (isJoined ? length : 0))
        WebSocketFrame.writeHeader(.binary, length: length, into: &frame)
        if isJoined {
            frame.writeImmutableBuffer(payload)
            context.write(Self.wrapOutboundOut(frame), promise: promise)
        } else {
            context.write(Self.wrapOutboundOut(frame), promise: nil)
            context.write(Self.wrapOutboundOut(payload), promise: promise)
        }
    }

    // MARK: - The end

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard mode == .all, case .open = state else {
            if case .closing(let first?) = state { context.channel.closeFuture.cascade(to: first) }
            state = .ended
            context.close(mode: mode, promise: promise)
            return
        }
        state = .closing(promise)
        sendClose(1000, context)
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(WebLimits.closeTimeout)) {
            self.finish(context)
        }
    }

    private func peerCloses(_ code: UInt16?, _ context: ChannelHandlerContext) {
        switch state {
        case .open: end(code, context)
        case .closing: finish(context)
        case .ended: break
        }
    }

    /// The last word is ours: what the peer says to it is of no interest.
    private func end(_ code: UInt16?, _ context: ChannelHandlerContext) {
        guard case .open = state else {
            finish(context)
            return
        }
        sendClose(code, context)
        state = .ended
        context.close(promise: nil)
    }

    private func finish(_ context: ChannelHandlerContext) {
        guard case .closing(let promise) = state else { return }
        state = .ended
        timer?.cancel()
        context.close(promise: promise)
    }

    private func sendClose(_ code: UInt16?, _ context: ChannelHandlerContext) {
        var frame = context.channel.allocator.buffer(capacity: 4)
        WebSocketFrame.writeClose(code, into: &frame)
        context.writeAndFlush(Self.wrapOutboundOut(frame), promise: nil)
    }
}
