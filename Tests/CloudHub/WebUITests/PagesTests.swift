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

    @Test(arguments: [false, true]) func onlyOverHTTPSIsTheCookieKeptToHTTPS(_ isOverTLS: Bool) async throws {
        try await withPages(isOverTLS: isOverTLS) { client, pages, _ in
            let path = await pages.makeSignInPath(user: "ada")
            let opened = try await client.executeRequest(uri: path, method: .get, headers: [:], body: nil)
            let cookie = try #require(opened.headers[.setCookie])
            #expect(cookie.hasPrefix("__Host-fieldline_session=") == isOverTLS)
            #expect(cookie.contains("; Secure") == isOverTLS)
            let pair = String(cookie.prefix { $0 != ";" })
            let page = try await client.executeRequest(uri: "/", method: .get, headers: [.cookie: pair], body: nil)
            #expect(page.status == .ok)
            let token = try #require(
                String(buffer: page.body).firstMatch(of: #/name="form-token" value="([0-9a-f]{64})"/#)?.1)
            let left = try await client.executeRequest(
                uri: "/sign-out", method: .post, headers: [.cookie: pair], body: .init(string: "form-token=\(token)"))
            let cleared = try #require(left.headers[.setCookie])
            #expect(cleared.hasPrefix(cookie.prefix { $0 != "=" } + "=;"))
            #expect(cleared.contains("; Secure") == isOverTLS)
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

    @Test func whatIsLookedForStaysInTheFormAndInTheLinks() async throws {
        try await withPages { client, pages, _ in
            let cookie = try await signIn(client, pages)
            let answer = try await client.executeRequest(
                uri: "/?q=a%22%26b&page=2", method: .get, headers: [.cookie: cookie], body: nil)
            let text = String(buffer: answer.body)
            #expect(text.contains(#"value="a&quot;&amp;b""#))
            #expect(text.contains(#"data-live="/fragments/devices?q=a%22%26b&amp;page=2""#))
            #expect(text.contains("Page 2 of 3") && text.contains("page=1\"") && text.contains("page=3\""))
        }
    }

    @Test func anAddressThatIsNotThereIsAPageThatLeadsBack() async throws {
        try await withPages { client, _, _ in
            let answer = try await client.executeRequest(
                uri: "/nothing", method: .get, headers: [.accept: "text/html"], body: nil)
            #expect(answer.status == .notFound)
            #expect(String(buffer: answer.body).contains("There is nothing at this address."))
        }
    }

    @Test func aUsedLinkSaysSo() async throws {
        try await withPages { client, _, _ in
            let answer = try await client.executeRequest(uri: "/sign-in/used", method: .get, headers: [:], body: nil)
            #expect(answer.status == .unauthorized)
            #expect(String(buffer: answer.body).contains("This link does not work any more"))
        }
    }

    @Test(arguments: [
        (0, "just now"), (2_999, "just now"), (12_000, "12 s ago"), (600_000, "10 min ago"), (10_800_000, "3 h ago"),
        (259_200_000, "3 days ago"), (-5_000, "just now"),
    ]) func anAgeIsSaidInWords(_ milliseconds: Int64, _ words: String) {
        let now = WallInstant(milliseconds: 1_000_000_000_000)
        #expect(Age.words(since: WallInstant(milliseconds: 1_000_000_000_000 - milliseconds), now: now) == words)
    }

    @Test(arguments: [
        (true, "being taken to the device; given up at 00:05:00 UTC"),
        (false, "waits for the device, which is offline, until 00:05:00 UTC"),
    ]) func aCommandOnItsWaySaysUntilWhen(_ isConnected: Bool, _ words: String) {
        let start = WallInstant(milliseconds: 0)
        let device = DeviceRow(
            id: "d", gateway: "", isGateway: false, isConnected: isConnected, isEnabled: true, lastHeard: nil,
            metrics: [])
        let command = CommandRow(
            name: "Notification", status: "In Progress", reason: "", time: start, deadline: start + .seconds(300))
        #expect(Advice.reason(command, device: device, now: start) == words)
    }

    // MARK: support

    private func signIn(_ client: any TestClientProtocol, _ pages: WebPages) async throws -> String {
        let path = await pages.makeSignInPath(user: "ada")
        let answer = try await client.executeRequest(uri: path, method: .get, headers: [:], body: nil)
        let cookie = try #require(answer.headers[.setCookie])
        return String(cookie.prefix { $0 != ";" })
    }

    private func withPages(
        isOverTLS: Bool = false,
        _ body: @Sendable (any TestClientProtocol, WebPages, HostileSource) async throws -> Void
    ) async throws {
        let source = HostileSource(alert: Self.alertID)
        let pages = try WebPages(source: source) { WallInstant(milliseconds: 1_000) }
        let router = Router()
        pages.addRoutes(to: router, isOverTLS: isOverTLS)
        pages.addFallback(to: router, isOverTLS: isOverTLS)
        try await Application(router: router).test(.router) { client in try await body(client, pages, source) }
    }
}

/// Devices that try to write markup into the pages.
private final class HostileSource: PageSource {
    let written = Mutex<[String]>([])
    private let id: UniqueID
    private let markup = "<script>alert(1)</script>"

    init(alert: UniqueID) { id = alert }

    func devices(_ query: DeviceQuery) async throws -> DevicePage {
        DevicePage(rows: [device], matchingCount: 100, totalCount: 500, openAlerts: [row])
    }

    private var device: DeviceRow {
        let cell = MetricCell(
            name: markup, value: markup, unit: markup, time: WallInstant(milliseconds: 0), quality: markup)
        return DeviceRow(
            id: markup, gateway: markup, isGateway: false, isConnected: true, isEnabled: true,
            lastHeard: WallInstant(milliseconds: 0), metrics: [cell])
    }

    func alerts(limit: Int) async throws -> [AlertRow] { [row] }

    func alert(_ id: UniqueID) async throws -> AlertDetail? {
        guard id == self.id else { return nil }
        return AlertDetail(
            row: row, data: markup, facts: [AlertFact(name: markup, value: markup)], deviceNow: device,
            commands: [
                CommandRow(
                    name: markup, status: markup, reason: markup, time: WallInstant(milliseconds: 0),
                    deadline: WallInstant(milliseconds: 300_000))
            ],
            history: [HistoryRow(time: WallInstant(milliseconds: 0), actor: markup, what: markup, record: markup)])
    }

    func createCommand(_ command: NewCommand, on alert: UniqueID, by user: String) async throws {
        written.withLock { $0.append("\(user): \(command)") }
    }

    private var row: AlertRow {
        AlertRow(
            id: id, title: markup, device: markup, time: WallInstant(milliseconds: 0), isOpen: true, status: markup)
    }
}
