import HubContract
import JSON
import Primitives

/// One request, free of the HTTP library.
struct ServiceCall: Sendable {
    let route: ServiceRoute
    let query: [String: String]
    let ifMatch: ETagCondition?
    let body: [UInt8]

    func json() throws(HubError) -> JSONValue {
        do throws(JSONError) { return try JSONValue(parsing: body) } catch {
            throw HubError(.iotHubFormatError, "the request's body is no JSON: \(error)")
        }
    }
}

/// One answer, free of the HTTP library.
struct ServiceAnswer: Sendable {
    let status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    /// An empty answer: 204.
    static let done = ServiceAnswer(status: 204)

    private init(status: Int) { self.status = status }

    init(
        _ status: Int = 200, json: JSONValue, etag: String? = nil,
        contentType: String = "application/json; charset=utf-8"
    ) {
        self.status = status
        body = json.serialized()
        headers.append((name: "Content-Type", value: contentType))
        if let etag { headers.append((name: "ETag", value: "\"\(etag)\"")) }
    }

    init(_ error: HubError, trackingID: String, at now: WallInstant) {
        self.init(error.httpStatus, json: error.body(trackingID: trackingID, at: now))
        headers.append((name: HubError.headerName, value: error.code.name))
        if let seconds = error.retryAfterSeconds { headers.append((name: "Retry-After", value: String(seconds))) }
    }
}
