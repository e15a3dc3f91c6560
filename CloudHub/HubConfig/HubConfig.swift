public import Primitives
public import Rules
public import Throttles

/// The hub's whole configuration, checked and frozen. Every property's default is what an empty file gives.
///
/// `Deploy/config/cloud-hub.toml` shows every key at its default.
public struct HubConfig: Hashable, Sendable {
    /// Where the databases, keys and certificates are. Default /var/lib/cloud-hub.
    public var dataDirectory = "/var/lib/cloud-hub"
    /// The name that clients call the hub by. Default: that of the last start, else `localhost`.
    public var hostname: String?
    /// Least important messages that are logged. Default info.
    public var logLevel = LogLevel.info
    public var listeners = Listeners()
    public var limits = Limits()
    public var eventLog = EventLog()
    public var cloudToDevice = CloudToDevice()
    public var files = Files()
    /// What devices may do how often. Default `throttlesDefault`.
    public var throttles = throttlesDefault
    /// `nil`: the embedded service desk.
    public var crm: CRM?
    /// How often the connector looks for commands. Default 1s. Range 200ms … 1m.
    public var commandPollInterval = Duration.seconds(1)
    /// How long a command may take to reach its device, from its row's creation on. Default 5m. Range 10s … 2d.
    public var commandTimeLimit = Duration.seconds(300)
    /// Rules that the hub evaluates. Default none. At most 1000.
    public var rules: [Rule] = []
    /// Command names of the service desk beside the stock ones: name to method. At most 200.
    public var commands: [Command] = []

    public enum LogLevel: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error }

    /// Addresses to accept connections on.
    public struct Listeners: Hashable, Sendable {
        /// MQTT over TLS. Default 127.0.0.1:8883.
        public var mqtt = HostPort(host: "127.0.0.1", port: 8883)
        /// The service API and the pages over TLS. Default 127.0.0.1:443.
        public var https = HostPort(host: "127.0.0.1", port: 443)
        /// The pages without TLS, on a loopback address only. Default 127.0.0.1:8088; `nil` is off.
        public var http: HostPort? = HostPort(host: "127.0.0.1", port: 8088)
    }

    /// What the hub lets in.
    public struct Limits: Hashable, Sendable {
        /// MQTT connections at a time. Default 50000. Range 1 … 1000000.
        public var connectionsMax = 50_000
        /// TLS handshakes in progress on one processor. Default 64. Range 1 … 10000.
        public var handshakesMax = 64
        /// After it a handshake counts as slow and leaves its place to another. Default 500ms. Range 10ms … 1s.
        public var handshakePatience = Duration.milliseconds(500)
        /// Slow handshakes on one processor; beyond it the oldest is closed. Default 1024. Range 1 … 100000.
        public var handshakesSlowMax = 1024
        /// Connections that wait for their handshake, in all. Default 20000. Range 1 … 1000000.
        public var handshakesWaitingMax = 20_000
        /// How long a connection may wait for its handshake to begin. Default 1m. Range 1s … 10m.
        public var handshakeWait = Duration.seconds(60)
        /// From the beginning of a handshake to its end. Default 10s. Range 1s … 1m.
        public var handshakeTimeout = Duration.seconds(10)
        /// From the end of the handshake to the accepted CONNECT. Default 10s. Range 1s … 1m.
        public var connectTimeout = Duration.seconds(10)
        /// Events that wait for the disk, in all. Default 64MiB. Range 1MiB … 1GiB.
        public var waitingBytesMax = ByteCount.mebibytes(64)
    }

    /// What is kept of what devices sent.
    public struct EventLog: Hashable, Sendable {
        /// Taken when the log is first made. Default 4. Range 1 … 32.
        public var partitionCount = 4
        /// Older events are deleted. Default 7d. Range 1h … 3650d.
        public var retentionAge = Duration.seconds(7 * 86_400)
        /// The oldest events beyond this much are deleted. Default 10GB. Range 16MiB … 16TiB.
        public var retentionBytes = ByteCount(bytes: 10_000_000_000)
        /// How long a hole in a gateway's records may stay before the gateway is asked for it. Default 30s. Range 1s … 1h.
        public var gapWait = Duration.seconds(30)
    }

    /// Far above what an honest device does, and below what would stop the hub for the others.
    public static let throttlesDefault = ThrottleLimits(
        device: [
            .telemetry: "50000/s", .connections: "600/min", .twinReads: "2000/s", .twinUpdates: "5000/s",
            .methods: "1000/s", .cloudToDevice: "1000/s", .fileUploads: "600/min",
        ].compactMapValues { Rate($0) },
        hub: [
            .telemetry: "1000000/s", .connections: "20000/s", .twinReads: "100000/s", .twinUpdates: "100000/s",
            .methods: "50000/s", .cloudToDevice: "50000/s", .fileUploads: "1000/s",
            .registry: "50000/s",
        ].compactMapValues { Rate($0) })

    /// Messages that wait for devices.
    public struct CloudToDevice: Hashable, Sendable {
        /// Of a message that names no expiry. Default 1h. Range 1m … 2d.
        public var timeToLive = Duration.seconds(3600)
        /// Deliveries without an acknowledgement after which a message is given up. Default 10. Range 1 … 100.
        public var deliveriesMax = 10
        /// How long a message that was received over HTTPS stays locked. Default 1m. Range 1s … 5m.
        public var lockTime = Duration.seconds(60)
        /// How long feedback about messages is kept. Default 2d. Range 1m … 2d.
        public var feedbackTime = Duration.seconds(2 * 86_400)
    }

    /// Files that devices upload.
    public struct Files: Hashable, Sendable {
        /// Disk that all files may take. Default 10GB. Range 1MiB … 16TiB.
        public var quota = ByteCount(bytes: 10_000_000_000)
        /// Size of one file. Default 1GiB. Range 1KiB … 1TiB.
        public var fileBytesMax = ByteCount.gibibytes(1)
        /// Files that were last written longer ago are removed. Default 30d. Range 1h … 3650d.
        public var retentionAge = Duration.seconds(30 * 86_400)
        /// How long a device has for one upload. Default 1h. Range 1m … 1d.
        public var lifetime = Duration.seconds(3600)
        /// Uploads of one device at a time. Default 10. Range 1 … 1000.
        public var uploadsMax = 10
        /// Where they go; both `nil`: a folder of the data directory. At most one is set.
        public var azure: AzureContainer?
        public var s3: S3Container?
    }

    /// A container of an Azure storage account.
    public struct AzureContainer: Hashable, Sendable {
        public var account: String
        public var container: String
        /// A file that holds the account's key, as base64, and nothing else. Mode 0600.
        public var keyFile: String
        /// Host, and port if it is not 443. Default `<account>.blob.core.windows.net`.
        public var host: String
        /// Certificates that the account's has to lead to. Default `nil`: those of the system.
        public var caFile: String?
    }

    /// A bucket of an S3-compatible store.
    public struct S3Container: Hashable, Sendable {
        /// Scheme, host and port: `https://s3.eu-central-1.amazonaws.com`, or `http://` on a loopback host.
        public var endpoint: String
        /// Default us-east-1, which stores without regions take.
        public var region: String
        public var bucket: String
        /// Stands in front of every object's name. Default empty.
        public var prefix: String
        /// Whether the bucket is named in the host and not in the path. Default false.
        public var isVirtualHost: Bool
        /// A file that holds the access key in its first line and the secret in its second. Mode 0600.
        public var keyFile: String
        /// Certificates that the store's has to lead to. Default `nil`: those of the system.
        public var caFile: String?
    }

    /// A Dataverse environment to write alerts to.
    public struct CRM: Hashable, Sendable {
        /// Scheme, host and port: `https://contoso.crm4.dynamics.com`.
        public var url: String
        /// `https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token`.
        public var tokenURL: String
        public var clientID: String
        /// A file that holds the client secret and nothing else. Mode 0600.
        public var clientSecretFile: String
        /// What the token is asked for. Default: `<url>/.default`.
        public var scope: String
    }

    /// One line of the table from command names to methods.
    public struct Command: Hashable, Sendable {
        /// The service desk's name for it; case does not count.
        public var name: String
        /// The direct method to invoke.
        public var method: String
    }

    public init() {}
}
