import JSON
import Primitives

/// One request, free of the HTTP library.
struct DeskRequest: Sendable {
    enum Method: String, Sendable, CaseIterable {
        case get = "GET", post = "POST", patch = "PATCH", put = "PUT", delete = "DELETE"
    }

    let method: Method
    /// The path after `/api/data/v9.2/`, decoded: `msdyn_iotalerts(…)`, and what follows it.
    let segments: [String]
    /// Still percent-encoded.
    let query: String
    /// `http://127.0.0.1:8080`, the origin that the client used.
    let origin: String
    /// Lower-case names.
    let headers: [String: String]
    let body: [UInt8]

    /// Dataverse samples send `If-None-Match: null` with every call; it means nothing.
    func header(_ name: String) -> String? {
        guard let value = headers[name], value != "null" else { return nil }
        return value
    }

    var preferences: Preferences { Preferences(headers["prefer"] ?? "") }
}

/// One answer, free of the HTTP library.
struct DeskAnswer: Sendable {
    let status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    init(_ status: Int, headers: [(name: String, value: String)] = [], json: JSONValue? = nil) {
        self.status = status
        self.headers = headers + [(name: "OData-Version", value: "4.0")]
        if let json {
            body = json.serialized()
            self.headers.append((name: "Content-Type", value: "application/json; odata.metadata=minimal"))
        }
    }

    /// Of the token endpoint. Source: RFC 6749, sections 5.1 and 5.2.
    init(token: JSONValue, _ status: Int) {
        self.status = status
        body = token.serialized()
        headers = [
            (name: "Content-Type", value: "application/json; charset=utf-8"),
            (name: "Cache-Control", value: "no-store"),
            (name: "Pragma", value: "no-cache"),
        ]
    }

    init(_ error: DataverseError) { self.init(error.status, json: error.body) }
}
