import Primitives

/// The user name of a device's MQTT CONNECT: `H/D/?api-version=…&DeviceClientType=…&model-id=…`, `H/D/M/?…`, and the
/// older forms `H/D`, `H/D/` and `H/D/api-version=…`. Ids are not percent-encoded in it, the query is.
public struct ConnectUserName: Hashable, Sendable {
    /// As sent; compare without regard to case and port (`HostName.same`).
    public let host: String
    public let identity: HubIdentity
    public let apiVersion: String?
    /// The SDK's name and version, for display only.
    public let clientType: String?
    /// The Plug and Play model (`dtmi:…`).
    public let modelID: String?

    public init(
        host: String, identity: HubIdentity, apiVersion: String? = "2021-04-12", clientType: String? = nil,
        modelID: String? = nil
    ) {
        self.host = host
        self.identity = identity
        self.apiVersion = apiVersion
        self.clientType = clientType
        self.modelID = modelID
    }

    public init(parsing text: some StringProtocol) throws(ConnectUserNameError) {
        var parts = text.cut(at: "/")
        // A query may hold raw slashes, so it begins at the first part that looks like one.
        var query: String?
        if let start = parts.dropFirst(2).firstIndex(where: { $0.hasPrefix("?") || $0.hasPrefix("api-version=") }) {
            if parts.count > 3, parts[1] == "registrations", !parts[start].hasPrefix("?") {
                throw ConnectUserNameError(.belongsToProvisioning, text)
            }
            query = parts[start...].joined(separator: "/")
            parts.removeSubrange(start...)
        }
        if parts.count > 2, parts.last?.isEmpty == true { parts.removeLast() }
        guard (2...3).contains(parts.count) else { throw ConnectUserNameError(.wrongShape, text) }
        guard !parts[0].isEmpty else { throw ConnectUserNameError(.noHost, text) }
        guard let device = DeviceID(parts[1]) else { throw ConnectUserNameError(.badDeviceID, text) }
        var identity = HubIdentity(device)
        if parts.count == 3 {
            guard let module = HubIdentity(device, module: parts[2]) else {
                throw ConnectUserNameError(.badModuleID, text)
            }
            identity = module
        }
        let values = Query(query.map { $0.hasPrefix("?") ? String($0.dropFirst()) : $0 } ?? "")
        self.init(
            host: String(parts[0]), identity: identity, apiVersion: values.decoded("api-version"),
            clientType: values.decoded("DeviceClientType"), modelID: values.decoded("model-id"))
    }

    /// The text to send in CONNECT.
    public var text: String {
        var query: [String] = []
        if let apiVersion { query.append("api-version=" + apiVersion) }
        if let clientType { query.append("DeviceClientType=" + PercentEncoding.encode(clientType)) }
        if let modelID { query.append("model-id=" + PercentEncoding.encode(modelID)) }
        let base = "\(host)/\(identity)"
        return query.isEmpty ? base : base + "/?" + query.joined(separator: "&")
    }
}

/// Why a CONNECT user name cannot be read. Not retryable: the client must send another one.
public struct ConnectUserNameError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable { case wrongShape, noHost, badDeviceID, badModuleID, belongsToProvisioning }

    public let problem: Problem
    /// The user name, cut to 256 characters.
    public let userName: String
    public var isRetryable: Bool { false }

    init(_ problem: Problem, _ text: some StringProtocol) {
        self.problem = problem
        userName = String(text.prefix(256))
    }

    public var description: String {
        let what =
            switch problem {
            case .wrongShape: "it is not of the form"
            case .noHost: "the host before the first '/' is missing in"
            case .badDeviceID: "the device id is empty, too long or has a character that ids cannot have, in"
            case .badModuleID: "the module id is too long or has a character that ids cannot have, in"
            case .belongsToProvisioning: "it is that of a device asking the provisioning service, not of the form"
            }
        return
            "MQTT user name '\(userName)' cannot be used: \(what) '{hub host}/{device id}[/{module id}]/?api-version=…'"
    }
}

/// `a=1&b=2`, values as sent. For the short queries that end topics and user names.
struct Query {
    let pairs: [(name: Substring, value: Substring)]

    init(_ text: some StringProtocol) {
        pairs = text.cut(at: "&", omittingEmpty: true).prefix(16).map { piece in
            let halves = piece.cut(at: "=", maxSplits: 1)
            return (halves[0], halves.count > 1 ? halves[1] : "")
        }
    }

    /// As sent; `%24rid` counts as `$rid`.
    func raw(_ name: String) -> Substring? {
        pairs.first { $0.name == name || PercentEncoding.decode($0.name) == name }?.value
    }

    /// Percent-decoded; as sent when that is not possible.
    func decoded(_ name: String) -> String? {
        raw(name).map { PercentEncoding.decode($0) ?? String($0) }
    }
}

/// Host names as clients write them.
public enum HostName {
    /// Whether two names mean the same host: without regard to case, and to a port behind either.
    public static func same(_ left: some StringProtocol, _ right: some StringProtocol) -> Bool {
        withoutPort(left).lowercased() == withoutPort(right).lowercased()
    }

    /// `host` of `host:port`; an IPv6 literal keeps its brackets.
    public static func withoutPort(_ host: some StringProtocol) -> String {
        guard let colon = host.lastIndex(of: ":"), !host[colon...].contains("]") else { return String(host) }
        let name = host[..<colon]
        // More than one colon outside brackets is a bare IPv6 address, which has no port.
        return name.contains(":") && !name.hasPrefix("[") ? String(host) : String(name)
    }
}
