public import Primitives

/// How the connector works.
public struct ConnectorConfiguration: Sendable {
    /// The namespace of every row id that the hub makes; it never changes, or alerts would double.
    public var hubID: UniqueID
    /// Goes before `/alerts/<id>` in an alert's link back to this hub; `nil` leaves the link out.
    public var pagesURL: String?
    /// Whether a device without a row gets one.
    public var createsDevices: Bool
    public var commands: CommandLimits
    /// Between two looks for command rows. Range 200 ms … 60 s. Default 1 s.
    public var pollInterval: Duration
    /// Longest wait for a method's answer. Default 30 s.
    public var methodTimeLimit: Duration
    /// Alerts on their way to the CRM at once. Range 1 … 52: Dataverse's own limit.
    public var alertsAtOnce: Int

    public init(
        hubID: UniqueID, pagesURL: String? = nil, createsDevices: Bool = true,
        commands: CommandLimits = CommandLimits(),
        pollInterval: Duration = .seconds(1), methodTimeLimit: Duration = .seconds(30), alertsAtOnce: Int = 8
    ) {
        self.hubID = hubID
        self.pagesURL = pagesURL
        self.createsDevices = createsDevices
        self.commands = commands
        self.pollInterval = pollInterval
        self.methodTimeLimit = methodTimeLimit
        self.alertsAtOnce = alertsAtOnce
    }
}

/// The two clocks that the connector reads.
public struct ConnectorClock: Sendable {
    public let wall: @Sendable () -> WallInstant
    public let monotonic: @Sendable () -> MonotonicInstant

    public init(
        wall: @escaping @Sendable () -> WallInstant, monotonic: @escaping @Sendable () -> MonotonicInstant
    ) {
        self.wall = wall
        self.monotonic = monotonic
    }
}
