import Glibc
import Logging
public import NIOCore
import NIOPosix

/// Answers one verb. It may send any number of `.item` answers through `send` and ends with a result or an error.
///
/// `send` returns `false` once the caller has gone away; a streaming verb then ends.
public typealias ControlVerb =
    @Sendable (ControlRequest, _ send: @Sendable (ControlAnswer) async -> Bool) async throws -> ControlAnswer

/// The hub's end: a Unix socket in the data directory, readable and writable by the hub's own user alone.
public final class ControlServer: Sendable {
    /// A call is one line of at most this many bytes.
    static let lineBytesMax = 8 * 1024 * 1024

    private let channel: any Channel

    private init(channel: any Channel) { self.channel = channel }

    /// Listens at `path` (mode 0600) and answers every call with `verb`.
    ///
    /// The folder is its owner's alone: until its mode is set, the folder's keeps others from the socket. (The process's
    /// umask would reach files that other threads make meanwhile.)
    ///
    /// The caller holds the data directory's lock, so a socket file that is there already is a dead hub's and is replaced.
    public static func start(
        path: String, group: any EventLoopGroup, verb: @escaping ControlVerb
    ) async throws -> ControlServer {
        guard UnixAddress(path) != nil else { throw UnixAddress.tooLong(path) }
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 16)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ControlHandler(verb: verb))
                }
            }
            .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true)
            .get()
        guard chmod(path, 0o600) == 0 else { throw IOError(errnoCode: errno, reason: "chmod of the control socket") }
        return ControlServer(channel: channel)
    }

    public func stop() async { try? await channel.close() }
}

/// Collects one line, runs the verb in a task that ends with the connection.
private final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let verb: ControlVerb
    private var pending = ByteBuffer()
    private var call: Task<Void, Never>?
    private let logger = Logger(label: "control")

    init(verb: @escaping ControlVerb) { self.verb = verb }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard call == nil else { return }
        var buffer = Self.unwrapInboundIn(data)
        pending.writeBuffer(&buffer)
        guard let end = pending.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) else {
            if pending.readableBytes > ControlServer.lineBytesMax { context.close(promise: nil) }
            return
        }
        let line = Array(pending.readableBytesView[..<end])
        start(line, on: context.channel)
    }

    func channelInactive(context: ChannelHandlerContext) {
        call?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("the command line went away", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }

    private func start(_ line: [UInt8], on channel: any Channel) {
        call = Self.task(line, verb: verb, channel: channel)
    }

    private static func task(
        _ line: [UInt8], verb: @escaping ControlVerb, channel: any Channel
    ) -> Task<Void, Never> {
        Task {
            let answer = await answer(to: line, verb: verb, channel: channel)
            _ = await write(answer, to: channel)
            channel.close(promise: nil)
        }
    }

    private static func answer(
        to line: [UInt8], verb: @escaping ControlVerb, channel: any Channel
    ) async -> ControlAnswer {
        let send: @Sendable (ControlAnswer) async -> Bool = { await Self.write($0, to: channel) }
        do {
            return try await verb(try ControlRequest(line: line), send)
        } catch let error as ControlError {
            return .failed(error)
        } catch {
            return .failed(ControlError("\(error)"))
        }
    }

    private static func write(_ answer: ControlAnswer, to channel: any Channel) async -> Bool {
        do {
            try await channel.writeAndFlush(ByteBuffer(bytes: answer.line()))
            return true
        } catch {
            return false
        }
    }
}
