import NIOCore
import NIOHTTP1
import Primitives

/// Watches the pace of one HTTP connection, from its first request to its end.
final class RequestGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private var pace: RequestPace
    private let refused: (_ sentence: String, SocketAddress?) -> Void
    private var timer: Scheduled<Void>?
    private var armedFor: MonotonicInstant?
    private var isReading = false
    private var isEnded = false

    /// - Parameter refused: is told what is wrong with the peer, in words for the operator.
    init(
        limits: RequestPace.Limits, requestBy: NIODeadline,
        refused: @escaping (_ sentence: String, SocketAddress?) -> Void
    ) {
        self.refused = refused
        pace = RequestPace(limits: limits, headBy: MonotonicInstant(requestBy))
    }

    func handlerAdded(context: ChannelHandlerContext) { arm(context) }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        isEnded = true
        timer?.cancel()
        context.fireChannelInactive()
    }

    // MARK: - In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnded else { return }
        var part = Self.unwrapInboundIn(data)
        switch part {
        case .head(var head):
            if pace.isBetweenAnswers, head.headers["expect"] == ["100-continue"] { sayContinue(context) }
            pace.headReceived(now: now(context))
            // Behind a request for another protocol the decoder reads no other, granted or not.
            if head.headers.contains(name: "upgrade") || head.method == .CONNECT {
                head.headers.replaceOrAdd(name: "connection", value: "close")
                part = .head(head)
            }
        case .body(let bytes): pace.bodyReceived(bytes.readableBytes)
        case .end: pace.requestEnded()
        }
        arm(context)
        context.fireChannelRead(Self.wrapInboundOut(part))
    }

    /// The client waits for it before it sends its body. Source: RFC 9110 section 10.1.1.
    private func sayContinue(_ context: ChannelHandlerContext) {
        let head = HTTPResponseHead(version: .http1_1, status: .continue)
        context.writeAndFlush(Self.wrapOutboundOut(.head(head)), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        pace.writabilityChanged(context.channel.isWritable, now: now(context))
        arm(context)
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let problem = error as? HTTPParserError, !isEnded else { return context.fireErrorCaught(error) }
        let isLong = problem == .headerOverflow
        refused(isLong ? "the headers are too long" : "what came is no HTTP request", context.remoteAddress)
        guard isLong, pace.isBetweenAnswers else { return context.fireErrorCaught(error) }
        end(.requestHeaderFieldsTooLarge, context)
    }

    // MARK: - Out

    func read(context: ChannelHandlerContext) {
        isReading = true
        context.read()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard !isEnded else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        if case .end = Self.unwrapOutboundIn(data) {
            pace.answerEnded(now: now(context))
            arm(context)
        }
        context.write(data, promise: promise)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode == .output {
            pace.outputClosed(now: now(context))
            arm(context)
        }
        context.close(mode: mode, promise: promise)
    }

    // MARK: - The timer

    /// One timer: it fires early rather than being set anew with each request.
    private func arm(_ context: ChannelHandlerContext) {
        guard !isEnded, let deadline = pace.deadline, armedFor.map({ deadline < $0 }) ?? true else { return }
        timer?.cancel()
        armedFor = deadline
        let at = NIODeadline.uptimeNanoseconds(UInt64(max(0, deadline.nanoseconds)))
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: at) { self.timerFired(context) }
    }

    private func timerFired(_ context: ChannelHandlerContext) {
        armedFor = nil
        guard !isEnded else { return }
        switch pace.timerFired(now: now(context), isReading: isReading) {
        case .rearm: arm(context)
        case .timedOut(let beforeFirstRequest):
            if beforeFirstRequest { refused("the request did not come in time", context.remoteAddress) }
            if pace.isRequestOpen { refused("the body of a request came too slowly", context.remoteAddress) }
            end(beforeFirstRequest ? .requestTimeout : nil, context)
        case .ignore: break
        }
    }

    private func end(_ status: HTTPResponseStatus?, _ context: ChannelHandlerContext) {
        isEnded = true
        timer?.cancel()
        if let status {
            let head = HTTPResponseHead(
                version: .http1_1, status: status, headers: ["connection": "close", "content-length": "0"])
            context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
        }
        context.close(promise: nil)
    }

    private func now(_ context: ChannelHandlerContext) -> MonotonicInstant { MonotonicInstant(context.eventLoop.now) }
}

extension MonotonicInstant {
    fileprivate init(_ deadline: NIODeadline) {
        self.init(nanoseconds: Int64(clamping: deadline.uptimeNanoseconds))
    }
}
