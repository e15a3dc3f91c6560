public import JSON
public import Primitives

/// `authentication` in REST bodies. Missing and empty keys both read as `nil`: the hub then makes or keeps them.
public enum AuthenticationBody: Sendable {
    case sas(primary: Secret?, secondary: Secret?)
    case selfSigned(primary: String?, secondary: String?)
    case certificateAuthority
    case none

    /// Decoded length of a key that a caller gives. Source: Azure IoT Hub, device identity properties.
    public static let keyBytes = 16...64

    /// An absent `type` reads as the one that the given keys belong to, `sas` before all.
    public init(parsing value: JSONValue) throws(HubError) {
        let body = try Body(value, "authentication")
        let keys = try body.object("symmetricKey")
        let prints = try body.object("x509Thumbprint")
        let type = try body.text("type") ?? (keys == nil && prints != nil ? "selfSigned" : "sas")
        switch type {
        case "sas":
            self = .sas(
                primary: try Self.key(keys, "primaryKey"), secondary: try Self.key(keys, "secondaryKey"))
        case "selfSigned":
            self = .selfSigned(
                primary: try Self.thumbprint(prints, "primaryThumbprint"),
                secondary: try Self.thumbprint(prints, "secondaryThumbprint"))
        case "certificateAuthority": self = .certificateAuthority
        case "none": self = .none
        default:
            throw HubError(
                .argumentInvalid,
                "authentication.type is '\(type.prefix(32))'; use sas, selfSigned, certificateAuthority or none")
        }
    }

    /// The wire's name.
    public var typeName: String {
        switch self {
        case .sas: "sas"
        case .selfSigned: "selfSigned"
        case .certificateAuthority: "certificateAuthority"
        case .none: "none"
        }
    }

    /// Shows the keys: only for callers with the right to read them.
    public func json() -> JSONValue {
        var keys: (Secret?, Secret?) = (nil, nil)
        var prints: (String?, String?) = (nil, nil)
        switch self {
        case .sas(let primary, let secondary): keys = (primary, secondary)
        case .selfSigned(let primary, let secondary): prints = (primary, secondary)
        case .certificateAuthority, .none: break
        }
        let text = { (secret: Secret?) in JSONValue(optional: secret.map { Base64.encode($0.bytes) }) }
        return [
            "symmetricKey": ["primaryKey": text(keys.0), "secondaryKey": text(keys.1)],
            "x509Thumbprint": Self.thumbprints(prints.0, prints.1), "type": .string(typeName),
        ]
    }

    static func thumbprints(_ primary: String?, _ secondary: String?) -> JSONValue {
        ["primaryThumbprint": JSONValue(optional: primary), "secondaryThumbprint": JSONValue(optional: secondary)]
    }

    private static func key(_ body: Body?, _ name: String) throws(HubError) -> Secret? {
        guard let text = try body?.text(name), !text.isEmpty else { return nil }
        guard let bytes = Base64.decode(text), keyBytes.contains(bytes.count) else {
            throw HubError(
                .argumentInvalid,
                "\(name) is not base64 of \(keyBytes.lowerBound) to \(keyBytes.upperBound) bytes; leave it out to have one made"
            )
        }
        return Secret(bytes)
    }

    private static func thumbprint(_ body: Body?, _ name: String) throws(HubError) -> String? {
        guard let text = try body?.text(name), !text.isEmpty else { return nil }
        let digits = text.filter { $0 != ":" && $0 != " " }
        guard [40, 64].contains(digits.utf8.count), Hex.decode(digits) != nil else {
            throw HubError(
                .argumentInvalid, "\(name) is neither a SHA-1 (40 hex digits) nor a SHA-256 (64 hex digits) thumbprint")
        }
        return digits.uppercased()
    }
}

/// A device, or a module of one, as the registry API shows and takes it.
public struct DeviceBody: Sendable {
    public var identity: HubIdentity
    public var generationID: String?
    /// Without quotes.
    public var etag: String?
    public var isConnected = false
    public var connectionStateUpdated = WallInstant.never
    public var lastActivity = WallInstant.never
    public var cloudToDeviceCount = 0
    /// `nil` in a request: keys are made on creation, nothing changes on update.
    public var authentication: AuthenticationBody?
    // Of devices only:
    public var isEnabled = true
    public var statusReason: String?
    public var statusUpdated = WallInstant.never
    public var isEdge = false
    public var deviceScope: String?
    public var parentScopes: [String] = []
    // Of modules only:
    public var managedBy: String?

    public init(identity: HubIdentity) { self.identity = identity }

    /// A PUT's body. The path names whom it is about; a body that names another is refused.
    public init(parsing value: JSONValue, for identity: HubIdentity) throws(HubError) {
        let body = try Body(value, "the device")
        self.identity = identity
        try body.check("deviceId", is: identity.device.text)
        if let module = identity.module { try body.check("moduleId", is: module) }
        etag = try body.text("etag")
        managedBy = try body.text("managedBy")
        try readCommon(body)
    }

    fileprivate mutating func readCommon(_ body: Body) throws(HubError) {
        switch try body.text("status") {
        case nil, "enabled": isEnabled = true
        case "disabled": isEnabled = false
        default: throw HubError(.argumentInvalid, "status is neither 'enabled' nor 'disabled'")
        }
        statusReason = try body.text("statusReason")
        guard statusReason?.utf8.count ?? 0 <= 128 else {
            throw HubError(.argumentInvalid, "statusReason is longer than 128 characters")
        }
        if let value = body.value("authentication") { authentication = try AuthenticationBody(parsing: value) }
        isEdge = try body.object("capabilities")?.flag("iotEdge") ?? false
        deviceScope = try body.text("deviceScope").flatMap { $0.isEmpty ? nil : $0 }
        parentScopes = try body.texts("parentScopes") ?? []
    }

    public func json() -> JSONValue { identity.module.map(moduleJSON) ?? deviceJSON() }

    private func deviceJSON() -> JSONValue {
        var object: JSONObject = [
            "deviceId": .string(identity.device.text), "generationId": JSONValue(optional: generationID),
            "etag": JSONValue(optional: etag), "connectionState": connectionState,
            "status": .string(isEnabled ? "enabled" : "disabled"), "statusReason": JSONValue(optional: statusReason),
            "connectionStateUpdatedTime": .string(connectionStateUpdated.description),
            "statusUpdatedTime": .string(statusUpdated.description),
            "lastActivityTime": .string(lastActivity.description),
            "cloudToDeviceMessageCount": .number(JSONNumber(cloudToDeviceCount)),
            "authentication": authentication?.json() ?? .null, "capabilities": ["iotEdge": .bool(isEdge)],
        ]
        addScopes(to: &object)
        return .object(object)
    }

    private func moduleJSON(_ module: String) -> JSONValue {
        [
            "moduleId": .string(module), "managedBy": JSONValue(optional: managedBy),
            "deviceId": .string(identity.device.text), "generationId": JSONValue(optional: generationID),
            "etag": JSONValue(optional: etag), "connectionState": connectionState,
            "connectionStateUpdatedTime": .string(connectionStateUpdated.description),
            "lastActivityTime": .string(lastActivity.description),
            "cloudToDeviceMessageCount": .number(JSONNumber(cloudToDeviceCount)),
            "authentication": authentication?.json() ?? .null,
        ]
    }

    private var connectionState: JSONValue { .string(isConnected ? "Connected" : "Disconnected") }

    private func addScopes(to object: inout JSONObject) {
        if let deviceScope { object["deviceScope"] = .string(deviceScope) }
        if !parentScopes.isEmpty || isEdge { object["parentScopes"] = .array(parentScopes.map(JSONValue.string)) }
    }

    /// The twin as the service reads it, with what the registry knows of the identity.
    public func twinJSON(_ twin: TwinDocument) -> JSONValue {
        var prints: (String?, String?) = (nil, nil)
        if case .selfSigned(let primary, let secondary) = authentication { prints = (primary, secondary) }
        var object: JSONObject = ["deviceId": .string(identity.device.text)]
        if let module = identity.module { object["moduleId"] = .string(module) }
        object["etag"] = .string(twin.etag)
        object["deviceEtag"] = JSONValue(optional: etag)
        object["status"] = .string(isEnabled ? "enabled" : "disabled")
        if let statusReason { object["statusReason"] = .string(statusReason) }
        object["statusUpdateTime"] = .string(statusUpdated.description)
        object["connectionState"] = connectionState
        object["lastActivityTime"] = .string(lastActivity.description)
        object["cloudToDeviceMessageCount"] = .number(JSONNumber(cloudToDeviceCount))
        object["authenticationType"] = .string((authentication ?? .none).typeName)
        object["x509Thumbprint"] = AuthenticationBody.thumbprints(prints.0, prints.1)
        object["modelId"] = .string(twin.modelID ?? "")
        object["version"] = .number(JSONNumber(twin.version))
        object["tags"] = .object(twin.tags)
        object["properties"] = twin.servicePropertiesView()
        object["capabilities"] = ["iotEdge": .bool(isEdge)]
        addScopes(to: &object)
        return .object(object)
    }
}

/// One item of `POST /devices` (ExportImportDevice).
public struct BulkDeviceBody: Sendable {
    public enum Mode: String, CaseIterable, Sendable {
        case create, update, updateIfMatchETag, createOrUpdate, createOrUpdateIfMatchETag, delete, deleteIfMatchETag
        case updateTwin, updateTwinIfMatchETag
    }

    /// Most items of one call.
    public static let countMax = 100

    public let mode: Mode
    public let device: DeviceBody
    public let twinETag: String?
    /// `{"tags":…,"properties":{"desired":…}}`; `nil` when the item says nothing about the twin.
    public let twin: JSONValue?

    public init(parsing value: JSONValue) throws(HubError) {
        let body = try Body(value, "the item")
        guard let id = try body.text("id").flatMap({ DeviceID($0) }) else {
            throw HubError(.argumentInvalid, "'id' is missing or no device id")
        }
        var identity = HubIdentity(id)
        if let module = try body.text("moduleId"), !module.isEmpty {
            guard let named = HubIdentity(id, module: module) else {
                throw HubError(.argumentInvalid, "'moduleId' is no module id")
            }
            identity = named
        }
        let modeText = try body.text("importMode") ?? Mode.createOrUpdate.rawValue
        guard let mode = Mode.allCases.first(where: { $0.rawValue.lowercased() == modeText.lowercased() }) else {
            throw HubError(.argumentInvalid, "importMode is '\(modeText.prefix(32))', which is none of IoT Hub's")
        }
        self.mode = mode
        var device = DeviceBody(identity: identity)
        device.etag = try body.text("eTag")
        if device.etag == nil { device.etag = try body.text("etag") }
        try device.readCommon(body)
        self.device = device
        twinETag = try body.text("twinETag")
        var twin = JSONObject()
        if let tags = body.value("tags") { twin["tags"] = tags }
        if let properties = body.value("properties") { twin["properties"] = properties }
        self.twin = twin.isEmpty ? nil : .object(twin)
    }

    /// The whole request: 1 to 100 items.
    public static func list(parsing value: JSONValue) throws(HubError) -> [BulkDeviceBody] {
        guard let items = value.arrayValue, !items.isEmpty else {
            throw HubError(.argumentInvalid, "the body is no list of devices")
        }
        guard items.count <= countMax else {
            throw HubError(.tooManyDevices, "\(items.count) devices in one call; at most \(countMax) are taken")
        }
        var bodies: [BulkDeviceBody] = []
        for (index, item) in items.enumerated() {
            do throws(HubError) { bodies.append(try BulkDeviceBody(parsing: item)) } catch {
                throw HubError(error.code, "item \(index + 1): \(error.message)")
            }
        }
        return bodies
    }
}

/// The answer to `POST /devices`: status 200 when nothing failed, else 400, with the same body.
public struct BulkResultBody: Sendable {
    public struct Failure: Sendable {
        public let identity: HubIdentity
        public let error: HubError

        public init(identity: HubIdentity, error: HubError) {
            self.identity = identity
            self.error = error
        }
    }

    public let failures: [Failure]

    public init(failures: [Failure]) { self.failures = failures }

    public var httpStatus: Int { failures.isEmpty ? 200 : 400 }

    public func json() -> JSONValue {
        let errors = failures.map { failure -> JSONValue in
            var object: JSONObject = [
                "deviceId": .string(failure.identity.device.text),
                "errorCode": .string(failure.error.code.name), "errorStatus": .string(failure.error.message),
            ]
            if let module = failure.identity.module { object["moduleId"] = .string(module) }
            return .object(object)
        }
        return ["isSuccessful": .bool(failures.isEmpty), "errors": .array(errors), "warnings": []]
    }
}
