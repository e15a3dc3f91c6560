public import NIOCore

/// Takes MQTT 3.1.1 over TLS from devices and gateways.
public final class MQTTListener: Sendable {
    public struct Configuration: Sendable, Hashable {
        /// Default 127.0.0.1.
        public var host = "127.0.0.1"
        /// 0 takes a free port. Default 8883.
        public var port = 8883
        /// More are closed as they come. Default 50,000.
        public var connectionsMax = 50_000
        /// From the end of the handshake to the accepted CONNECT. Default 10 s.
        public var connectTimeout = Duration.seconds(10)
        /// Bytes of events that wait for the disk, over all loops; beyond that nothing is read. Default 64 MiB.
        public var waitingBytesMax = 64 << 20
        /// How long `stop` waits for what is on its way to the disk. Default 5 s.
        public var drainTimeout = Duration.seconds(5)

        public init() {}
    }

    /// What speaks MQTT here, and on every other port that hands its connections over.
    public let connections: MQTTConnections
    private let port: AcceptPort
    private let tls: ServerTLS
    private let admission: HandshakeAdmission

    /// - Parameters:
    ///   - admission: shared with the hub's other ports, and made for the same group.
    ///   - group: its loops carry the connections; it must outlive the listener.
    public init(
        configuration: Configuration, tls: ServerTLS, admission: HandshakeAdmission, dependencies: MQTTDependencies,
        group: any EventLoopGroup
    ) {
        self.admission = admission
        self.tls = tls
        connections = MQTTConnections(configuration: configuration, dependencies: dependencies, group: group)
        var accept = AcceptPort.Configuration()
        accept.host = configuration.host
        accept.port = configuration.port
        accept.connectionsMax = configuration.connectionsMax
        port = AcceptPort(configuration: accept, group: group, logger: dependencies.logger)
    }

    /// What happened so far on every port, over all loops; a loop's own part comes in with its next group.
    public var counts: ListenerCounts { connections.counts }

    /// Binds and accepts.
    /// - Returns: the port.
    /// - Throws: the operating system's error when the address cannot be bound.
    public func start() async throws -> Int {
        try await connections.start()
        return try await port.start { [tls, connections, admission] channel in
            let chain = ClientChain()
            let visit = HandshakeAdmission.Visit(
                makeTLS: { try tls.makeHandler(for: .mqtt, chain, wire: $0) },
                opened: { try connections.add(to: $0, chain) },
                failed: { connections.handshakeFailed($0, chain, from: $1) })
            try admission.admit(channel, visit)
        }
    }

    /// Accepts nothing more, waits for what is on its way to the disk, closes every connection that speaks MQTT.
    public func stop() async {
        await port.stop()
        admission.stop()
        await connections.stop()
    }
}
