public import Actuation
public import LocalMQTT
public import ModbusDriver
public import Primitives
public import RuleSets
public import Signals

/// Everything that the configuration file of `edge-agent` says, checked. Frozen: nothing reads the file again.
///
/// Secrets are in files that it only names. Deploy/config/edge-agent.toml explains every key.
public struct AgentConfig: Sendable {
    public var hub: HubConnection
    public var outbox: OutboxSettings
    /// One driver a broker; at most 16.
    public var brokers: [BrokerSettings]
    /// One driver a line; at most 16.
    public var lines: [ModbusConfig]
    public var rules: [EdgeRule]
    public var hubRules: HubRules
    /// At most 256.
    public var actuators: [Actuator]
    public var actuation: ActuationSettings
    /// What is kept of which signal; at most 256. The first that selects a signal counts.
    public var signals: [SignalSettings]
    /// Longest time between two savings of what windows and open lines hold. Default 60 s. Range 1 s … 1 h.
    public var signalStateInterval: Duration
    public var log: LogLevel

    public enum LogLevel: String, Sendable, CaseIterable { case debug, info, warning, error }
}

/// How the gateway reaches its hub.
public struct HubConnection: Sendable, Equatable {
    public enum Credentials: Sendable, Equatable {
        /// A file with one line: the device's connection string.
        case connectionStringFile(String)
        /// A PEM file and the key to it; the device's id is not in them.
        case certificate(device: DeviceID, certificateFile: String, key: Key)
    }

    /// Where the certificate's private key is.
    public enum Key: Sendable, Equatable {
        /// A PEM file.
        case file(String)
        /// A PEM file or a URI that OpenSSL's provider for TPMs understands; the key itself stays in the TPM.
        case inTPM(String)
    }

    /// What runs inside TLS.
    public enum Transport: Sendable { case mqtt, webSocket }

    /// An HTTP proxy on the way to the hub.
    public struct Proxy: Sendable, Equatable {
        public var host: String
        public var port: Int
        public var user: String?
        /// A file with one line.
        public var passwordFile: String?
    }

    /// The hub's name as its certificate has it.
    public var host: String
    /// Default 8883, and 443 with a WebSocket.
    public var port = 8883
    public var transport = Transport.mqtt
    /// The hub's web server, which is asked for the date while the clock is in doubt. Default 443, and with a WebSocket
    /// `port`.
    public var httpsPort = 443
    /// Batches are compressed for a hub that says it takes them so. Default yes.
    public var compresses = true
    /// IP bytes that may cross the network in a day, in both directions; `nil` for no limit. Range 10 KB … 1 TB.
    public var bytesPerDay: ByteCount?
    /// Whether faults still travel when they are spent. Default yes.
    public var sendsFaultsBeyondBudget = true
    public var proxy: Proxy?
    /// PEM file of the authorities that may vouch for the hub; `nil` for the system's.
    public var caFile: String?
    public var credentials: Credentials
    /// Default 60 s. Range 5 s … 1177 s, the longest that the protocol's servers honour.
    public var keepAlive = Duration.seconds(60)
    /// Default 1 h. Range 1 min … 24 h.
    public var tokenLifetime = Duration.seconds(3600)
    /// Batches on their way without acknowledgement. Default 8. Range 2 … 64.
    public var inflightBatches = 8
    /// Default 500 ms. Range 50 ms … `reconnectMost`.
    public var reconnectFirst = Duration.milliseconds(500)
    /// Default 1 min. Range up to 1 h.
    public var reconnectMost = Duration.seconds(60)

    public init(host: String, credentials: Credentials) {
        self.host = host
        self.credentials = credentials
    }
}

/// Where readings wait for the hub, how often they are written, and what stays after they have arrived.
public struct OutboxSettings: Sendable, Equatable {
    /// Default /var/lib/edge-agent/outbox.sqlite.
    public var path = "/var/lib/edge-agent/outbox.sqlite"
    /// Default 512 MiB. Range 1 MiB … 1 TiB.
    public var quota = ByteCount.mebibytes(512)
    /// At most one commit in this time, but for faults and for whoever cannot go on before it. Default 900 ms: flash is
    /// spared, and a reading is less than a second old when it leaves. Range 0 s … 10 s; 0 s is as many as there are
    /// deliveries to share them.
    public var commitInterval = Duration.milliseconds(900)
    /// From so many waiting bytes on, a commit does not wait for its interval. Default 64 KiB. Range 1 KiB … 1 MiB.
    public var commitBytes = ByteCount.kibibytes(64)
    /// How long acknowledged readings are kept for a replay. Default 24 h. Range 0 s … 30 d; 0 s keeps none.
    public var replayKeep = Duration.seconds(86_400)
    /// How much of the quota they may take; `nil` for a quarter. Range 64 KiB … half of the quota.
    public var replayQuota: ByteCount?
    /// Percent of the bandwidth that live readings get at least, whatever faults there are. Default 30. Range 1 … 80.
    public var liveShare = 30
    /// Percent that back-fill gets at least: backlog and replays. Default 20. Range 1 … 80; both together at most 90.
    public var backfillShare = 20
    /// Bytes that the flash stands to be written, by its maker's word; `nil` when nobody gave it. Range 1 GB … 1 PB.
    public var cardEndurance: ByteCount?

    public init() {}
}

/// Where moves are logged.
public struct ActuationSettings: Sendable, Equatable {
    /// Default: actuation.log beside the outbox.
    public var logPath: String
    /// Size at which a new file is begun. Default 1 MiB. Range 4 KiB … 16 MiB.
    public var logSize = ByteCount.mebibytes(1)
    /// The local socket of the running agent. Default: edge-agent.sock beside the outbox.
    public var socketPath: String

    public init(logPath: String, socketPath: String) {
        self.logPath = logPath
        self.socketPath = socketPath
    }
}

/// A local broker and where its password is.
public struct BrokerSettings: Sendable {
    /// Without the password.
    public var mqtt: LocalMQTTConfig
    /// A file with one line.
    public var passwordFile: String?
}
