import Devices
import HubContract
import JSON
import LiveState
import Primitives
import Registry
import ServiceDesk
import Telemetry
import WebUI

/// What the pages see: the registry, the live view, and the service desk. A command is a row on the desk and nothing
/// else; from here no way leads to a device.
struct PageAdapter: PageSource {
    /// More devices than this are not shown on one page. The command line lists them all.
    static let devicesShownMax = 500

    let registry: DeviceRegistry
    let devices: DeviceHub
    let live: LiveState
    let desk: ServiceDesk

    func devices() async throws -> [DeviceRow] { registry.list(most: Self.devicesShownMax).map(row) }

    func alerts(limit: Int) async throws -> [AlertRow] {
        try await desk.alerts(limit: limit).map(row)
    }

    func alert(_ id: UniqueID) async throws -> AlertDetail? {
        guard let found = try await desk.alert(id) else { return nil }
        return AlertDetail(
            row: row(found.alert), data: found.alertText,
            commands: found.commands.map {
                CommandRow(name: $0.name, status: $0.status, reason: $0.reason, time: $0.createdAt.description)
            },
            history: found.history.map { HistoryRow(time: $0.at.description, actor: $0.actor, what: $0.what) })
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

    private func row(_ record: DeviceRecord) -> DeviceRow {
        let latest = live.latest(of: record.id)
        let metrics = (latest?.metrics ?? [:]).sorted { $0.key < $1.key }
        return DeviceRow(
            id: record.id.text,
            gateway: record.capabilities.iotEdge ? "" : registry.gateway(of: record.id)?.text ?? "",
            isConnected: devices.isOnline(HubIdentity(device: record.id)), isEnabled: record.status == .enabled,
            lastActivity: latest?.lastHeard.description ?? "",
            metrics: metrics.map { name, latest in
                MetricCell(
                    name: name, value: ShownValue.text(latest.value), unit: latest.unit ?? "",
                    time: latest.time.description, quality: latest.quality.rawValue)
            })
    }

    private func row(_ alert: DeskAlert) -> AlertRow {
        AlertRow(
            id: alert.id, title: alert.title, device: alert.deviceID, time: alert.time.description,
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
