public import Primitives

/// What the pages show and may ask for. The composition root implements it on the registry, the live view and the
/// service desk; a page itself can reach nothing else.
public protocol PageSource: Sendable {
    /// Every device with its latest values, ordered by id.
    func devices() async throws -> [DeviceRow]
    /// Alerts, newest first; at most `limit`.
    func alerts(limit: Int) async throws -> [AlertRow]
    /// One alert with all that happened to it, or `nil` when there is no such alert.
    func alert(_ id: UniqueID) async throws -> AlertDetail?
    /// Writes a command row (and its audit row) on the service desk, and does nothing else: the connector alone takes it
    /// to the device.
    func createCommand(_ command: NewCommand, on alert: UniqueID, by user: String) async throws
}

/// One device as the devices page shows it.
public struct DeviceRow: Sendable, Equatable {
    public let id: String
    /// The gateway that speaks for it; empty for a device of its own.
    public let gateway: String
    public let isConnected: Bool
    public let isEnabled: Bool
    /// RFC 3339, or empty when it was never heard.
    public let lastActivity: String
    public let metrics: [MetricCell]

    public init(
        id: String, gateway: String, isConnected: Bool, isEnabled: Bool, lastActivity: String, metrics: [MetricCell]
    ) {
        self.id = id
        self.gateway = gateway
        self.isConnected = isConnected
        self.isEnabled = isEnabled
        self.lastActivity = lastActivity
        self.metrics = metrics
    }
}

/// The newest value of one metric of one device.
public struct MetricCell: Sendable, Equatable {
    public let name: String
    /// As the device wrote it.
    public let value: String
    public let unit: String
    /// RFC 3339.
    public let time: String
    /// `good`, `uncertain` or `bad`.
    public let quality: String

    public init(name: String, value: String, unit: String, time: String, quality: String) {
        self.name = name
        self.value = value
        self.unit = unit
        self.time = time
        self.quality = quality
    }
}

/// One alert as a list shows it.
public struct AlertRow: Sendable, Equatable {
    public let id: UniqueID
    public let title: String
    public let device: String
    /// RFC 3339.
    public let time: String
    public let isOpen: Bool
    /// The status reason in words: `Active`, `In Progress - Command Sent`, `Closed`, …
    public let status: String

    public init(id: UniqueID, title: String, device: String, time: String, isOpen: Bool, status: String) {
        self.id = id
        self.title = title
        self.device = device
        self.time = time
        self.isOpen = isOpen
        self.status = status
    }
}

/// One alert with its history.
public struct AlertDetail: Sendable, Equatable {
    public let row: AlertRow
    /// The JSON that the connector wrote with the alert.
    public let data: String
    public let commands: [CommandRow]
    /// What happened, oldest first.
    public let history: [HistoryRow]

    public init(row: AlertRow, data: String, commands: [CommandRow], history: [HistoryRow]) {
        self.row = row
        self.data = data
        self.commands = commands
        self.history = history
    }
}

/// One command row that belongs to an alert.
public struct CommandRow: Sendable, Equatable {
    public let name: String
    /// `In Progress`, `Sent` or `Error`.
    public let status: String
    public let reason: String
    /// RFC 3339.
    public let time: String

    public init(name: String, status: String, reason: String, time: String) {
        self.name = name
        self.status = status
        self.reason = reason
        self.time = time
    }
}

/// One line of an alert's history.
public struct HistoryRow: Sendable, Equatable {
    /// RFC 3339.
    public let time: String
    public let actor: String
    public let what: String

    public init(time: String, actor: String, what: String) {
        self.time = time
        self.actor = actor
        self.what = what
    }
}

/// A command that a person chose on an alert's page.
public enum NewCommand: Sendable, Equatable {
    case resetThermostat
    /// Metric names and values as the person typed them.
    case setValues([String: String])
    case notification(message: String)
}
