public import Primitives

/// A connection string: `HostName=…;DeviceId=…;SharedAccessKey=…` for a device, with `ModuleId` for a module, with
/// `x509=true` in place of a key, or `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…` for a service.
public struct ConnectionString: Sendable {
    public let hostName: String
    public let deviceID: DeviceID?
    public let moduleID: String?
    public let sharedAccessKeyName: String?
    /// The decoded key.
    public let sharedAccessKey: Secret?
    /// Where to connect to when it is not the hub itself.
    public let gatewayHostName: String?
    /// The device proves itself with a certificate.
    public let isX509: Bool

    /// The identity that the string is for; `nil` for a service's.
    public var identity: HubIdentity? {
        guard let deviceID else { return nil }
        return moduleID.flatMap { HubIdentity(deviceID, module: $0) } ?? HubIdentity(deviceID)
    }

    /// A device's or module's string. No key means X.509.
    public init(hostName: String, identity: HubIdentity, key: Secret?, gatewayHostName: String? = nil) {
        self.hostName = hostName
        deviceID = identity.device
        moduleID = identity.module
        sharedAccessKeyName = nil
        sharedAccessKey = key
        self.gatewayHostName = gatewayHostName
        isX509 = key == nil
    }

    /// A service's string.
    public init(hostName: String, policy: String, key: Secret) {
        self.hostName = hostName
        deviceID = nil
        moduleID = nil
        sharedAccessKeyName = policy
        sharedAccessKey = key
        gatewayHostName = nil
        isX509 = false
    }

    /// Names are case-sensitive, in any order, each once; a name that is not known is refused.
    public init(parsing text: some StringProtocol) throws(ConnectionStringError) {
        let fields = try Fields(text)
        guard let host = fields["HostName"], Self.isHost(host) else {
            throw ConnectionStringError(fields["HostName"] == nil ? .missing(["HostName"]) : .badValue("HostName"))
        }
        let device = try fields["DeviceId"].map { text throws(ConnectionStringError) in
            guard let id = DeviceID(text) else { throw ConnectionStringError(.badValue("DeviceId")) }
            return id
        }
        if fields["ModuleId"] != nil, device == nil { throw ConnectionStringError(.missing(["DeviceId"])) }
        if let module = fields["ModuleId"], DeviceID(module) == nil {
            throw ConnectionStringError(.badValue("ModuleId"))
        }
        let key = try fields["SharedAccessKey"].map { text throws(ConnectionStringError) in
            guard let bytes = Base64.decode(text), !bytes.isEmpty else {
                throw ConnectionStringError(.badValue("SharedAccessKey"))
            }
            return Secret(bytes)
        }
        let isX509 = try fields["x509"].map { text throws(ConnectionStringError) in
            guard let flag = ["true": true, "false": false][text.lowercased()] else {
                throw ConnectionStringError(.badValue("x509"))
            }
            return flag
        }
        hostName = host
        deviceID = device
        moduleID = fields["ModuleId"]
        sharedAccessKeyName = fields["SharedAccessKeyName"]
        sharedAccessKey = key
        gatewayHostName = fields["GatewayHostName"]
        self.isX509 = isX509 ?? false
        try checkWhole()
    }

    /// The text form. Without `revealingKey` the key is shown as `<secret>`.
    public func text(revealingKey: Bool) -> String {
        let key = sharedAccessKey.map { revealingKey ? Base64.encode($0.bytes) : $0.description }
        let fields: [(String, String?)] = [
            ("HostName", hostName), ("DeviceId", deviceID?.text), ("ModuleId", moduleID),
            ("SharedAccessKeyName", sharedAccessKeyName), ("SharedAccessKey", key),
            ("GatewayHostName", gatewayHostName), ("x509", isX509 ? "true" : nil),
        ]
        return fields.compactMap { name, value in value.map { "\(name)=\($0)" } }.joined(separator: ";")
    }

    private func checkWhole() throws(ConnectionStringError) {
        if isX509, sharedAccessKey != nil { throw ConnectionStringError(.keyAndCertificate) }
        if isX509, deviceID == nil { throw ConnectionStringError(.missing(["DeviceId"])) }
        guard !isX509 else { return }
        if deviceID == nil, sharedAccessKeyName == nil {
            throw ConnectionStringError(.missing(["DeviceId", "SharedAccessKeyName"]))
        }
        if sharedAccessKey == nil {
            throw ConnectionStringError(.missing(deviceID == nil ? ["SharedAccessKey"] : ["SharedAccessKey", "x509"]))
        }
    }

    private static func isHost(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }
    }

    /// The pairs of the text, checked for shape only.
    private struct Fields {
        private static let known: Set<String> = [
            "HostName", "DeviceId", "ModuleId", "SharedAccessKeyName", "SharedAccessKey", "GatewayHostName", "x509",
        ]
        private var values: [String: String] = [:]

        subscript(name: String) -> String? { values[name] }

        init(_ text: some StringProtocol) throws(ConnectionStringError) {
            var unknown: [String] = []
            guard text.utf8.count <= 4096 else { throw ConnectionStringError(.tooLong) }
            let pieces = Substring(text).split(whereSeparator: { $0 == ";" || $0.isNewline || $0 == " " })
            for (index, piece) in pieces.enumerated() {
                guard let equals = piece.firstIndex(of: "="), equals > piece.startIndex else {
                    throw ConnectionStringError(.notAPair(part: index + 1))
                }
                let name = String(piece[..<equals])
                let value = String(piece[piece.index(after: equals)...])
                guard Self.known.contains(name) else {
                    unknown.append(String(name.prefix(32)))
                    continue
                }
                guard !value.isEmpty else { throw ConnectionStringError(.badValue(name)) }
                guard values.updateValue(value, forKey: name) == nil else {
                    throw ConnectionStringError(.repeated(name))
                }
            }
            if !unknown.isEmpty { throw ConnectionStringError(.unknown(unknown)) }
        }
    }
}

/// Why a connection string cannot be used. Never shows a value, because any of them might be the key.
public struct ConnectionStringError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        case tooLong
        /// The part (counted from 1) is not `Name=value`.
        case notAPair(part: Int)
        case unknown([String])
        case repeated(String)
        /// At least one of these is needed.
        case missing([String])
        case badValue(String)
        case keyAndCertificate
    }

    public let problem: Problem
    public var isRetryable: Bool { false }

    init(_ problem: Problem) { self.problem = problem }

    public var description: String {
        let what =
            switch problem {
            case .tooLong: "it is longer than 4096 bytes"
            case .notAPair(let part): "part \(part) is not of the form Name=value"
            case .unknown(let names):
                "unknown name \(names.map { "'\($0)'" }.joined(separator: ", ")); known are HostName, DeviceId, ModuleId, "
                    + "SharedAccessKeyName, SharedAccessKey, GatewayHostName and x509 (case matters)"
            case .repeated(let name): "'\(name)' comes twice"
            case .missing(let names): "\(names.map { "'\($0)'" }.joined(separator: " or ")) is missing"
            case .badValue("DeviceId"), .badValue("ModuleId"):
                "the id is longer than 128 characters or has a character that ids cannot have"
            case .badValue("SharedAccessKey"):
                "'SharedAccessKey' is not base64; copy the key whole, with its '=' at the end"
            case .badValue("x509"): "'x509' is neither true nor false"
            case .badValue(let name): "'\(name)' is empty or has characters that it cannot have"
            case .keyAndCertificate: "it has both SharedAccessKey and x509=true; leave one of them out"
            }
        return "the connection string cannot be used: \(what)"
    }
}
