import Listeners
import NIOCore
import NIOHTTP1

/// Grants the request for MQTT over WebSocket that comes on a connection which spoke HTTP before; sees every part that the
/// decoder made, and every answer that was written.
///
/// The request waits until what was asked before it is answered. Behind it the decoder reads nothing more, so what the
/// client sent along is there when the frames begin. Of HTTP only what hears nothing any more stays in the pipeline: its
/// task ends with the connection.
final class LateUpgrade: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        /// Exit: `asked`.
        case speaking
        /// Exit: `answered`.
        case asked(HTTPRequestHead, isWhole: Bool)
        /// No exit.
        case answered
    }

    private let shared: WebShared
    private let clientChain: ClientChain
    private var state = State.speaking
    /// Requests that are not answered yet, but for the one that is judged here.
    private var pendingAnswers = 0

    init(shared: WebShared, clientChain: ClientChain) {
        self.shared = shared
        self.clientChain = clientChain
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (state, Self.unwrapInboundIn(data)) {
        case (.speaking, .head(let head)) where FirstLine.isWebSocket(head):
            state = .asked(head, isWhole: false)
        case (.speaking, .head):
            pendingAnswers += 1
            context.fireChannelRead(data)
        case (.speaking, _): context.fireChannelRead(data)
        case (.asked(let head, _), .end):
            state = .asked(head, isWhole: true)
            answerIfReady(context)
        // A body is refused with its head; a request behind it is for nobody.
        case (.asked, _), (.answered, _): break
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = Self.unwrapOutboundIn(data) { pendingAnswers -= 1 }
        context.write(data, promise: promise)
        guard pendingAnswers == 0, case .asked = state else { return }
        // Not within what HTTP is doing.
        context.eventLoop.assumeIsolated().execute { self.answerIfReady(context) }
    }

    private func answerIfReady(_ context: ChannelHandlerContext) {
        guard pendingAnswers == 0, case .asked(let head, isWhole: true) = state, context.channel.isActive else {
            return
        }
        state = .answered
        switch WebSocketUpgrade.answer(head) {
        case .accept(let headers): accept(context, headers)
        case .refuse(let status, let headers, let sentence):
            shared.webSocketRefused(sentence, from: context.remoteAddress)
            WebSocketUpgrade.write(status, headers, sentence, to: context)
            context.close(promise: nil)
        }
    }

    private func accept(_ context: ChannelHandlerContext, _ headers: HTTPHeaders) {
        let operations = context.pipeline.syncOperations
        do {
            let watch = try operations.context(handlerType: RequestGuard.self)
            let handlers = try WebSocketUpgrade.HTTPHandlers(of: context)
            // A device that has said its last word is gone; a client of HTTP may still wait for an answer.
            try context.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: false)
            let frames = WebSocketConnection(shared: shared)
            try operations.addHandler(frames, position: .after(self))
            try shared.mqtt.add(to: context.channel, clientChain, position: .after(frames))
            handlers.leave(context, headers, now: shared.http.now())
            operations.removeHandler(context: watch, promise: nil)
        } catch {
            context.close(promise: nil)  // the hub is stopping
        }
    }
}
