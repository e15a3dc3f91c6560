public import Primitives
public import Tunnels

/// Where the hub is and how it is reached; checked before it gets here.
public struct HubEndpoint: Sendable {
    /// What runs inside TLS.
    public enum Inner: Sendable, Equatable {
        /// MQTT itself; on port 443 the ALPN protocol `mqtt` is asked for.
        case mqtt
        /// MQTT in a WebSocket at this path.
        case webSocket(path: String)
        /// One question for the date of the hub's web server, and no MQTT.
        case date
        /// One document of a web server, `request` says which, and no MQTT.
        case document
    }

    /// An HTTP proxy that lets CONNECT pass. The hub's name is resolved by it, not by the gateway.
    public struct Proxy: Sendable {
        public let host: String
        public let port: Int
        /// `user:password`; `nil` for a proxy that asks nobody.
        public var login: Secret?

        public init(host: String, port: Int, login: Secret? = nil) {
            self.host = host
            self.port = port
            self.login = login
        }
    }

    /// What IoT Hub calls its WebSocket.
    public static let webSocketPath = "/$iothub/websocket"

    /// Where to connect, and the name that the certificate must have.
    public var host: String
    /// 1 … 65535.
    public var port: Int
    public var inner = Inner.mqtt
    /// What a `document` is asked for with.
    public var request: WebRequest?
    public var proxy: Proxy?
    /// PEM file of trusted authorities; `nil` for the system's.
    public var caFile: String?
    /// Our clock is in doubt, so a certificate that is not valid yet is taken: the authority that we trust vouches for it,
    /// and what time it is checked at is only the earliest that it can be. One that has expired by then is refused.
    public var isClockInDoubt = false
    /// Shown to a hub that asks for one.
    public var certificate: ClientCertificate?
    /// All addresses together have this long to take the TCP connection.
    public var connectTimeMax = Duration.seconds(30)

    public init(host: String, port: Int, caFile: String? = nil) {
        self.host = host
        self.port = port
        self.caFile = caFile
    }
}

/// The gateway's certificate, and where its private key is.
public struct ClientCertificate: Sendable, Equatable {
    public enum Key: Sendable, Equatable {
        /// A PEM file.
        case file(String)
        /// A key that never leaves its device: what an OpenSSL provider makes of this, a PEM file of its own kind or a
        /// URI such as `handle:0x81000001`.
        case inProvider(String, provider: KeyProvider)
    }

    /// A PEM file: the certificate, then the chain.
    public let file: String
    public let key: Key

    public init(file: String, key: Key) {
        self.file = file
        self.key = key
    }
}

/// OpenSSL providers that keys are known to work in.
public enum KeyProvider: String, Sendable, CaseIterable {
    /// tpm2-openssl.
    case tpm2

    /// Which implementations OpenSSL should prefer. The provider offers digests and random numbers too; only signatures
    /// have to come from it, and everything else would take the slow way through the TPM.
    var properties: String {
        switch self {
        case .tpm2: "?tpm2.signature=yes"
        }
    }
}
