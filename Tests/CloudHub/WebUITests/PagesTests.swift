import Hummingbird
import HummingbirdTesting
import Primitives
import Synchronization
import Testing

@testable import WebUI

@Suite struct PagesTests {
    private static let alertID = UniqueID(high: 1, low: 2)

    @Test func withoutASessionEveryPageLeadsToSignIn() async throws {
        try await withPages { client, _, _ in
            for path in ["/", "/alerts", "/alerts/\(Self.alertID)", "/fragments/devices", "/fragments/alerts"] {
                let answer = try await client.executeRequest(uri: path, method: .get, headers: [:], body: nil)
                #expect(answer.status == .seeOther, "\(path)")
                #expect(answer.headers[.location] == "/sign-in")
            }
        }
    }

    @Test func aLinkOpensThePagesOnce() async throws {
        try await withPages { client, pages, _ in
            let path = await pages.makeSignInPath(user: "ada")
            let first = try await client.executeRequest(uri: path, method: .get, headers: [:], body: nil)
            let cookie = try #require(first.headers[.setCookie])
            #expect(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"))
            let second = try await client.executeRequest(uri: path, method: .get, headers: [:], body: nil)
            #expect(second.status == .unauthorized)
            #expect(second.headers[.setCookie] == nil)
        }
    }

    @Test func whatADeviceWroteIsEscaped() async throws {
        try await withPages { client, pages, _ in
            let cookie = try await signIn(client, pages)
            for path in ["/", "/alerts", "/alerts/\(Self.alertID)"] {
                let answer = try await client.executeRequest(
                    uri: path, method: .get, headers: [.cookie: cookie], body: nil)
                let text = String(buffer: answer.body)
                #expect(answer.status == .ok)
                #expect(!text.contains("<script>"), "\(path) lets a device write markup")
                #expect(text.contains("&lt;script&gt;"), "\(path) does not show the text at all")
                #expect(answer.headers[.contentSecurityPolicy]?.contains("default-src 'none'") == true)
                #expect(answer.headers[.contentSecurityPolicy]?.contains("unsafe-inline") == false)
                #expect(!text.contains("onclick=") && !text.contains("style="))
            }
        }
    }

    @Test func aFormWithoutTheSessionsTokenWritesNothing() async throws {
        try await withPages { client, pages, source in
            let cookie = try await signIn(client, pages)
            let path = "/alerts/\(Self.alertID)/commands"
            for body in ["command=Reset+Thermostat", "command=Reset+Thermostat&form-token=guess"] {
                let answer = try await client.executeRequest(
                    uri: path, method: .post, headers: [.cookie: cookie], body: .init(string: body))
                #expect(answer.status == .forbidden)
            }
            #expect(source.written.withLock { $0 } == [])
        }
    }

    @Test func aFormWithTheTokenWritesOneRowInTheUsersName() async throws {
        try await withPages { client, pages, source in
            let cookie = try await signIn(client, pages)
            let page = try await client.executeRequest(
                uri: "/alerts/\(Self.alertID)", method: .get, headers: [.cookie: cookie], body: nil)
            let token = try #require(
                String(buffer: page.body).firstMatch(of: #/name="form-token" value="([0-9a-f]{64})"/#)?.1)
            let answer = try await client.executeRequest(
                uri: "/alerts/\(Self.alertID)/commands", method: .post, headers: [.cookie: cookie],
                body: .init(string: "command=Notification&message=hello&form-token=\(token)"))
            #expect(answer.status == .seeOther)
            #expect(source.written.withLock { $0 } == ["ada: notification(message: \"hello\")"])
        }
    }

    @Test func anAlertThatIsNotThereIsNotFound() async throws {
        try await withPages { client, pages, _ in
            let cookie = try await signIn(client, pages)
            for id in [UniqueID(high: 9, low: 9).description, "nonsense"] {
                let answer = try await client.executeRequest(
                    uri: "/alerts/\(id)", method: .get, headers: [.cookie: cookie], body: nil)
                #expect(answer.status == .notFound)
            }
        }
    }

    // MARK: support

    private func signIn(_ client: any TestClientProtocol, _ pages: WebPages) async throws -> String {
        let path = await pages.makeSignInPath(user: "ada")
        let answer = try await client.executeRequest(uri: path, method: .get, headers: [:], body: nil)
        let cookie = try #require(answer.headers[.setCookie])
        return String(cookie.prefix { $0 != ";" })
    }

    private func withPages(
        _ body: @Sendable (any TestClientProtocol, WebPages, HostileSource) async throws -> Void
    ) async throws {
        let source = HostileSource(alert: Self.alertID)
        let pages = try WebPages(source: source) { WallInstant(milliseconds: 1_000) }
        let router = Router()
        pages.addRoutes(to: router)
        try await Application(router: router).test(.router) { client in try await body(client, pages, source) }
    }
}

/// Devices that try to write markup into the pages.
private final class HostileSource: PageSource {
    let written = Mutex<[String]>([])
    private let id: UniqueID
    private let markup = "<script>alert(1)</script>"

    init(alert: UniqueID) { id = alert }

    func devices() async throws -> [DeviceRow] {
        let cell = MetricCell(name: markup, value: markup, unit: markup, time: markup, quality: "bad")
        return [
            DeviceRow(
                id: markup, gateway: markup, isConnected: true, isEnabled: true, lastActivity: markup, metrics: [cell])
        ]
    }

    func alerts(limit: Int) async throws -> [AlertRow] { [row] }

    func alert(_ id: UniqueID) async throws -> AlertDetail? {
        guard id == self.id else { return nil }
        return AlertDetail(
            row: row, data: markup,
            commands: [CommandRow(name: markup, status: markup, reason: markup, time: markup)],
            history: [HistoryRow(time: markup, actor: markup, what: markup)])
    }

    func createCommand(_ command: NewCommand, on alert: UniqueID, by user: String) async throws {
        written.withLock { $0.append("\(user): \(command)") }
    }

    private var row: AlertRow {
        AlertRow(id: id, title: markup, device: markup, time: markup, isOpen: true, status: markup)
    }
}
