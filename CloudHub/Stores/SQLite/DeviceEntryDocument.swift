import JSON
import Primitives
import Registry

/// A device with its modules as the JSON text that `hub.sqlite` keeps. Members that are missing have their default;
/// members that are not known are ignored.
enum DeviceEntryDocument {
    static func text(_ entry: DeviceEntry) -> String {
        let device = entry.device
        var object: JSONObject = [
            "generation": .string(device.generationID), "etag": .string(device.etag),
            "status": .string(device.status.rawValue), "authentication": text(device.authentication),
            "created": .string(device.createdAt.description),
            "statusUpdated": .string(device.statusUpdatedAt.description),
        ]
        if let reason = device.statusReason { object["statusReason"] = .string(reason) }
        if device.capabilities.iotEdge { object["iotEdge"] = true }
        if let scope = device.deviceScope { object["scope"] = .string(scope) }
        if !device.parentScopes.isEmpty { object["parents"] = .array(device.parentScopes.map { .string($0) }) }
        if !entry.modules.isEmpty {
            object["modules"] = .array(entry.modules.values.sorted { $0.id < $1.id }.map(text))
        }
        return JSONValue.object(object).text
    }

    /// `nil` when the text is not what `text(_:)` writes.
    static func entry(_ id: DeviceID, _ text: String) -> DeviceEntry? {
        guard let document = try? JSONValue(parsing: text), let generation = document["generation"]?.stringValue,
            let etag = document["etag"]?.stringValue,
            let authentication = document["authentication"].flatMap(authentication),
            let created = document["created"]?.stringValue.flatMap({ WallInstant($0) }),
            let status = document["status"]?.stringValue.flatMap(DeviceStatus.init)
        else { return nil }
        var device = DeviceRecord(
            id: id, generationID: generation, etag: etag, authentication: authentication, createdAt: created)
        device.status = status
        device.statusReason = document["statusReason"]?.stringValue
        device.statusUpdatedAt = document["statusUpdated"]?.stringValue.flatMap { WallInstant($0) } ?? .never
        device.capabilities.iotEdge = document["iotEdge"]?.boolValue ?? false
        device.deviceScope = document["scope"]?.stringValue
        device.parentScopes = (document["parents"]?.arrayValue ?? []).compactMap(\.stringValue)
        var modules: [String: ModuleRecord] = [:]
        for value in document["modules"]?.arrayValue ?? [] {
            guard let module = module(value) else { return nil }
            modules[module.id] = module
        }
        return DeviceEntry(device: device, modules: modules)
    }

    private static func text(_ module: ModuleRecord) -> JSONValue {
        var object: JSONObject = [
            "id": .string(module.id), "generation": .string(module.generationID), "etag": .string(module.etag),
            "authentication": text(module.authentication),
        ]
        if let manager = module.managedBy { object["managedBy"] = .string(manager) }
        return .object(object)
    }

    private static func module(_ value: JSONValue) -> ModuleRecord? {
        guard let id = value["id"]?.stringValue, let generation = value["generation"]?.stringValue,
            let etag = value["etag"]?.stringValue, let authentication = value["authentication"].flatMap(authentication)
        else { return nil }
        return ModuleRecord(
            id: id, generationID: generation, etag: etag, authentication: authentication,
            managedBy: value["managedBy"]?.stringValue)
    }

    private static func text(_ authentication: DeviceAuthentication) -> JSONValue {
        var object: JSONObject = ["type": .string(authentication.typeName)]
        switch authentication {
        case .sas(let primary, let secondary):
            object["primary"] = .string(Base64.encode(primary.bytes))
            object["secondary"] = .string(Base64.encode(secondary.bytes))
        case .selfSigned(let primary, let secondary):
            if let primary { object["primary"] = .string(primary.text) }
            if let secondary { object["secondary"] = .string(secondary.text) }
        case .certificateAuthority, .none: break
        }
        return .object(object)
    }

    private static func authentication(_ value: JSONValue) -> DeviceAuthentication? {
        let primary = value["primary"]?.stringValue
        let secondary = value["secondary"]?.stringValue
        switch value["type"]?.stringValue {
        case "sas":
            guard let first = primary.flatMap({ Base64.decode($0) }),
                let second = secondary.flatMap({ Base64.decode($0) })
            else { return nil }
            return .sas(primary: Secret(first), secondary: Secret(second))
        case "selfSigned":
            return .selfSigned(
                primary: primary.flatMap { Thumbprint($0) }, secondary: secondary.flatMap { Thumbprint($0) })
        case "certificateAuthority": return .certificateAuthority
        case "none": return DeviceAuthentication.none
        default: return nil
        }
    }
}
