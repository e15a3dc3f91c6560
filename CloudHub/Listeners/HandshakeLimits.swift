/// What TLS handshakes may take of the hub. Counts are for each event loop.
public struct HandshakeLimits: Sendable, Hashable {
    /// Handshakes in progress. A handshake is mostly arithmetic: few at a time are each done quickly. Default 64.
    public var inProgressMax = 64
    /// Connections that wait for their turn or have sent nothing yet; beyond it the oldest is closed. Default 10,000.
    public var waitingMax = 10_000
    /// Handshakes whose peer keeps the hub waiting; beyond it the oldest is closed. Default 1,024.
    public var slowMax = 1_024
    /// After it a handshake counts as slow and leaves its place to another. Default 500 ms.
    public var patience = Duration.milliseconds(500)
    /// A handshake must be done so soon after its beginning, and a peer must have begun so soon after it connected.
    /// Default 10 s.
    public var timeout = Duration.seconds(10)
    /// How long a peer is kept waiting for its turn. Default 60 s.
    public var waitMax = Duration.seconds(60)

    public init() {}

    var isSound: Bool {
        inProgressMax > 0 && waitingMax > 0 && slowMax > 0 && patience > .zero && timeout >= patience && waitMax > .zero
    }
}
