import Foundation
import HubTLS
import NIOCore
import NIOEmbedded
import NIOSSL
import NIOTLS

/// A server's end under test and a client's end by NIOSSL, with the bytes between them in a test's hands.
final class TLSPair {
    let server = EmbeddedChannel()
    let client = EmbeddedChannel()
    let seen = Recorder()
    let got = Recorder()
    private(set) var chain: [[UInt8]]?
    private(set) var isProven = false

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Golden/tls").path
    static let certificatePath = folder + "/localhost-cert.pem"
    static let keyPath = folder + "/localhost-key.pem"
    /// Both ends of all pairs of a test share nothing but this, as connections of one loop do.
    let wire: TLSWire

    struct Options {
        var serverProtocols = ["mqtt", "http/1.1"]
        var clientProtocols: [String] = []
        var version = TLSVersion.tlsv13
        var clientChain: [NIOSSLCertificate] = []
        var allowsHalfClosure = false
    }

    static func context(_ protocols: [String] = ["mqtt"]) throws -> TLSServerContext {
        try TLSServerContext(TLSIdentity(certificatePath: certificatePath, keyPath: keyPath), protocols: protocols)
    }

    init(_ options: Options = Options(), wire: TLSWire = TLSWire()) throws {
        self.wire = wire
        server.allowRemoteHalfClosure = options.allowsHalfClosure
        let handler = try TLSHandler(Self.context(options.serverProtocols), wire: wire) { [self] in
            (chain, isProven) = ($0, $1)
        }
        try server.pipeline.syncOperations.addHandlers([HalfSocket(), handler, seen])
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configuration.applicationProtocols = options.clientProtocols
        configuration.minimumTLSVersion = options.version
        configuration.maximumTLSVersion = options.version
        if !options.clientChain.isEmpty {
            configuration.certificateChain = options.clientChain.map { .certificate($0) }
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: Self.keyPath, format: .pem))
        }
        let context = try NIOSSLContext(configuration: configuration)
        try client.pipeline.syncOperations.addHandlers([
            HalfSocket(), NIOSSLClientHandler(context: context, serverHostname: nil), got,
        ])
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
        server.connect(to: address, promise: nil)
        client.connect(to: address, promise: nil)
    }

    deinit {
        for channel in [server, client] where channel.isActive {
            channel.close(promise: nil)
            channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        }
    }

    /// What one end wrote and the other has not read.
    static func written(by channel: EmbeddedChannel) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let next = try channel.readOutbound(as: ByteBuffer.self) { bytes += Array(next.readableBytesView) }
        return bytes
    }

    /// Carries bytes both ways until nobody has any, in pieces of at most so many.
    func carry(piece: Int = .max) throws {
        while true {
            let up = try Self.written(by: client)
            let down = try Self.written(by: server)
            if up.isEmpty && down.isEmpty { return settle() }
            give(up, to: server, piece)
            give(down, to: client, piece)
        }
    }

    /// Does what the loops have been told to do.
    func settle() {
        server.embeddedEventLoop.run()
        client.embeddedEventLoop.run()
    }

    /// What became of something by now; `nil` when nothing did.
    func outcome(_ future: EventLoopFuture<Void>) -> Result<Void, any Error>? {
        settle()
        var outcome: Result<Void, any Error>?
        future.assumeIsolated().whenComplete { outcome = $0 }
        return outcome
    }

    func give(_ bytes: [UInt8], to channel: EmbeddedChannel, _ piece: Int = .max) {
        var rest = bytes[...]
        while !rest.isEmpty {
            channel.pipeline.fireChannelRead(ByteBuffer(bytes: rest.prefix(piece)))
            channel.pipeline.fireChannelReadComplete()
            rest = rest.dropFirst(piece)
        }
        channel.embeddedEventLoop.run()
    }

    static func opened(_ options: Options = Options(), wire: TLSWire = TLSWire()) throws -> TLSPair {
        let pair = try TLSPair(options, wire: wire)
        try pair.carry()
        return pair
    }
}

/// A socket whose directions are closed one by one, which an `EmbeddedChannel` cannot.
private final class HalfSocket: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode == .output {
            promise?.succeed()
        } else {
            context.close(mode: mode, promise: promise)
        }
    }
}

/// The end of a pipeline: keeps what arrives.
final class Recorder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private(set) var bytes: [UInt8] = []
    private(set) var errors: [any Error] = []
    /// What the handshake agreed on; set once it is done.
    private(set) var negotiated: String??
    /// Bytes that came before the event of the handshake.
    private(set) var isEarly = false
    private(set) var isInputClosed = false
    private(set) var isGone = false

    var tlsErrors: [TLSError] { errors.compactMap { $0 as? TLSError } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if negotiated == nil { isEarly = true }
        bytes += Array(Self.unwrapInboundIn(data).readableBytesView)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted(let name)? = event as? TLSUserEvent { negotiated = .some(name) }
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { isInputClosed = true }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { errors.append(error) }
    func channelInactive(context: ChannelHandlerContext) { isGone = true }
}
