import HTTPTypes
public import Hummingbird
import Logging
import NIOCore
public import Primitives

/// The operator's and service agent's pages: devices with live state, alerts, one alert with its history and commands.
///
/// HTML made on the server, one small script that refreshes fragments, no inline script or style. Every text that came
/// from a device is escaped by the template engine. Opening a page needs a session, which a one-time link opens; every
/// form carries the session's token.
public struct WebPages: Sendable {
    private let source: any PageSource
    private let signIn: SignInDesk
    private let templates: Templates
    private let now: @Sendable () -> WallInstant
    private let logger = Logger(label: "pages")
    private var cookie = Cookie.plain

    /// - Throws: when a built-in template does not parse, which a test would have shown.
    public init(source: any PageSource, now: @escaping @Sendable () -> WallInstant) throws {
        self.source = source
        self.signIn = SignInDesk(now: now)
        self.now = now
        self.templates = try Templates()
    }

    /// A path that signs `user` in, once, within fifteen minutes: `/sign-in/…`.
    public func makeSignInPath(user: String) async -> String { "/sign-in/" + (await signIn.makeLink(user: user)) }

    /// Open alerts on one page.
    private static let alertsMax = 200

    /// Shows a person's browser a page at an address that nothing else answers; programs get what they got before.
    ///
    /// - Parameter isOverTLS: as with `addRoutes`.
    public func addFallback(to router: Router<some RequestContext>, isOverTLS: Bool) {
        router.add(middleware: kept(to: isOverTLS ? .overTLS : .plain).middleware(for: router))
    }

    private func kept(to cookie: Cookie) -> WebPages {
        var pages = self
        pages.cookie = cookie
        return pages
    }

    private func middleware<Context: RequestContext>(for router: Router<Context>) -> NotFoundPage<Context> {
        NotFoundPage { request in
            guard let id = cookie.sessionID(in: request.headers[.cookie]) else { return notFound() }
            return notFound(await signIn.session(id))
        }
    }

    /// Adds every page to `router`.
    ///
    /// - Parameter isOverTLS: whether the router serves HTTPS alone: its sessions' cookies then never leave it.
    public func addRoutes(to router: Router<some RequestContext>, isOverTLS: Bool) {
        kept(to: isOverTLS ? .overTLS : .plain).addRoutes(to: router)
    }

    private func addRoutes(to router: Router<some RequestContext>) {
        router.get("/assets/:name") { _, context in asset(context.parameters.get("name") ?? "") }
        router.get("/sign-in/:token") { _, context in await openLink(context.parameters.get("token") ?? "") }
        router.get("/sign-in") { _, _ in
            page(.unauthorized, templates.signIn(isUsed: false))
        }
        router.post("/sign-out") { request, _ in
            try await withForm(request) { session, _ in
                await signIn.signOut(session.id)
                return redirect(to: "/sign-in", cookie: cookie.cleared)
            }
        }
        addDeviceRoutes(to: router)
        addAlertRoutes(to: router)
    }

    private func addDeviceRoutes(to router: Router<some RequestContext>) {
        router.get("/") { request, _ in
            let query = Self.query(request)
            return try await withSession(request) { session in
                page(
                    .ok,
                    templates.devices(query, try await source.devices(query), session: session.session, now: now()))
            }
        }
        router.get("/fragments/devices") { request, _ in
            let query = Self.query(request)
            return try await withSession(request) { _ in
                page(.ok, templates.deviceFragment(query, try await source.devices(query), now: now()))
            }
        }
    }

    private static func query(_ request: Request) -> DeviceQuery {
        let fields = CommandForm.fields(request.uri.query ?? "")
        return DeviceQuery(text: fields["q"] ?? "", page: fields["page"].flatMap { Int($0) } ?? 1)
    }

    private func addAlertRoutes(to router: Router<some RequestContext>) {
        router.get("/alerts") { request, _ in
            try await withSession(request) { session in
                page(
                    .ok,
                    templates.alerts(
                        try await source.alerts(limit: Self.alertsMax), session: session.session, now: now()))
            }
        }
        router.get("/fragments/alerts") { request, _ in
            try await withSession(request) { _ in
                page(.ok, templates.alertFragment(try await source.alerts(limit: Self.alertsMax), now: now()))
            }
        }
        router.get("/alerts/:id") { request, context in
            try await withSession(request) { session in
                guard let alert = try await alert(context.parameters.get("id")) else {
                    return noSuchAlert(session.session)
                }
                return page(.ok, templates.alert(alert, session: session.session, now: now()))
            }
        }
        router.get("/fragments/alerts/:id") { request, context in
            try await withSession(request) { _ in
                guard let alert = try await alert(context.parameters.get("id")) else { return notFound() }
                return page(.ok, templates.alertDetailFragment(alert, now: now()))
            }
        }
        router.post("/alerts/:id/commands") { request, context in
            let id = context.parameters.get("id")
            return try await withForm(request) { session, form in
                guard let alert = try await alert(id) else { return noSuchAlert(session.session) }
                switch CommandForm.read(form) {
                case .failure(let problem):
                    return page(
                        .badRequest,
                        templates.problem(
                            "This command was not sent", problem.text, session: session.session,
                            back: "/alerts/\(alert.row.id)"))
                case .success(let command):
                    try await source.createCommand(command, on: alert.row.id, by: session.session.user)
                    return redirect(to: "/alerts/\(alert.row.id)", cookie: nil)
                }
            }
        }
    }

    private func alert(_ id: String?) async throws -> AlertDetail? {
        guard let id = id.flatMap(UniqueID.init) else { return nil }
        return try await source.alert(id)
    }

    // MARK: sessions and forms

    private typealias OpenSession = (id: String, session: SignIn.Session)

    private func withSession(
        _ request: Request, _ body: (OpenSession) async throws -> Response
    ) async throws -> Response {
        guard let id = cookie.sessionID(in: request.headers[.cookie]), let session = await signIn.session(id) else {
            return redirect(to: "/sign-in", cookie: nil)
        }
        return try await body((id, session))
    }

    /// Like `withSession`, and refuses a form whose token is not the session's.
    private func withForm(
        _ request: Request, _ body: (OpenSession, [String: String]) async throws -> Response
    ) async throws -> Response {
        try await withSession(request) { open in
            let buffer = try await request.body.collect(upTo: 16 * 1024)
            let form = CommandForm.fields(String(buffer: buffer))
            let token = Secret(open.session.formToken.utf8)
            guard token.matches(Array((form["form-token"] ?? "").utf8)) else {
                logger.warning(
                    "form refused: its token is not the session's", metadata: ["user": "\(open.session.user)"])
                return page(
                    .forbidden,
                    templates.problem(
                        "This form is too old", "It was not made by your current session. Go back, reload, try again.",
                        session: open.session))
            }
            return try await body(open, form)
        }
    }

    private func openLink(_ token: String) async -> Response {
        guard let opened = await signIn.open(token) else {
            return page(.unauthorized, templates.signIn(isUsed: true))
        }
        logger.info("signed in", metadata: ["user": "\(opened.session.user)"])
        return redirect(to: "/", cookie: cookie.session(opened.id))
    }

    // MARK: responses

    private func asset(_ name: String) -> Response {
        guard let asset = Assets.named(name) else { return notFound() }
        var response = respond(.ok, asset.type, asset.text)
        response.headers[.cacheControl] = "max-age=300"
        return response
    }

    private func notFound(_ session: SignIn.Session? = nil) -> Response {
        page(
            .notFound,
            templates.problem(
                "Not found", "There is nothing at this address. Check it, or go on with one of these pages.",
                session: session))
    }

    private func noSuchAlert(_ session: SignIn.Session) -> Response {
        page(
            .notFound,
            templates.problem(
                "Not found", "There is no such alert; it may have been deleted on the service desk.", session: session))
    }

    private func page(_ status: HTTPResponse.Status, _ html: String) -> Response {
        var response = respond(status, "text/html; charset=utf-8", html)
        response.headers[.cacheControl] = "no-store"
        return response
    }

    private func redirect(to path: String, cookie: String?) -> Response {
        var response = respond(.seeOther, "text/plain; charset=utf-8", "")
        response.headers[.location] = path
        if let cookie { response.headers[.setCookie] = cookie }
        return response
    }

    private func respond(_ status: HTTPResponse.Status, _ type: String, _ text: String) -> Response {
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.contentSecurityPolicy] = Assets.contentSecurityPolicy
        headers[.xContentTypeOptions] = "nosniff"
        if let policy = HTTPField.Name("Referrer-Policy") { headers[policy] = "no-referrer" }
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }
}

private struct NotFoundPage<Context: RequestContext>: RouterMiddleware {
    let page: @Sendable (Request) async -> Response

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as HTTPError
            where error.status == .notFound && request.method == .get
            && request.headers[.accept]?.contains("text/html") == true
        {
            return await page(request)
        }
    }
}

/// The session cookie: not readable by scripts, never sent by another site.
///
/// Over HTTPS it has a name of its own, which a browser takes and sends over HTTPS alone. Under one name for both, a
/// browser that holds the one of HTTPS would refuse the plain listener's.
struct Cookie {
    static let plain = Cookie(name: "fieldline_session", attributes: "Path=/; HttpOnly; SameSite=Strict")
    static let overTLS = Cookie(
        name: "__Host-fieldline_session", attributes: "Path=/; Secure; HttpOnly; SameSite=Strict")

    private let name: String
    private let attributes: String

    var cleared: String { "\(name)=; \(attributes); Max-Age=0" }

    func session(_ id: String) -> String { "\(name)=\(id); \(attributes); Max-Age=43200" }

    func sessionID(in header: String?) -> String? {
        guard let header else { return nil }
        for pair in header.split(separator: ";") {
            let trimmed = pair.drop { $0 == " " }
            if trimmed.hasPrefix(name + "=") { return String(trimmed.dropFirst(name.count + 1)) }
        }
        return nil
    }
}
