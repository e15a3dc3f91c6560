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

    func signIn(isUsed: Bool) -> String {
        render("sign-in", ["title": isUsed ? "This link does not work any more" : "Sign in", "isUsed": isUsed])
    }

    /// - Parameter session: `nil` shows the page without its head, as to a person who is not signed in.
    func problem(_ title: String, _ text: String, session: SignIn.Session?, back: String? = nil) -> String {
        var model: [String: Any] = session.map { frame(title, $0) } ?? ["title": title]
        model["text"] = text
        model["back"] = back
        return render("problem", model)
    }

    func devices(_ query: DeviceQuery, _ page: DevicePage, session: SignIn.Session, now: WallInstant) -> String {
        var model = frame("Devices", session).merging(devicesModel(query, page, now)) { $1 }
        model["onDevices"] = true
        return render("devices-page", model)
    }

    func deviceFragment(_ query: DeviceQuery, _ page: DevicePage, now: WallInstant) -> String {
        render("devices", devicesModel(query, page, now))
    }

    func alerts(_ rows: [AlertRow], session: SignIn.Session, now: WallInstant) -> String {
        var model = frame("Alerts", session).merging(alertsModel(rows, now)) { $1 }
        model["onAlerts"] = true
        return render("alerts-page", model)
    }

    func alertFragment(_ rows: [AlertRow], now: WallInstant) -> String { render("alerts", alertsModel(rows, now)) }

    func alert(_ alert: AlertDetail, session: SignIn.Session, now: WallInstant) -> String {
        render("alert-page", frame(alert.row.title, session).merging(alertModel(alert, now)) { $1 })
    }

    func alertDetailFragment(_ alert: AlertDetail, now: WallInstant) -> String {
        render("alert", alertModel(alert, now))
    }

    private func render(_ name: String, _ model: [String: Any]) -> String {
        guard let text = library.render(model, withTemplate: name) else {
            preconditionFailure("the built-in template \(name) is missing")
        }
        return text
    }

    private func frame(_ title: String, _ session: SignIn.Session) -> [String: Any] {
        ["title": title, "user": session.user, "formToken": session.formToken]
    }

    // MARK: devices

    /// So many open alerts are named on the devices page and on one device's card.
    private static let alertsNamedMax = 5

    private func devicesModel(_ query: DeviceQuery, _ page: DevicePage, _ now: WallInstant) -> [String: Any] {
        let pageCount = max(1, (page.matchingCount + DeviceQuery.rowsMax - 1) / DeviceQuery.rowsMax)
        let open = page.openAlerts
        let troubles = Dictionary(grouping: open, by: \.device)
        var model: [String: Any] = [
            "devices": page.rows.map { deviceModel($0, troubles[$0.id] ?? [], now) }, "hasNone": page.totalCount == 0,
            "foundNone": page.totalCount > 0 && page.matchingCount == 0, "query": query.text,
            "queryEncoded": PercentEncoding.encode(query.text), "page": query.page, "pageCount": pageCount,
            "hasPages": pageCount > 1 || query.page > 1,
            "hasAlerts": !open.isEmpty, "alertNews": Self.openWords(open.count),
            "openAlerts": open.prefix(Self.alertsNamedMax).map { rowModel($0, now) },
            "moreAlerts": open.count > Self.alertsNamedMax,
        ]
        if query.page > 1 { model["previous"] = min(query.page - 1, pageCount) }
        if query.page < pageCount { model["next"] = query.page + 1 }
        if !query.text.isEmpty {
            model["counts"] = "\(page.matchingCount) of \(page.totalCount) devices have “\(query.text)” in their id."
        } else if pageCount > 1 {
            model["counts"] = "\(page.totalCount) devices"
        }
        return model
    }

    private func deviceModel(_ row: DeviceRow, _ alerts: [AlertRow], _ now: WallInstant) -> [String: Any] {
        [
            "id": row.id, "gateway": row.gateway, "hasGateway": !row.gateway.isEmpty, "isGateway": row.isGateway,
            "state": row.isEnabled ? (row.isConnected ? "connected" : "offline") : "disabled",
            "isMissing": row.books.missing > 0, "missing": Advice.missing(row.books.missing),
            "isLost": row.books.lost > 0, "lost": Advice.lost(row.books.lost),
            "heard": row.lastHeard.map { "last heard \(Age.words(since: $0, now: now))" } ?? "never heard yet",
            "metrics": row.metrics.map { metricModel($0, now) }, "hasTrouble": !alerts.isEmpty,
            "trouble": alerts.prefix(Self.alertsNamedMax).map { rowModel($0, now) },
        ]
    }

    /// A value older than this is said to be so.
    private static let oldAfter = Duration.seconds(15)

    private func metricModel(_ cell: MetricCell, _ now: WallInstant) -> [String: Any] {
        var model: [String: Any] = [
            "name": cell.name, "value": cell.value, "unit": UnitSymbol.shown(cell.unit), "time": cell.time.description,
            "quality": cell.quality, "isDoubtful": cell.quality != "good",
        ]
        if now - cell.time > Self.oldAfter { model["old"] = Age.words(since: cell.time, now: now) }
        return model
    }

    // MARK: alerts

    private static func openWords(_ count: Int) -> String {
        switch count {
        case 0: "No open alert"
        case 1: "1 open alert"
        default: "\(count) open alerts"
        }
    }

    private func alertsModel(_ rows: [AlertRow], _ now: WallInstant) -> [String: Any] {
        let open = rows.filter(\.isOpen)
        let closed = rows.filter { !$0.isOpen }
        return [
            "open": open.map { rowModel($0, now) }, "closed": closed.map { rowModel($0, now) },
            "alertNews": Self.openWords(open.count), "hasClosed": !closed.isEmpty,
        ]
    }

    private func rowModel(_ row: AlertRow, _ now: WallInstant) -> [String: Any] {
        [
            "id": row.id.description, "alertTitle": row.title, "device": row.device, "time": row.time.description,
            "age": Age.words(since: row.time, now: now), "status": row.status, "isOpen": row.isOpen,
        ]
    }

    private func alertModel(_ alert: AlertDetail, _ now: WallInstant) -> [String: Any] {
        let commands = alert.commands.map { command -> [String: Any] in
            let badge = Advice.badge(command.status)
            return [
                "name": command.name, "status": command.status, "badge": badge, "badgeClass": badge,
                "reason": Advice.reason(command, device: alert.deviceNow, now: now),
                "time": command.time.description, "age": Age.words(since: command.time, now: now),
            ]
        }
        var model = rowModel(alert.row, now).merging([
            "data": alert.data, "advice": Advice.text(alert), "hasFacts": !alert.facts.isEmpty,
            "facts": alert.facts.map { ["name": $0.name, "value": $0.value] },
            "commands": commands, "hasCommands": !commands.isEmpty,
            "history": alert.history.map {
                [
                    "time": Age.clock($0.time, now: now), "actor": $0.actor, "what": $0.what, "record": $0.record,
                ]
            },
        ]) { $1 }
        if let device = alert.deviceNow { model["deviceNow"] = deviceModel(device, [], now) }
        return model
    }
}

/// How the units that our drivers use are written for people. Source: UCUM codes.
enum UnitSymbol {
    private static let symbols = ["Cel": "°C", "[degF]": "°F", "%": "%", "1": ""]

    static func shown(_ unit: String) -> String { symbols[unit] ?? unit }
}
