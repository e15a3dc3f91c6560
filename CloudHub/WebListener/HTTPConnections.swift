import Hummingbird
import HummingbirdCore
import Listeners
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import Primitives
import Synchronization

/// The connections that speak HTTP/1.1: each has a task, which asks the router and writes its answers.
final class HTTPConnections: Sendable {
    typealias Responder = @Sendable (Request, WebRequestContext) async throws -> Response

    /// Longest header field, longest head, and most fields of a request.
    static let headerLimits: NIOHTTPDecoderLimitConfiguration = {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = WebLimits.headerFieldBytesMax
        limits.maxHeaderListSize = WebLimits.headBytesMax
        limits.maxHeaderFieldCount = WebLimits.headerCountMax
        return limits
    }()

    private struct Served {
        let channel: any Channel
        let task: Task<Void, Never>
    }

    private struct State {
        var served: [ObjectIdentifier: Served] = [:]
        var isStopping = false
    }

    private let limits: WebLimits
    private let logger: Logger
    let now: @Sendable () -> WallInstant
    private let respond: Responder
    private let complaints = Complaints()
    private let state = Mutex(State())

    init(
        limits: WebLimits, logger: Logger, now: @escaping @Sendable () -> WallInstant, respond: @escaping Responder
    ) {
        self.limits = limits
        self.logger = logger
        self.now = now
        self.respond = respond
    }

    /// The channel speaks HTTP from now on. Call it on the channel's loop.
    ///
    /// The pipeline is that of Hummingbird's own server, but for the decoder, which keeps what comes behind a request for
    /// an upgrade, and for what watches over the connection.
    ///
    /// - Parameters:
    ///   - requestBy: when the first request head must be whole.
    ///   - upgrade: grants a later request for a WebSocket; `nil` leaves that to the router.
    func open(_ channel: any Channel, _ peer: WebPeer, requestBy: NIODeadline, upgrade: LateUpgrade? = nil) throws {
        guard !state.withLock({ $0.isStopping }) else { throw ChannelError.alreadyClosed }
        // As Hummingbird's own server has it: a client may say that it has nothing more to ask, and still be answered.
        try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes, limitConfiguration: Self.headerLimits)
        let operations = channel.pipeline.syncOperations
        try operations.addHandlers([HTTPResponseEncoder(), ByteToMessageHandler(decoder)])
        if let upgrade { try operations.addHandler(upgrade) }
        try operations.addHandlers([
            RequestGuard(limits: limits.pace, requestBy: requestBy, refused: refused),
            HTTP1ToHTTPServerCodec(secure: false),
            HTTPConnectionStateHandler(logger: logger),
        ])
        let value = try HTTP1Channel.Value(
            wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
        serve(channel, http1(for: peer), value)
    }

    /// Says why a peer was refused before anybody looked at its request.
    func refused(_ sentence: String, from address: SocketAddress?) {
        let address = address?.ipAddress ?? "unknown"
        guard complaints.mayComplain(about: address) else { return }
        logger.warning(
            "an HTTP request was refused", metadata: ["reason": "\(sentence)", "address": "\(address)"])
    }

    /// Lets every request that is being answered end, no longer than the limit, and closes every connection.
    func stop() async {
        let served = state.withLock { state in
            state.isStopping = true
            return Array(state.served.values)
        }
        for one in served { one.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
        let limit = limits.drainTimeout
        let enough = Task {
            do { try await Task.sleep(for: limit) } catch { return }
            for one in served {
                one.task.cancel()
                one.channel.close(promise: nil)
            }
        }
        for one in served { await one.task.value }
        enough.cancel()
    }

    private func serve(_ channel: any Channel, _ http1: HTTP1Channel, _ value: HTTP1Channel.Value) {
        let id = ObjectIdentifier(channel)
        state.withLock { state in
            let task = Task {
                await http1.handle(value: value, logger: logger)
                self.state.withLock { $0.served[id] = nil }
            }
            state.served[id] = Served(channel: channel, task: task)
        }
    }

    private func http1(for peer: WebPeer) -> HTTP1Channel {
        HTTP1Channel { request, writer, _ in
            var response = try await self.answer(request, peer)
            response.headers[.date] = self.now().httpDate
            response.headers[.server] = "fieldline"
            do {
                try await writer.write(response: response.head, body: response.body)
            } catch is HTTPParserError {
                // A second answer would be written for it.
                throw ChannelError.ioOnClosedChannel
            }
        }
    }

    private func answer(_ request: Request, _ peer: WebPeer) async throws -> Response {
        do {
            return try await respond(request, WebRequestContext(source: .init(logger: logger, peer: peer)))
        } catch let error as HTTPParserError {
            throw error  // Hummingbird answers it
        } catch {
            logger.error(
                "a request failed in a way that no route expects",
                metadata: ["path": "\(request.uri.path.prefix(256))", "error": "\(type(of: error))"])
            return Response(status: .internalServerError)
        }
    }
}
