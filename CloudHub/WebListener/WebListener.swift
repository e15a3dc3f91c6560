public import Hummingbird
public import Listeners
public import Logging
public import NIOCore
public import Primitives

/// The HTTPS port: pages and services for whoever speaks HTTP/1.1, and MQTT for devices behind a firewall that lets
/// nothing else pass.
///
/// One pipeline: TLS, then what ALPN says, then HTTP/1.1, then the upgrade to WebSocket if it is asked for.
public final class WebListener: Sendable {
    public struct Configuration: Sendable, Hashable {
        /// Default 127.0.0.1.
        public var host = "127.0.0.1"
        /// 0 takes a free port. Default 443.
        public var port = 443
        /// More are closed as they come. Default 50,000.
        public var connectionsMax = 50_000
        /// From the end of the handshake, or without TLS from the connection, to the first request head. Default 10 s.
        public var requestTimeout = Duration.seconds(10)
        /// A connection without a request is closed after it. Default 60 s.
        public var idleTimeout = Duration.seconds(60)

        public init() {}
    }

    /// Whether there is TLS, and who takes what is not HTTP.
    public enum Security: Sendable {
        case tls(ServerTLS, HandshakeAdmission, mqtt: MQTTConnections)
        /// Plain HTTP and nothing else.
        case plain
    }

    private let port: AcceptPort
    private let security: Security
    private let http: HTTPConnections
    private let limits: WebLimits
    private let logger: Logger

    /// - Parameter responder: answers what is neither WebSocket nor MQTT.
    public init(
        configuration: Configuration, security: Security, responder: some HTTPResponder<WebRequestContext>,
        runtime: Runtime
    ) {
        var limits = WebLimits()
        limits.requestTimeout = configuration.requestTimeout
        limits.pace.idle = configuration.idleTimeout
        self.limits = limits
        self.security = security
        logger = runtime.logger
        http = HTTPConnections(limits: limits, logger: runtime.logger, now: runtime.now) { request, context in
            try await responder.respond(to: request, context: context)
        }
        var accept = AcceptPort.Configuration()
        accept.host = configuration.host
        accept.port = configuration.port
        accept.connectionsMax = configuration.connectionsMax
        port = AcceptPort(configuration: accept, group: runtime.group, logger: runtime.logger)
    }

    /// What a listener runs on.
    public struct Runtime: Sendable {
        let group: any EventLoopGroup
        let logger: Logger
        let now: @Sendable () -> WallInstant

        /// - Parameters:
        ///   - group: its loops carry the connections, and with TLS it is the MQTT listener's; it must outlive both.
        ///   - now: the hub's civil clock, for the date of each answer.
        public init(group: any EventLoopGroup, logger: Logger, now: @escaping @Sendable () -> WallInstant) {
            self.group = group
            self.logger = logger
            self.now = now
        }
    }

    /// Binds and accepts. With TLS the MQTT listener must have started.
    /// - Returns: the port.
    /// - Throws: the operating system's error when the address cannot be bound.
    public func start() async throws -> Int {
        switch security {
        case .plain:
            return try await port.start { [http, limits] channel in
                let peer = WebPeer(address: channel.remoteAddress?.ipAddress)
                try http.open(channel, peer, requestBy: .now() + TimeAmount(limits.requestTimeout))
            }
        case .tls(let tls, let admission, let mqtt):
            let shared = WebShared(http: http, mqtt: mqtt, limits: limits, logger: logger)
            return try await port.start { channel in
                let chain = ClientChain()
                let visit = HandshakeAdmission.Visit(
                    makeTLS: { try tls.makeHandler(for: .web, chain, wire: $0) },
                    opened: {
                        try $0.pipeline.syncOperations.addHandler(WebGate(shared: shared, clientChain: chain))
                    },
                    failed: { shared.handshakeFailed($0, chain, from: $1) })
                try admission.admit(channel, visit)
            }
        }
    }

    /// Accepts nothing more and ends what speaks HTTP; connections that speak MQTT end with the MQTT listener.
    public func stop() async {
        await port.stop()
        await http.stop()
    }
}
