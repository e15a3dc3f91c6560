import HTTPTypes
public import Hummingbird
import JSON
public import Logging
import NIOCore
public import Primitives
import Synchronization

/// Where the desk keeps its files and under which origin clients reach it.
public struct DeskConfiguration: Sendable {
    /// Holds `desk.sqlite` and `desk-client.json`; must exist.
    public var folder: String
    /// `https://host[:port]`, without a path. `nil` takes `http://` and each request's `Host` header.
    public var publicOrigin: String?
    /// How long a bearer token is good for. Range 1 s … 24 h.
    public var tokenLifetime: Duration
    /// The civil clock.
    public var now: @Sendable () -> WallInstant

    public init(
        folder: String, publicOrigin: String? = nil, tokenLifetime: Duration = .seconds(3599),
        now: @escaping @Sendable () -> WallInstant
    ) {
        self.folder = folder
        self.publicOrigin = publicOrigin
        self.tokenLifetime = tokenLifetime
        self.now = now
    }
}

/// The embedded service desk: a product of its own that answers the Dataverse Web API over its own database.
///
/// Nothing but its routes and the in-process door for pages leads into it. Thread-safe.
public final class ServiceDesk: Sendable {
    /// The newest schema of `desk.sqlite` that this program knows.
    public static let schemaVersion = DeskDatabase.schemaVersion

    public let credentials: DeskCredentials
    /// Refuses requests on demand, for trying clients against the limits of Dataverse.
    public let throttle = Throttle()

    let store: DeskStore
    let configuration: DeskConfiguration
    private let issuer: TokenIssuer
    private let log: Logger
    private let commandCreated = Mutex<(@Sendable () -> Void)?>(nil)

    /// Opens the database and the client's credentials, and makes what is missing.
    ///
    /// - Throws: `DeskError`, or what SQLite says.
    public init(_ configuration: DeskConfiguration, log: Logger) throws {
        self.configuration = configuration
        self.log = log
        credentials = try DeskCredentials.loadOrCreate(path: configuration.folder + "/desk-client.json")
        store = try DeskStore(path: configuration.folder + "/desk.sqlite", now: configuration.now)
        issuer = TokenIssuer(credentials: credentials, lifetime: configuration.tokenLifetime)
    }

    public func close() throws { try store.close() }

    /// Whether rows can be stored now: writes to `desk.sqlite` without changing anything.
    ///
    /// - Throws: what SQLite says.
    public func checkWritable() async throws { try await store.checkWritable() }

    /// Ends every bearer token that was given out, as a revoked session does.
    public func forgetTokens() { issuer.forgetTokens() }

    /// Runs `wake` after each new command row is durable, as a webhook step would. It carries nothing: who is woken
    /// reads the rows through the Web API. Replaces the one before.
    public func onCommandCreated(_ wake: @escaping @Sendable () -> Void) {
        commandCreated.withLock { $0 = wake }
    }

    /// Adds `/api/data/v9.2/…` and `/{tenant}/oauth2/v2.0/token`.
    public func addRoutes<Context: RequestContext>(to router: Router<Context>) {
        router.post("/:tenant/oauth2/v2.0/token") { request, context in
            try await self.token(request, tenant: context.parameters.get("tenant") ?? "").response
        }
        for method in DeskRequest.Method.allCases {
            router.on(RouterPath(WebAPI.path + "**"), method: method.httpMethod) { request, _ in
                await self.answer(request, method).response
            }
        }
    }

    func rowCreated(_ table: Table) {
        guard table.logicalName == Tables.command.logicalName else { return }
        commandCreated.withLock { $0 }?()
    }

    // MARK: - Requests

    private func token(_ request: Request, tenant: String) async throws -> DeskAnswer {
        let now = configuration.now()
        let body = try await request.body.collect(upTo: 16 << 10)
        var form: [String: String] = [:]
        for (name, value) in (try? QueryOptions.pairs(String(buffer: body))) ?? [] { form[name] = value }
        switch issuer.token(tenant: tenant, form: form, resources: [origin(request)], now: now) {
        case .success(let token): return DeskAnswer(token: token, 200)
        case .failure(let refusal):
            log.warning("refused a token", metadata: ["error": .string(refusal.error), "number": "\(refusal.number)"])
            return DeskAnswer(token: refusal.body(now: now), refusal.status)
        }
    }

    private func answer(_ request: Request, _ method: DeskRequest.Method) async -> DeskAnswer {
        do {
            let origin = origin(request)
            guard isAuthenticated(request, origin) else { return unauthenticated(origin) }
            if let refusal = throttle.next(isWrite: method != .get) { return refusal }
            let api = WebAPI(store: store, onCreate: { [weak self] in self?.rowCreated($0) })
            return try await api.answer(try await deskRequest(request, method, origin), by: client)
        } catch let error as DataverseError {
            return DeskAnswer(error)
        } catch {
            log.error("the service desk could not answer", metadata: ["error": "\(error)"])
            return DeskAnswer(DataverseError(503, "0x80040216", "An unexpected error occurred."))
        }
    }

    private func deskRequest(
        _ request: Request, _ method: DeskRequest.Method, _ origin: String
    ) async throws -> DeskRequest {
        let path = request.uri.path.dropFirst(WebAPI.path.count)
        var segments: [String] = []
        for part in path.split(separator: "/").prefix(8) {
            guard let segment = PercentEncoding.decode(part) else { throw DataverseError.unknownSegment(part) }
            segments.append(segment)
        }
        var headers: [String: String] = [:]
        for field in request.headers {
            let name = field.name.canonicalName
            headers[name] = headers[name].map { $0 + "," + field.value } ?? field.value
        }
        let body: ByteBuffer
        do {
            body = try await request.body.collect(upTo: WebAPI.bodyBytesMax)
        } catch {
            throw DataverseError.bodyTooLarge
        }
        return DeskRequest(
            method: method, segments: segments, query: request.uri.query ?? "", origin: origin, headers: headers,
            body: Array(body.readableBytesView))
    }

    private var client: Actor {
        Actor(
            id: UniqueID(credentials.clientID) ?? UniqueID(high: 0, low: 0), name: "application \(credentials.clientID)"
        )
    }

    private func origin(_ request: Request) -> String {
        configuration.publicOrigin ?? "http://\(request.head.authority ?? "localhost")"
    }

    private func isAuthenticated(_ request: Request, _ origin: String) -> Bool {
        guard let field = request.headers[.authorization], let token = field.dropping(prefix: "Bearer ") else {
            return false
        }
        return issuer.isValid(token, for: [origin], now: configuration.now())
    }

    /// Empty body; where to get a token stands in the challenge, as Dataverse answers.
    private func unauthenticated(_ origin: String) -> DeskAnswer {
        let challenge =
            "Bearer authorization_uri=\(origin)/\(credentials.tenant)/oauth2/authorize, resource_id=\(origin)/"
        return DeskAnswer(401, headers: [(name: "WWW-Authenticate", value: challenge)])
    }
}

extension DeskRequest.Method {
    fileprivate var httpMethod: HTTPRequest.Method {
        switch self {
        case .get: .get
        case .post: .post
        case .patch: .patch
        case .put: .put
        case .delete: .delete
        }
    }
}

extension DeskAnswer {
    fileprivate var response: Response {
        var fields = HTTPFields()
        for header in headers {
            guard let name = HTTPField.Name(header.name) else { continue }
            fields.append(HTTPField(name: name, value: header.value))
        }
        return Response(
            status: .init(code: status), headers: fields,
            body: body.isEmpty ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
}
