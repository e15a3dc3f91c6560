import Control
import Devices
import HubContract
import JSON
import Primitives
import Registry

extension Verbs {
    func createModule(_ request: ControlRequest) async throws -> JSONValue {
        let device = try deviceID(request, "device")
        let draft = ModuleDraft(device: device, id: try moduleID(request), authentication: try proof(request))
        return row(try await registry.create(draft), of: device)
    }

    func listModules(_ request: ControlRequest) throws -> JSONValue {
        let device = try deviceID(request, "device")
        guard let modules = registry.modules(of: device) else { throw noDevice(device) }
        return .array(modules.map { row($0, of: device) })
    }

    func showModule(_ request: ControlRequest) throws -> JSONValue {
        let (device, module) = try module(request)
        guard case .object(var shown) = row(module, of: device) else { return .null }
        shown["device"] = .string(device.text)
        shown["generationId"] = .string(module.generationID)
        shown["etag"] = .string(module.etag)
        return .object(shown)
    }

    func deleteModule(_ request: ControlRequest) async throws -> JSONValue {
        let (device, module) = try module(request)
        try await registry.deleteModule(module.id, of: device)
        return ["id": .string("\(device)/\(module.id)"), "deleted": true]
    }

    /// How a new identity is to prove itself; `nil`: with keys that the registry makes.
    func proof(_ request: ControlRequest) throws -> AuthenticationDraft? {
        if request.isSet("byAuthority") { return .certificateAuthority }
        guard let primary = try thumbprint(request, "thumbprint") else { return nil }
        return .selfSigned(primary: primary, secondary: try thumbprint(request, "secondaryThumbprint"))
    }

    private func thumbprint(_ request: ControlRequest, _ argument: String) throws -> Thumbprint? {
        guard let text = request.text(argument) else { return nil }
        guard let thumbprint = Thumbprint(text) else {
            throw ControlError(
                "'\(text)' is no thumbprint: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits", .wrongCall)
        }
        return thumbprint
    }

    private func module(_ request: ControlRequest) throws -> (DeviceID, ModuleRecord) {
        let device = try deviceID(request, "device")
        let id = try moduleID(request)
        guard registry.device(device) != nil else { throw noDevice(device) }
        guard let module = registry.module(id, of: device) else {
            throw ControlError(
                "device \(device) has no module '\(id)'; 'cloud-hub module list \(device)' shows which it has")
        }
        return (device, module)
    }

    private func moduleID(_ request: ControlRequest) throws(ControlError) -> String {
        let text = request.text("id") ?? ""
        guard let id = DeviceID(text) else {
            throw ControlError(
                "'\(text)' is no module id: 1 to \(DeviceID.lengthMax) ASCII letters, digits and -:.+%_#*?!(),=@;$'",
                .wrongCall)
        }
        return id.text
    }

    func row(_ module: ModuleRecord, of device: DeviceID) -> JSONValue {
        let identity = HubIdentity(device: device, module: module.id)
        return [
            "id": .string(module.id), "authentication": .string(module.authentication.typeName),
            "managedBy": module.managedBy.map(JSONValue.string) ?? .null,
            "connected": running.map { .bool($0.devices.isOnline(identity)) } ?? .null,
        ]
    }
}
