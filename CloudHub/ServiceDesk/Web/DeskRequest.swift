import JSON
import Primitives

/// One request, free of the HTTP library.
struct DeskRequest: Sendable {
    enum Method: String, Sendable, CaseIterable { case get = "GET", post = "POST", patch = "PATCH", delete = "DELETE" }

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

    /// The preferences of all `Prefer` headers: `odata.maxpagesize` → `50`.
    var preferences: [String: String] {
        var preferences: [String: String] = [:]
        for part in (headers["prefer"] ?? "").split(separator: ",").prefix(16) {
            let halves = part.split(separator: "=", maxSplits: 1)
            guard let name = halves.first?.trimmed else { continue }
            let value = halves.count > 1 ? halves[1].trimmed : ""
            preferences[name.lowercased()] = String(value.filter { $0 != "\"" })
        }
        return preferences
    }
}

/// One answer, free of the HTTP library.
struct DeskAnswer: Sendable {
    let status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    init(_ status: Int, headers: [(name: String, value: String)] = [], json: JSONValue? = nil) {
        self.status = status
        self.headers = headers
        if let json {
            body = json.serialized()
            self.headers.append((name: "Content-Type", value: "application/json; odata.metadata=minimal"))
        }
    }

    init(_ error: DataverseError) { self.init(error.status, json: error.body) }
}
