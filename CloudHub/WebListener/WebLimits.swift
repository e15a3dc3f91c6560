/// What a peer of the web port may use.
struct WebLimits: Sendable {
    /// Longest header field, name and value. Unit: bytes. A SAS token has a few hundred.
    static let headerFieldBytesMax = 16 * 1024
    /// Longest head of a request: its target and all header fields. Unit: bytes.
    static let headBytesMax = 32 * 1024
    /// Most header fields of a request.
    static let headerCountMax = 100
    /// How long the hub waits for a peer's close frame after its own.
    static let closeTimeout = Duration.seconds(2)

    /// TLS handshake and the first request head must be done by then.
    var requestTimeout = Duration.seconds(10)
    var pace = RequestPace.Limits()
    /// How long `stop` waits for requests that are being answered.
    var drainTimeout = Duration.seconds(2)
}
