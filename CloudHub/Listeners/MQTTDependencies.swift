public import EventLog
public import Ingest
public import Journal
public import Logging
public import Primitives
public import Sessions
public import Throttles

/// The rooms that an MQTT listener stands in front of.
public struct MQTTDependencies: Sendable {
    public let authority: any ConnectAuthority
    public let services: any DeviceServices
    public let connected: ConnectedDevices
    public let eventLog: any EventLog
    public let intake: TelemetryIntake
    /// `nil` lets everything through.
    public let throttles: Throttles?
    /// Is told why devices are refused, disconnected, throttled or quarantined.
    public let journal: DeviceJournal?
    /// The identity that a client certificate, in DER, was made for: its common name.
    public let nameIn: @Sendable (_ certificate: [UInt8]) -> String?
    public let logger: Logger
    /// The hub's civil clock: when tokens expire is asked of it, nothing is measured with it.
    public let now: @Sendable () -> WallInstant

    public init(
        authority: any ConnectAuthority, services: any DeviceServices, connected: ConnectedDevices,
        eventLog: any EventLog, intake: TelemetryIntake, throttles: Throttles? = nil, journal: DeviceJournal? = nil,
        nameIn: @escaping @Sendable (_ certificate: [UInt8]) -> String? = { _ in nil },
        logger: Logger, now: @escaping @Sendable () -> WallInstant
    ) {
        self.authority = authority
        self.services = services
        self.connected = connected
        self.eventLog = eventLog
        self.intake = intake
        self.throttles = throttles
        self.journal = journal
        self.nameIn = nameIn
        self.logger = logger
        self.now = now
    }
}
