import HubContract
import Primitives
import Registry

/// The verbs of the service API.
enum ServiceVerb: String, Sendable, CaseIterable {
    case get = "GET", put = "PUT", post = "POST", patch = "PATCH", delete = "DELETE"
}

/// Everything the service API does. Source: Azure IoT Hub service REST API, 2021-04-12.
enum ServiceRoute: Sendable, Hashable {
    case listDevices, bulk
    case getDevice(DeviceID), putDevice(DeviceID), deleteDevice(DeviceID)
    case listModules(DeviceID)
    case getModule(DeviceID, String), putModule(DeviceID, String), deleteModule(DeviceID, String)
    case getTwin(HubIdentity), patchTwin(HubIdentity), replaceTwin(HubIdentity)
    case invokeMethod(HubIdentity)
    case purgeMessages(DeviceID)
    /// The lock as it stands in the path.
    case takeFeedback, completeFeedback(lock: String), abandonFeedback(lock: String)
    case deviceStatistics, serviceStatistics

    /// `nil` when there is no such path or it does not take the verb.
    ///
    /// - Parameter path: percent-decoded segments.
    /// - Throws: 400 when an id is none.
    init?(_ verb: ServiceVerb, _ path: [String]) throws(HubError) {
        switch (path.first, path.count) {
        case ("devices", 1):
            switch verb {
            case .get: self = .listDevices
            case .post: self = .bulk
            default: return nil
            }
        case ("devices", 2): try self.init(verb, device: try Self.device(path[1]))
        case ("devices", 3) where path[2] == "modules" && verb == .get: self = .listModules(try Self.device(path[1]))
        case ("devices", 3) where path[2] == "commands" && verb == .delete:
            self = .purgeMessages(try Self.device(path[1]))
        case ("devices", 4) where path[2] == "modules":
            let device = try Self.device(path[1])
            let module = try Self.module(path[3])
            switch verb {
            case .get: self = .getModule(device, module)
            case .put: self = .putModule(device, module)
            case .delete: self = .deleteModule(device, module)
            default: return nil
            }
        case ("twins", 2...5): try self.init(verb, twin: Array(path.dropFirst()))
        case ("statistics", 2) where verb == .get && path[1] == "devices": self = .deviceStatistics
        case ("statistics", 2) where verb == .get && path[1] == "service": self = .serviceStatistics
        case ("messages", 3...5): self.init(verb, feedback: path)
        default: return nil
        }
    }

    /// `messages/serviceBound/feedback`, with a lock behind it, and perhaps `abandon`.
    private init?(_ verb: ServiceVerb, feedback path: [String]) {
        guard path[1].lowercased() == "servicebound", path[2].lowercased() == "feedback" else { return nil }
        switch (verb, path.count) {
        case (.get, 3): self = .takeFeedback
        case (.delete, 4): self = .completeFeedback(lock: path[3])
        case (.post, 5) where path[4].lowercased() == "abandon": self = .abandonFeedback(lock: path[3])
        default: return nil
        }
    }

    private init?(_ verb: ServiceVerb, device: DeviceID) throws(HubError) {
        switch verb {
        case .get: self = .getDevice(device)
        case .put: self = .putDevice(device)
        case .delete: self = .deleteDevice(device)
        default: return nil
        }
    }

    /// `D`, `D/modules/M`, each with `/methods` behind it or not.
    private init?(_ verb: ServiceVerb, twin path: [String]) throws(HubError) {
        var path = path
        let isMethod = path.count.isMultiple(of: 2) && path.last == "methods"
        if isMethod { path.removeLast() }
        guard path.count == 1 || path.count == 3 && path[1] == "modules" else { return nil }
        let device = try Self.device(path[0])
        let who = path.count == 1 ? HubIdentity(device) : HubIdentity(device, module: try Self.module(path[2]))
        guard let who else { return nil }
        switch (verb, isMethod) {
        case (.post, true): self = .invokeMethod(who)
        case (.get, false): self = .getTwin(who)
        case (.patch, false): self = .patchTwin(who)
        case (.put, false): self = .replaceTwin(who)
        default: return nil
        }
    }

    /// Source: Azure IoT Hub, access control and permissions.
    var right: AccessRight {
        switch self {
        case .listDevices, .getDevice, .listModules, .getModule, .deviceStatistics, .serviceStatistics: .registryRead
        case .bulk, .putDevice, .deleteDevice, .putModule, .deleteModule: .registryWrite
        case .getTwin, .patchTwin, .replaceTwin, .invokeMethod, .purgeMessages, .takeFeedback, .completeFeedback,
            .abandonFeedback:
            .serviceConnect
        }
    }

    /// Whether the hub's limit for registry operations counts it.
    var isRegistryOperation: Bool { right != .serviceConnect }

    /// Bytes of the request's body.
    var bodyMax: Int {
        switch self {
        case .bulk: 6 << 20  // 100 devices with a twin of 40 KiB each, and their keys
        case .invokeMethod: 192 << 10  // the payload may be written with spaces
        case .patchTwin, .replaceTwin: 256 << 10
        default: 64 << 10
        }
    }

    private static func device(_ text: String) throws(HubError) -> DeviceID {
        guard let id = DeviceID(text) else {
            throw HubError(.argumentInvalid, "'\(text.prefix(128))' is no device id")
        }
        return id
    }

    private static func module(_ text: String) throws(HubError) -> String {
        guard let id = DeviceID(text) else {
            throw HubError(.argumentInvalid, "'\(text.prefix(128))' is no module id")
        }
        return id.text
    }
}
