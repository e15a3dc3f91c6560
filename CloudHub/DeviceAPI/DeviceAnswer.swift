import HubContract
import JSON
import Primitives

/// One answer, free of the HTTP library.
struct DeviceAnswer: Sendable {
    let status: Int
    var headers: [(name: String, value: String)] = []
    var body: [UInt8] = []

    /// An empty answer: 204.
    static let done = DeviceAnswer(status: 204)

    init(status: Int) { self.status = status }

    init(_ error: HubError, trackingID: String, at now: WallInstant) {
        self.init(status: error.httpStatus)
        body = error.body(trackingID: trackingID, at: now).serialized()
        headers = [
            (name: "Content-Type", value: "application/json; charset=utf-8"),
            (name: HubError.headerName, value: error.code.name),
        ]
        if let seconds = error.retryAfterSeconds { headers.append((name: "Retry-After", value: String(seconds))) }
    }
}
