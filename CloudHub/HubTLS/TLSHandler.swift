public import NIOCore
import NIOTLS

/// TLS at the beginning of a connection's pipeline, on the side that is connected to.
///
/// It keeps no buffer between two reads or two writes: what comes is decrypted and handed on at once, what goes is
/// encrypted at once and waits in the channel, which counts it.
public final class TLSHandler: ChannelDuplexHandler {
    public typealias InboundIn = ByteBuffer
    public typealias InboundOut = ByteBuffer
    public typealias OutboundIn = ByteBuffer
    public typealias OutboundOut = ByteBuffer

    private enum State {
        /// Exits: `open`, `over`.
        case handshaking
        /// Exits: `deaf`, `mute`, `closing`, `over`.
        case open
        /// The peer sends nothing more, and may still read. Exit: `over`.
        case deaf
        /// We send nothing more, and still read. Exits: `closing`, `over`.
        case mute
        /// We said farewell and wait a little for the peer's. Exit: `over`.
        case closing(Scheduled<Void>)
        /// No exit.
        case over
    }

    private let connection: TLSConnection
    private let showed: (_ chain: [[UInt8]], _ isProven: Bool) -> Void
    private var state = State.handshaking
    private static let farewellTimeout = TimeAmount.seconds(5)

    /// - Parameters:
    ///   - wire: the one of the channel's loop.
    ///   - showed: called once when the handshake is done or has failed, before its event or error, with the peer's
    ///     certificate and what it sent behind it, in DER. It is proven that the peer has the key when the handshake is
    ///     done; the chain is empty when the peer sent none.
    /// - Throws: `TLSError.unusable` when there is no memory for it.
    public init(
        _ context: TLSServerContext, wire: TLSWire, showed: @escaping (_ chain: [[UInt8]], _ isProven: Bool) -> Void
    ) throws(TLSError) {
        connection = try TLSConnection(context, wire: wire)
        self.showed = showed
    }

    // MARK: - In

    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .over = state { return }
        let received = connection.receive(Self.unwrapInboundIn(data))
        flushOutput(context)
        if received.isOpened { open(context) }
        if received.plain.readableBytes > 0 { handOn(received.plain, context) }
        switch received.end {
        case .farewell?: peerSaidFarewell(context)
        case .failed(let error)?: finish(context, because: error)
        case nil: break
        }
    }

    private func open(_ context: ChannelHandlerContext) {
        state = .open
        showed(connection.peerChain, true)
        context.fireUserInboundEventTriggered(
            TLSUserEvent.handshakeCompleted(negotiatedProtocol: connection.negotiatedProtocol))
    }

    private func handOn(_ plain: ByteBuffer, _ context: ChannelHandlerContext) {
        switch state {
        case .open, .mute: context.fireChannelRead(Self.wrapInboundOut(plain))
        case .handshaking, .deaf, .closing, .over: break  // nobody wants it any more
        }
    }

    private func peerSaidFarewell(_ context: ChannelHandlerContext) {
        switch state {
        case .open where allowsHalfClosure(context):
            state = .deaf
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        case .handshaking, .open:
            connection.sayFarewell()
            finish(context)
        case .mute, .closing: finish(context)
        case .deaf, .over: break
        }
    }

    private func allowsHalfClosure(_ context: ChannelHandlerContext) -> Bool {
        (try? context.channel.syncOptions?.getOption(.allowRemoteHalfClosure)) ?? false
    }

    public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .inputClosed? = event as? ChannelEvent else {
            context.fireUserInboundEventTriggered(event)
            return
        }
        switch state {
        case .handshaking: finish(context, because: .leftInHandshake)
        case .open, .mute:
            context.fireErrorCaught(TLSError.cutOff)
            context.fireUserInboundEventTriggered(event)
        case .closing: finish(context)
        case .deaf, .over: break  // told already
        }
    }

    public func channelInactive(context: ChannelHandlerContext) {
        switch end() {
        case .handshaking: context.fireErrorCaught(TLSError.leftInHandshake)
        case .open, .mute: context.fireErrorCaught(TLSError.cutOff)
        case .deaf, .closing, .over: break
        }
        context.fireChannelInactive()
    }

    public func handlerRemoved(context: ChannelHandlerContext) { _ = end() }

    // MARK: - Out

    public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch state {
        case .open, .deaf:
            do throws(TLSError) {
                try connection.send(Self.unwrapOutboundIn(data))
                context.write(Self.wrapOutboundOut(connection.takeOutput()), promise: promise)
            } catch {
                promise?.fail(error)
                finish(context, because: error)
            }
        case .handshaking, .mute, .closing, .over: promise?.fail(ChannelError.ioOnClosedChannel)
        }
    }

    private func flushOutput(_ context: ChannelHandlerContext) {
        let output = connection.takeOutput()
        if output.readableBytes > 0 { context.writeAndFlush(Self.wrapOutboundOut(output), promise: nil) }
    }

    // MARK: - The end

    public func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        switch mode {
        case .input: promise?.fail(ChannelError.operationUnsupported)
        case .output: closeOutput(context, promise)
        case .all: closeAll(context, promise)
        }
    }

    private func closeOutput(_ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
        switch state {
        case .open:
            state = .mute
            connection.sayFarewell()
            flushOutput(context)
            context.close(mode: .output, promise: promise)
        case .mute, .over: context.close(mode: .output, promise: promise)
        case .handshaking, .deaf, .closing: closeAll(context, promise)  // the other direction is closed
        }
    }

    private func closeAll(_ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
        switch state {
        case .open, .mute:
            connection.sayFarewell()
            context.channel.closeFuture.cascade(to: promise)
            // A socket that is closed while the peer sends takes back what the peer has not read.
            state = .closing(
                context.eventLoop.assumeIsolated().scheduleTask(in: Self.farewellTimeout) { self.finish(context) })
            flushOutput(context)
        case .deaf:
            connection.sayFarewell()
            finish(context, promise)
        case .closing: context.channel.closeFuture.cascade(to: promise)
        case .handshaking, .over:
            _ = end()
            context.close(promise: promise)
        }
    }

    /// What the library has to say to the peer goes out first.
    private func finish(
        _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>? = nil, because error: TLSError? = nil
    ) {
        if case .over = state {
            promise?.succeed()
            return
        }
        if case .handshaking = end() { showed(connection.peerChain, false) }
        flushOutput(context)
        if let error { context.fireErrorCaught(error) }
        context.close(promise: promise)
    }

    /// - Returns: what it was.
    private func end() -> State {
        if case .closing(let timer) = state { timer.cancel() }
        defer { state = .over }
        return state
    }
}
