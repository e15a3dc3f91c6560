public import Primitives

/// What the pages show and may ask for. The composition root implements it on the registry, the live view and the
/// service desk; a page itself can reach nothing else.
public protocol PageSource: Sendable {
    /// One page of the devices that a person looks for, ordered by id, with their latest values.
    func devices(_ query: DeviceQuery) async throws -> DevicePage
    /// Alerts, newest first; at most `limit`.
    func alerts(limit: Int) async throws -> [AlertRow]
    /// One alert with all that happened to it, or `nil` when there is no such alert.
    func alert(_ id: UniqueID) async throws -> AlertDetail?
    /// Writes a command row (and its audit row) on the service desk, and does nothing else: the connector alone takes it
    /// to the device.
    func createCommand(_ command: NewCommand, on alert: UniqueID, by user: String) async throws
}

/// What a person looks for on the devices page.
public struct DeviceQuery: Sendable, Equatable {
    /// Devices on one page.
    public static let rowsMax = 48
    /// Longest text that is looked for. Unit: characters.
    static let textLengthMax = 128

    /// A part of the id, case does not count; empty for every device.
    public let text: String
    /// From 1. A page behind the last one has no rows.
    public let page: Int

    public init(text: String, page: Int) {
        self.text = String(text.prefix(Self.textLengthMax))
        self.page = min(max(page, 1), 1_000_000)
    }
}

/// One page of the devices that were found.
public struct DevicePage: Sendable, Equatable {
    /// At most `DeviceQuery.rowsMax`.
    public let rows: [DeviceRow]
    /// How many devices fit the query, on all pages.
    public let matchingCount: Int
    /// How many there are at all.
    public let totalCount: Int
    /// Open alerts of the whole hub, newest first; at most 200.
    public let openAlerts: [AlertRow]

    public init(rows: [DeviceRow], matchingCount: Int, totalCount: Int, openAlerts: [AlertRow]) {
        self.rows = rows
        self.matchingCount = matchingCount
        self.totalCount = totalCount
        self.openAlerts = openAlerts
    }
}

/// One device as the devices page shows it.
public struct DeviceRow: Sendable, Equatable {
    public let id: String
    /// The gateway that speaks for it; empty for a device of its own.
    public let gateway: String
    /// Whether it speaks for others.
    public let isGateway: Bool
    public let isConnected: Bool
    public let isEnabled: Bool
    /// `nil` when it was never heard.
    public let lastHeard: WallInstant?
    public let metrics: [MetricCell]
    /// Of a gateway's records.
    public let books: Books

    /// How many records that a gateway numbered are not in the hub's log.
    public struct Books: Sendable, Equatable {
        /// They may still come.
        public let missing: UInt64
        /// The gateway declared that they never come.
        public let lost: UInt64

        public init(missing: UInt64 = 0, lost: UInt64 = 0) {
            self.missing = missing
            self.lost = lost
        }
    }

    public init(
        id: String, gateway: String, isGateway: Bool, isConnected: Bool, isEnabled: Bool, lastHeard: WallInstant?,
        metrics: [MetricCell], books: Books = Books()
    ) {
        self.id = id
        self.gateway = gateway
        self.isGateway = isGateway
        self.isConnected = isConnected
        self.isEnabled = isEnabled
        self.lastHeard = lastHeard
        self.metrics = metrics
        self.books = books
    }
}

/// The newest value of one metric of one device.
public struct MetricCell: Sendable, Equatable {
    public let name: String
    /// As the device wrote it.
    public let value: String
    public let unit: String
    /// When it was measured.
    public let time: WallInstant
    /// `good`, `uncertain` or `bad`.
    public let quality: String

    public init(name: String, value: String, unit: String, time: WallInstant, quality: String) {
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
    public let time: WallInstant
    public let isOpen: Bool
    /// The status reason in words: `Active`, `In Progress - Command Sent`, `Closed`, …
    public let status: String

    public init(id: UniqueID, title: String, device: String, time: WallInstant, isOpen: Bool, status: String) {
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
    /// What the alert says of itself, a name and a value each: `limit`, `70`.
    public let facts: [AlertFact]
    /// The device as it is now; `nil` when the hub does not know it any more.
    public let deviceNow: DeviceRow?
    public let commands: [CommandRow]
    /// What happened, oldest first.
    public let history: [HistoryRow]

    public init(
        row: AlertRow, data: String, facts: [AlertFact], deviceNow: DeviceRow?, commands: [CommandRow],
        history: [HistoryRow]
    ) {
        self.row = row
        self.data = data
        self.facts = facts
        self.deviceNow = deviceNow
        self.commands = commands
        self.history = history
    }
}

/// One thing that an alert says of itself.
public struct AlertFact: Sendable, Equatable {
    public let name: String
    public let value: String

    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// One command row that belongs to an alert.
public struct CommandRow: Sendable, Equatable {
    public let name: String
    /// `In Progress`, `Sent` or `Error`.
    public let status: String
    public let reason: String
    public let time: WallInstant
    /// Until when it may still be sent; after that it ends as failed.
    public let deadline: WallInstant

    public init(name: String, status: String, reason: String, time: WallInstant, deadline: WallInstant) {
        self.name = name
        self.status = status
        self.reason = reason
        self.time = time
        self.deadline = deadline
    }
}

/// One line of an alert's history.
public struct HistoryRow: Sendable, Equatable {
    public let time: WallInstant
    public let actor: String
    /// In plain words.
    public let what: String
    /// The same as the desk wrote it down.
    public let record: String

    public init(time: WallInstant, actor: String, what: String, record: String) {
        self.time = time
        self.actor = actor
        self.what = what
        self.record = record
    }
}

/// A command that a person chose on an alert's page.
public enum NewCommand: Sendable, Equatable {
    case resetThermostat
    /// Metric names and values as the person typed them.
    case setValues([String: String])
    case notification(message: String)
}
