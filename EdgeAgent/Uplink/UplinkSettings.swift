public import Connectivity
public import HubTransport
public import Primitives

/// Everything the uplink needs to know about its hub; checked before it gets here.
public struct UplinkSettings: Sendable {
    /// How the gateway proves who it is.
    public enum Credentials: Sendable {
        /// A shared access key, already base64-decoded; tokens are made from it.
        case sharedAccessKey(Secret)
        /// A client certificate, and where its private key is.
        case certificate(ClientCertificate)
    }

    /// Where to connect, and the name that the certificate must have.
    public var hubHost: String
    /// The hub's name in the user name and in the token; another one than `hubHost` behind a forwarder.
    public var accountHost: String
    /// 1 … 65535. Default 8883; with 443 the ALPN protocol `mqtt` is asked for.
    public var port: Int
    /// MQTT itself, or in a WebSocket. Default MQTT.
    public var inner = HubEndpoint.Inner.mqtt
    /// Default none.
    public var proxy: HubEndpoint.Proxy?
    public var gateway: DeviceID
    public var credentials: Credentials
    /// PEM file of trusted authorities; `nil` for the system's.
    public var caFile: String?
    /// Default 60 s. Range 1 s … 1177 s.
    public var keepAlive: Duration
    /// Life of one token. Default 1 h. Range 1 min … 24 h.
    public var tokenLifetime: Duration
    /// Batches without PUBACK. Default 8. Range 2 … 64.
    public var inflightCountMax: Int
    /// Joined record bytes in one batch. Default 128 KiB. Range 64 KiB … 190 KiB: a batch must stay under 200 KiB.
    public var batchBytesMax: Int
    /// What live readings and back-fill get at least when there is more to send than the link takes.
    public var shares = DrainOrder.Shares()
    public var link: LinkSupervisor.Limits
    /// A method call is answered as failed when the device has not answered by then. Default 25 s: under the 30 s after
    /// which service SDKs give up by default.
    public var methodTimeMax: Duration

    public init(hubHost: String, port: Int = 8883, gateway: DeviceID, credentials: Credentials, caFile: String? = nil) {
        self.hubHost = hubHost
        accountHost = hubHost
        self.port = port
        self.gateway = gateway
        self.credentials = credentials
        self.caFile = caFile
        keepAlive = .seconds(60)
        tokenLifetime = .seconds(3600)
        inflightCountMax = 8
        batchBytesMax = 128 * 1024
        link = LinkSupervisor.Limits()
        methodTimeMax = .seconds(25)
    }

    /// Where the hub is and how it is reached.
    public var endpoint: HubEndpoint {
        var endpoint = HubEndpoint(host: hubHost, port: port, caFile: caFile)
        endpoint.inner = inner
        endpoint.proxy = proxy
        endpoint.connectTimeMax = link.connectTimeMax
        if case .certificate(let certificate) = credentials { endpoint.certificate = certificate }
        return endpoint
    }
}
