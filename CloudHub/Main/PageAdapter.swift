import Devices
import EventLog
import HubContract
import JSON
import LiveState
import NIOPosix
import Primitives
import Registry
import ServiceDesk
import Telemetry
import WebUI

/// What the pages see: the registry, the live view, and the service desk. A command is a row on the desk and nothing
/// else; from here no way leads to a device.
struct PageAdapter: PageSource {
    /// The page names so many open alerts at most.
    private static let openAlertsMax = 200

    let registry: DeviceRegistry
    let devices: DeviceHub
    let live: LiveState
    let log: any EventLog
    let desk: ServiceDesk
    /// How long a command row may wait for its device.
    let commandTimeLimit: Duration

    func devices(_ query: DeviceQuery) async throws -> DevicePage {
        let found = registry.find(
            containing: query.text, skipping: (query.page - 1) * DeviceQuery.rowsMax, most: DeviceQuery.rowsMax)
        let log = log
        let gateways = found.records.filter(\.capabilities.iotEdge).map(\.id)
        let books = try await NIOThreadPool.singleton.runIfActive {
            try gateways.reduce(into: [DeviceID: DeviceRow.Books]()) { books, gateway in
                let outboxes = try log.sequences(gateway: gateway)
                books[gateway] = DeviceRow.Books(
                    missing: outboxes.flatMap(\.gaps).reduce(0) { $0 &+ $1.count },
                    lost: outboxes.reduce(0) { $0 &+ $1.lostCount })
            }
        }
        return DevicePage(
            rows: found.records.map { row($0, books: books[$0.id] ?? .init()) }, matchingCount: found.matchingCount,
            totalCount: registry.statistics.total,
            openAlerts: try await desk.alerts(.open, limit: Self.openAlertsMax).map(row))
    }

    func alerts(limit: Int) async throws -> [AlertRow] {
        // Open ones first, so that a long tail of closed ones never hides one.
        let open = try await desk.alerts(.open, limit: limit)
        return (open + (try await desk.alerts(.closed, limit: Self.closedAlertsMax))).map(row)
    }

    private static let closedAlertsMax = 50

    func alert(_ id: UniqueID) async throws -> AlertDetail? {
        guard let found = try await desk.alert(id) else { return nil }
        return AlertDetail(
            row: row(found.alert), data: found.alertText, facts: AlertFacts.read(found.alertText),
            deviceNow: DeviceID(found.alert.deviceID).flatMap { registry.device($0) }.map { row($0) },
            commands: found.commands.map {
                CommandRow(
                    name: $0.name, status: $0.status, reason: $0.reason, time: $0.createdAt,
                    deadline: $0.createdAt + commandTimeLimit)
            },
            history: found.history.map {
                HistoryRow(
                    time: $0.at, actor: HistoryWords.actor($0.actor), what: HistoryWords.what($0.what), record: $0.what)
            })
    }

    func createCommand(_ command: NewCommand, on alert: UniqueID, by user: String) async throws {
        switch command {
        case .resetThermostat:
            try await desk.createCommand("Reset Thermostat", on: alert, by: user)
        case .setValues(let values):
            try await desk.createCommand(
                "Set Values", parameters: JSONObjectText("Reading", values), on: alert, by: user)
        case .notification(let message):
            try await desk.createCommand(
                "Notification", parameters: JSONObjectText(["Message": message]), on: alert, by: user)
        }
    }

    private func row(_ record: DeviceRecord, books: DeviceRow.Books = .init()) -> DeviceRow {
        let latest = live.latest(of: record.id)
        let metrics = (latest?.metrics ?? [:]).sorted { $0.key < $1.key }
        return DeviceRow(
            id: record.id.text,
            gateway: record.capabilities.iotEdge ? "" : registry.gateway(of: record.id)?.text ?? "",
            isGateway: record.capabilities.iotEdge,
            isConnected: devices.isOnline(HubIdentity(device: record.id)), isEnabled: record.status == .enabled,
            lastHeard: latest?.lastHeard,
            metrics: metrics.map { name, latest in
                MetricCell(
                    name: name, value: ShownValue.text(latest.value), unit: latest.unit ?? "",
                    time: latest.time, quality: latest.quality.rawValue)
            }, books: books)
    }

    private func row(_ alert: DeskAlert) -> AlertRow {
        AlertRow(
            id: alert.id, title: alert.title, device: alert.deviceID, time: alert.time,
            isOpen: alert.isOpen, status: alert.status)
    }
}

/// A reading's value in words.
enum ShownValue {
    static func text(_ value: ReadingValue) -> String {
        switch value {
        case .number(let number): number.text
        case .text(let text): text
        case .boolean(let flag): flag ? "true" : "false"
        }
    }
}

/// What an alert's JSON says of itself, for people.
enum AlertFacts {
    private static let names = [
        ("severity", "severity"), ("readingtype", "what was measured"), ("reading", "measured"), ("threshold", "limit"),
        ("ruleoutput", "rule"), ("origin", "noticed by"), ("clearedtime", "over since"),
    ]

    static func read(_ text: String) -> [AlertFact] {
        guard let json = try? JSONValue(parsing: text) else { return [] }
        return names.compactMap { member, name in
            guard let value = json[member], !value.isNull else { return nil }
            let shown = value.stringValue ?? value.text
            guard !shown.isEmpty else { return nil }
            return AlertFact(name: name, value: member == "origin" ? origin(shown) : shown)
        }
    }

    private static func origin(_ origin: String) -> String {
        switch origin {
        case "edge": "the gateway, on the spot"
        case "hub": "the hub"
        default: origin
        }
    }
}

/// The desk's audit lines in plain words.
enum HistoryWords {
    static func actor(_ actor: String) -> String {
        if actor.hasPrefix("application ") { return "the hub" }
        return actor.hasPrefix("user ") ? String(actor.dropFirst("user ".count)) : actor
    }

    static func what(_ record: String) -> String {
        let head = record.prefix { $0 != ":" }
        let change = record.dropFirst(head.count + 2)
        switch head {
        case "create msdyn_iotalert": return "The alert was raised"
        case "create msdyn_iotdevicecommand":
            return "\(value(of: "msdyn_name", in: change) ?? "A command") was asked for"
        case "update msdyn_iotdevicecommand":
            return value(of: "msdyn_commandstatus", in: change) == "Sent"
                ? "The device has the command" : "The command failed"
        case "update msdyn_iotalert":
            // The status is the last column of the line; what stands before it may be a device's own words.
            guard let status = change.components(after: "; statuscode = ") else { return "The alert was updated" }
            return "Status: \(status)"
        default: return record
        }
    }

    /// The first column of the line, when it is the one asked for.
    private static func value(of column: String, in change: Substring) -> String? {
        guard change.hasPrefix(column + " = ") else { return nil }
        let rest = change.dropFirst(column.count + 3)
        return String(rest.prefix { $0 != ";" })
    }
}

extension Substring {
    /// What stands behind the last `mark`, when it holds no further column.
    fileprivate func components(after mark: String) -> String? {
        var rest = self
        while !rest.isEmpty, !rest.hasPrefix(mark) || rest.dropFirst(mark.count).contains(";") {
            rest = rest.dropFirst()
        }
        return rest.isEmpty ? nil : String(rest.dropFirst(mark.count))
    }
}
