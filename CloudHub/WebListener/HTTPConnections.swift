import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import Primitives
import Synchronization

/// The connections that speak HTTP/1.1: each has a task, which asks the router and writes its answers.
final class HTTPConnections: Sendable {
    typealias Responder = @Sendable (Request, BasicRequestContext) async throws -> Response

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

    private let http1: HTTP1Channel
    private let limits: WebLimits
    private let logger: Logger
    private let state = Mutex(State())

    init(
        limits: WebLimits, logger: Logger, now: @escaping @Sendable () -> WallInstant, respond: @escaping Responder
    ) {
        self.limits = limits
        self.logger = logger
        let headers = HTTP1Channel.Configuration.DecoderConfiguration(
            maxHeaderFieldSize: WebLimits.headerFieldBytesMax, maxHeaderListSize: WebLimits.headBytesMax,
            maxHeaderFieldCount: WebLimits.headerCountMax)
        http1 = HTTP1Channel(
            responder: { request, writer, channel in
                var response = try await Self.answer(request, channel, logger, respond)
                response.headers[.date] = HTTPDate.text(now())
                response.headers[.server] = "fieldline"
                do {
                    try await writer.write(response: response.head, body: response.body)
                } catch is HTTPParserError {
                    // A second answer would be written for it.
                    throw ChannelError.ioOnClosedChannel
                }
            },
            configuration: .init(httpDecoderConfiguration: headers))
    }

    /// The channel speaks HTTP from now on. Call it on the channel's loop.
    ///
    /// - Parameter requestBy: when the first request head must be whole.
    func open(_ channel: any Channel, requestBy: NIODeadline) throws {
        guard !state.withLock({ $0.isStopping }) else { throw ChannelError.alreadyClosed }
        // As Hummingbird's own server has it: a client may say that it has nothing more to ask, and still be answered.
        try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        let set = http1.setup(channel: channel, logger: logger)
        set.whenSuccess { self.serve(channel, $0) }
        set.whenFailure { _ in channel.close(promise: nil) }
        let operations = channel.pipeline.syncOperations
        let decoder = try operations.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
        try operations.addHandler(
            RequestGuard(limits: limits.pace, requestBy: requestBy), position: .after(decoder))
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

    private func serve(_ channel: any Channel, _ value: HTTP1Channel.Value) {
        let id = ObjectIdentifier(channel)
        state.withLock { state in
            let task = Task {
                await http1.handle(value: value, logger: logger)
                self.state.withLock { $0.served[id] = nil }
            }
            state.served[id] = Served(channel: channel, task: task)
        }
    }

    private static func answer(
        _ request: Request, _ channel: any Channel, _ logger: Logger, _ respond: Responder
    ) async throws -> Response {
        let context = BasicRequestContext(source: ApplicationRequestContextSource(channel: channel, logger: logger))
        do {
            return try await respond(request, context)
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
