import Mustache
import Primitives

/// The pages as Mustache templates. `{{x}}` escapes; nothing here uses the unescaped form except for whole fragments
/// that were themselves rendered by a template.
struct Templates: Sendable {
    private let library: MustacheLibrary

    init() throws {
        library = MustacheLibrary(
            templates: try TemplateText.all.mapValues { try MustacheTemplate(string: $0) })
    }

    func signIn() -> String { render("sign-in", ["title": "Sign in"]) }

    func problem(_ title: String, _ text: String) -> String { render("problem", ["title": title, "text": text]) }

    func devices(_ rows: [DeviceRow], session: SignIn.Session) -> String {
        render("devices-page", frame("Devices", session).merging(devicesModel(rows)) { $1 })
    }

    func deviceFragment(_ rows: [DeviceRow]) -> String { render("devices", devicesModel(rows)) }

    func alerts(_ rows: [AlertRow], session: SignIn.Session) -> String {
        render("alerts-page", frame("Alerts", session).merging(alertsModel(rows)) { $1 })
    }

    func alertFragment(_ rows: [AlertRow]) -> String { render("alerts", alertsModel(rows)) }

    func alert(_ alert: AlertDetail, session: SignIn.Session) -> String {
        render("alert-page", frame("Alert", session).merging(alertModel(alert)) { $1 })
    }

    func alertDetailFragment(_ alert: AlertDetail) -> String { render("alert", alertModel(alert)) }

    private func render(_ name: String, _ model: [String: Any]) -> String {
        guard let text = library.render(model, withTemplate: name) else {
            preconditionFailure("the built-in template \(name) is missing")
        }
        return text
    }

    private func frame(_ title: String, _ session: SignIn.Session) -> [String: Any] {
        ["title": title, "user": session.user, "formToken": session.formToken]
    }

    private func devicesModel(_ rows: [DeviceRow]) -> [String: Any] {
        let devices: [[String: Any]] = rows.map { row in
            [
                "id": row.id, "gateway": row.gateway, "hasGateway": !row.gateway.isEmpty,
                "state": row.isEnabled ? (row.isConnected ? "connected" : "offline") : "disabled",
                "lastActivity": row.lastActivity, "wasHeard": !row.lastActivity.isEmpty,
                "metrics": row.metrics.map(metricModel),
            ]
        }
        return ["devices": devices, "hasNone": rows.isEmpty]
    }

    private func metricModel(_ cell: MetricCell) -> [String: Any] {
        [
            "name": cell.name, "value": cell.value, "unit": UnitSymbol.shown(cell.unit), "time": cell.time,
            "quality": cell.quality, "isDoubtful": cell.quality != "good",
        ]
    }

    private func alertsModel(_ rows: [AlertRow]) -> [String: Any] {
        let open = rows.filter(\.isOpen)
        let closed = rows.filter { !$0.isOpen }
        return [
            "open": open.map(rowModel), "closed": closed.map(rowModel), "openCount": open.count,
            "hasNoneOpen": open.isEmpty, "hasClosed": !closed.isEmpty,
        ]
    }

    private func rowModel(_ row: AlertRow) -> [String: Any] {
        [
            "id": row.id.description, "alertTitle": row.title, "device": row.device, "time": row.time,
            "status": row.status, "isOpen": row.isOpen,
        ]
    }

    private func alertModel(_ alert: AlertDetail) -> [String: Any] {
        rowModel(alert.row).merging([
            "data": alert.data,
            "commands": alert.commands.map {
                ["name": $0.name, "status": $0.status, "reason": $0.reason, "time": $0.time]
            },
            "hasCommands": !alert.commands.isEmpty,
            "history": alert.history.map { ["time": $0.time, "actor": $0.actor, "what": $0.what] },
        ]) { $1 }
    }
}

/// How the units that our drivers use are written for people. Source: UCUM codes.
enum UnitSymbol {
    private static let symbols = ["Cel": "°C", "[degF]": "°F", "%": "%", "1": ""]

    static func shown(_ unit: String) -> String { symbols[unit] ?? unit }
}
