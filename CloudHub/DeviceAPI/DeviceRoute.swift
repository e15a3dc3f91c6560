import HubContract
import Primitives

/// Everything the device API does. Source: Azure IoT Hub device REST API.
enum DeviceRoute: Sendable, Hashable {
    case sendEvent(DeviceID)
    case receiveMessage(DeviceID)
    /// The lock as it stands in the path.
    case completeMessage(DeviceID, lock: String)
    case rejectMessage(DeviceID, lock: String)
    case abandonMessage(DeviceID, lock: String)

    /// `nil` when there is no such path or it does not take the verb.
    ///
    /// - Parameters:
    ///   - path: percent-decoded segments; SDKs write `deviceBound` in both cases.
    ///   - isReject: whether the query has the parameter `reject`.
    /// - Throws: 400 when the id is none.
    init?(_ verb: String, _ path: [String], isReject: Bool) throws(HubError) {
        guard path.count >= 4, path[0] == "devices", path[2].lowercased() == "messages" else { return nil }
        guard let device = DeviceID(path[1]) else {
            throw HubError(.argumentInvalid, "'\(path[1].prefix(128))' is no device id")
        }
        switch (verb, path[3].lowercased(), path.count) {
        case ("POST", "events", 4): self = .sendEvent(device)
        case ("GET", "devicebound", 4): self = .receiveMessage(device)
        case ("DELETE", "devicebound", 5):
            self = isReject ? .rejectMessage(device, lock: path[4]) : .completeMessage(device, lock: path[4])
        case ("POST", "devicebound", 6) where path[5].lowercased() == "abandon":
            self = .abandonMessage(device, lock: path[4])
        default: return nil
        }
    }

    var device: DeviceID {
        switch self {
        case .sendEvent(let device), .receiveMessage(let device), .completeMessage(let device, _),
            .rejectMessage(let device, _), .abandonMessage(let device, _):
            device
        }
    }
}
