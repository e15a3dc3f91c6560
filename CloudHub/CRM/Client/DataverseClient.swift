public import AsyncHTTPClient
public import JSON
import NIOCore
import NIOHTTP1
public import Primitives

/// A client of the Dataverse Web API: one call, one request, with the token renewed once on 401.
///
/// It repeats nothing else; when to try again is its caller's matter. Thread-safe.
/// Source: Dataverse developer documentation, "Compose HTTP requests and handle errors".
public final class DataverseClient: Sendable {
    /// Longest answer that is read. Unit: bytes.
    static let answerBytesMax = 8 << 20

    /// What the HTTP client handed to `init` must be made with; add trust roots when the CRM's certificate needs them.
    /// A refused connection fails at once, because the connector itself decides when to try again.
    public static var httpConfiguration: HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.timeout.connect = .seconds(10)
        configuration.redirectConfiguration = .disallow
        return configuration
    }

    private let configuration: DataverseConfiguration
    private let http: HTTPClient
    private let tokens: TokenSource

    public init(
        _ configuration: DataverseConfiguration, http: HTTPClient, now: @escaping @Sendable () -> MonotonicInstant
    ) {
        self.configuration = configuration
        self.http = http
        tokens = TokenSource(configuration, http: http, now: now)
    }

    public enum CreateOutcome: Sendable, Equatable { case created, existed }

    /// Creates a row under an id that the caller chose; a row that is there already is left alone.
    public func createOnce(
        _ set: String, _ id: UniqueID, _ columns: JSONObject, doing: String
    ) async throws(DataverseClientError) -> CreateOutcome {
        let call = Call(.PATCH, set, id, body: columns, condition: ("If-None-Match", "*"), doing: doing)
        do {
            _ = try await send(call)
            return .created
        } catch {
            guard case .preconditionFailed = error.problem else { throw error }
            return .existed
        }
    }

    /// Changes a row that must be there.
    ///
    /// - Parameter tag: the row's `@odata.etag`, when it must not have changed since it was read.
    /// - Throws: `.notFound`, `.preconditionFailed` and the rest; the row is left as it was.
    public func update(
        _ set: String, _ id: UniqueID, _ columns: JSONObject, ifTag tag: String? = nil, doing: String
    ) async throws(DataverseClientError) {
        _ = try await send(Call(.PATCH, set, id, body: columns, condition: ("If-Match", tag ?? "*"), doing: doing))
    }

    /// - Returns: `nil` when there is no such row.
    public func row(
        _ set: String, _ id: UniqueID, select: [String], doing: String
    ) async throws(DataverseClientError) -> JSONValue? {
        let query = "$select=" + select.joined(separator: ",")
        do {
            return try await send(Call(.GET, set, id, query: query, doing: doing))
        } catch {
            guard case .notFound = error.problem else { throw error }
            return nil
        }
    }

    /// Which rows to read, and how many at most.
    public struct Query: Sendable {
        public let select: [String]
        /// OData text, not yet percent-encoded.
        public let filter: String
        public let orderBy: String
        /// Rows in one answer. Range 1 … 5000.
        public let pageRows: Int
        /// Answers; what matches beyond them is left out.
        public let pagesMax: Int

        public init(select: [String], filter: String, orderBy: String, pageRows: Int, pagesMax: Int = 1) {
            self.select = select
            self.filter = filter
            self.orderBy = orderBy
            self.pageRows = pageRows
            self.pagesMax = pagesMax
        }

        fileprivate var text: String {
            "$select=" + select.joined(separator: ",") + "&$filter=" + PercentEncoding.encode(filter) + "&$orderby="
                + PercentEncoding.encode(orderBy)
        }
    }

    /// The rows that match, in the query's order.
    public func rows(
        _ set: String, _ query: Query, doing: String
    ) async throws(DataverseClientError) -> [JSONValue] {
        var call = Call(
            .GET, set, nil, query: query.text, prefer: "odata.maxpagesize=\(query.pageRows)", doing: doing)
        var found: [JSONValue] = []
        for _ in 0..<query.pagesMax {
            let answer = try await send(call)
            guard let rows = answer?["value"]?.arrayValue else {
                throw DataverseClientError(.unreadable("a list has no value member"), doing: doing, which: set)
            }
            found += rows
            // Of the address only the query is taken: the token goes nowhere but to the configured environment.
            guard let next = answer?["@odata.nextLink"]?.stringValue, let start = next.firstIndex(of: "?") else {
                break
            }
            call.query = String(next[next.index(after: start)...])
        }
        return found
    }

    /// A string literal for `$filter`.
    public static func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''") + "'"
    }

    // MARK: - Sending

    private struct Call {
        let method: HTTPMethod
        let set: String
        let id: UniqueID?
        var query = ""
        var body: JSONObject?
        var condition: (name: String, value: String)?
        var prefer: String?
        let doing: String

        init(
            _ method: HTTPMethod, _ set: String, _ id: UniqueID?, query: String = "", body: JSONObject? = nil,
            condition: (String, String)? = nil, prefer: String? = nil, doing: String
        ) {
            self.method = method
            self.set = set
            self.id = id
            self.query = query
            self.body = body
            self.condition = condition.map { (name: $0.0, value: $0.1) }
            self.prefer = prefer
            self.doing = doing
        }

        var which: String { self.set + (id.map { "(\($0))" } ?? "") }
    }

    private struct Answer {
        let status: Int
        let retryAfter: Duration?
        let body: [UInt8]
    }

    private func send(_ call: Call) async throws(DataverseClientError) -> JSONValue? {
        let token = try await tokens.token()
        var answer = try await once(call, token)
        if answer.status == 401 {
            answer = try await once(call, try await tokens.token(insteadOf: token))
        }
        return try read(answer, of: call)
    }

    private func once(_ call: Call, _ token: Secret) async throws(DataverseClientError) -> Answer {
        var url = configuration.baseURL + "/api/data/v9.2/" + call.which
        if !call.query.isEmpty { url += "?" + call.query }
        var request = HTTPClientRequest(url: url)
        request.method = call.method
        request.headers.add(name: "Authorization", value: "Bearer " + String(decoding: token.bytes, as: UTF8.self))
        for (name, value) in [
            ("Accept", "application/json"), ("OData-Version", "4.0"), ("OData-MaxVersion", "4.0"),
        ] { request.headers.add(name: name, value: value) }
        if let condition = call.condition { request.headers.add(name: condition.name, value: condition.value) }
        if call.condition?.name != "If-None-Match" { request.headers.add(name: "If-None-Match", value: "null") }
        if let prefer = call.prefer { request.headers.add(name: "Prefer", value: prefer) }
        if let body = call.body {
            request.headers.add(name: "Content-Type", value: "application/json; charset=utf-8")
            request.body = .bytes(ByteBuffer(bytes: JSONValue.object(body).serialized()))
        }
        do {
            let response = try await http.execute(request, timeout: TimeAmount(configuration.requestTimeLimit))
            let body = try await response.body.collect(upTo: Self.answerBytesMax)
            return Answer(
                status: Int(response.status.code), retryAfter: Self.wait(response.headers.first(name: "Retry-After")),
                body: Array(body.readableBytesView))
        } catch {
            throw DataverseClientError(.unreachable("\(error)"), doing: call.doing, which: call.which)
        }
    }

    private func read(_ answer: Answer, of call: Call) throws(DataverseClientError) -> JSONValue? {
        switch answer.status {
        case 200, 201:
            do {
                return try JSONValue(parsing: answer.body)
            } catch {
                throw DataverseClientError(.unreadable("\(error)"), doing: call.doing, which: call.which)
            }
        case 204: return nil
        default:
            throw DataverseClientError(Self.problem(answer), doing: call.doing, which: call.which)
        }
    }

    private static func problem(_ answer: Answer) -> DataverseClientError.Problem {
        let error = (try? JSONValue(parsing: answer.body))?["error"]
        let detail = ODataError(
            code: error?["code"]?.stringValue ?? "",
            message: String((error?["message"]?.stringValue ?? "status \(answer.status)").prefix(2000)))
        switch answer.status {
        case 401: return .unauthorized
        case 403: return .forbidden(detail)
        case 404: return isAboutRow(detail) ? .notFound(detail) : .noSuchTable(detail)
        // Not this request's fault.
        case 408: return .server(status: 408, detail, retryAfter: answer.retryAfter)
        case 412: return .preconditionFailed(detail)
        case 429: return .throttled(detail, retryAfter: answer.retryAfter)
        case 500...599: return .server(status: answer.status, detail, retryAfter: answer.retryAfter)
        case 400...499: return .refused(status: answer.status, detail)
        default: return .unreadable("status \(answer.status)")
        }
    }

    /// ObjectDoesNotExist. The code may be missing, says the documentation.
    private static func isAboutRow(_ error: ODataError) -> Bool {
        error.code.lowercased() == "0x80040217" || (error.code.isEmpty && error.message.hasSuffix("Does Not Exist"))
    }

    /// `Retry-After` in seconds; at most an hour is believed.
    static func wait(_ text: String?) -> Duration? {
        text.flatMap { Int64($0) }.map { .seconds(min(max($0, 0), 3600)) }
    }
}
