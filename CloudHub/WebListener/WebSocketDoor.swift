import Listeners
import NIOCore
import NIOHTTP1

/// Answers the one request that asks for MQTT over WebSocket, and leaves the connection to MQTT when it is granted.
final class WebSocketDoor: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let shared: WebShared
    private let clientChain: ClientChain
    private let requestBy: NIODeadline
    private var timer: Scheduled<Void>?
    private var head: HTTPRequestHead?
    private var isAnswered = false

    init(shared: WebShared, clientChain: ClientChain, requestBy: NIODeadline) {
        self.shared = shared
        self.clientChain = clientChain
        self.requestBy = requestBy
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: requestBy) {
            self.refuse(context, .requestTimeout, [:], "the request did not come in time")
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isAnswered else { return }
        switch Self.unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: refuse(context, .badRequest, [:], "the request for an upgrade has a body; send none")
        case .end:
            guard let head else { return }
            switch WebSocketUpgrade.answer(head) {
            case .accept(let headers): accept(context, headers)
            case .refuse(let status, let headers, let sentence): refuse(context, status, headers, sentence)
            }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else {
            context.close(promise: nil)
            return
        }
        let isLong = error == .headerOverflow
        refuse(
            context, isLong ? .requestHeaderFieldsTooLarge : .badRequest, [:],
            isLong ? "the headers are too long" : "what came is no HTTP request")
    }

    private func accept(_ context: ChannelHandlerContext, _ headers: HTTPHeaders) {
        isAnswered = true
        let operations = context.pipeline.syncOperations
        do {
            let handlers = try WebSocketUpgrade.HTTPHandlers(of: context)
            try operations.addHandler(WebSocketConnection(shared: shared))
            try shared.mqtt.add(to: context.channel, clientChain)
            handlers.leave(context, headers, now: shared.http.now())
        } catch {
            context.close(promise: nil)  // the hub is stopping
        }
    }

    private func refuse(
        _ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ sentence: String
    ) {
        guard !isAnswered else { return }
        isAnswered = true
        shared.webSocketRefused(sentence, from: context.remoteAddress)
        WebSocketUpgrade.write(status, headers, sentence, to: context)
        context.close(promise: nil)
    }
}
