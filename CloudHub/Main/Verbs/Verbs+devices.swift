import HubClock
import Control
import Devices
import HubContract
import JSON
import Journal
import LiveState
import Primitives
import Registry

extension Verbs {
    func createDevice(_ request: ControlRequest) async throws -> JSONValue {
        let id = try deviceID(request)
        var parent: DeviceRecord?
        if request.text("parent") != nil {
            let parentID = try deviceID(request, "parent")
            guard let record = registry.device(parentID), record.capabilities.iotEdge else {
                throw ControlError(
                    "\(parentID) is no gateway of this hub; create it with: cloud-hub device create \(parentID) --gateway"
                )
            }
            parent = record
        }
        var draft = DeviceDraft(id: id, isGateway: request.isSet("gateway"), parent: parent)
        draft.authentication = try proof(request)
        return row(try await registry.create(draft))
    }

    func listDevices(_ request: ControlRequest) -> JSONValue { .array(registry.list().map(row)) }

    func showDevice(_ request: ControlRequest) throws -> JSONValue {
        let id = try deviceID(request)
        guard let record = registry.device(id) else { throw noDevice(id) }
        guard case .object(var shown) = row(record) else { return row(record) }
        shown["statusReason"] = record.statusReason.map(JSONValue.string) ?? .null
        shown["generationId"] = .string(record.generationID)
        shown["etag"] = .string(record.etag)
        shown["created"] = .string(record.createdAt.description)
        let modules = registry.modules(of: id) ?? []
        if !modules.isEmpty { shown["modules"] = .array(modules.map { row($0, of: id) }) }
        if let event = running?.journal.entries(of: id, modules: modules.map(\.id)).last {
            shown["newestEvent"] = .string("\(event.at) \(event.kind.rawValue): \(event.sentence)")
        }
        if let latest = running?.live.latest(of: id) {
            shown["lastHeard"] = .string(latest.lastHeard.description)
            let metrics = latest.metrics.sorted { $0.key < $1.key }
            shown["latest"] = .object(
                JSONObject(metrics.map { (key: $0.key, value: JSONValue.string(ShownValue.text($0.value.value))) }))
        }
        return .object(shown)
    }

    func deleteDevice(_ request: ControlRequest) async throws -> JSONValue {
        let id = try deviceID(request)
        guard registry.device(id) != nil else { throw noDevice(id) }
        try await registry.delete(id)
        return ["id": .string(id.text), "deleted": true]
    }

    func connectionString(_ request: ControlRequest) throws -> JSONValue {
        guard request.text("device") != nil else { return try policyString(request) }
        let id = try deviceID(request, "device")
        guard let record = registry.device(id) else { throw noDevice(id) }
        var identity = HubIdentity(device: id)
        var authentication = record.authentication
        if let name = request.text("module") {
            guard let module = registry.module(name, of: id), let full = HubIdentity(id, module: name) else {
                throw ControlError("device \(id) has no module '\(name)'")
            }
            identity = full
            authentication = module.authentication
        }
        var key: Secret?
        if case .sas(let primary, _) = authentication { key = primary }
        let text = ConnectionString(hostName: address.hostname, identity: identity, key: key).text(revealingKey: true)
        return ["text": .string(text), "warning": address.devicePortWarning.map(JSONValue.string) ?? .null]
    }

    private func policyString(_ request: ControlRequest) throws -> JSONValue {
        let name = request.text("policy") ?? "iothubowner"
        guard let policy = registry.policy(name) else {
            throw ControlError(
                "this hub has no policy '\(name)'; it has iothubowner, service, device, registryRead and registryReadWrite",
                .wrongCall)
        }
        let string = ConnectionString(hostName: address.serviceHost, policy: name, key: policy.primary)
        return ["text": .string(string.text(revealingKey: true)), "warning": .null]
    }

    func noDevice(_ id: DeviceID) -> ControlError {
        ControlError("device \(id) is not registered; 'cloud-hub device list' shows which are")
    }

    private func row(_ record: DeviceRecord) -> JSONValue {
        let identity = HubIdentity(device: record.id)
        let parent = record.capabilities.iotEdge ? nil : registry.gateway(of: record.id)
        return [
            "id": .string(record.id.text), "status": .string(record.status.rawValue),
            "authentication": .string(record.authentication.typeName),
            "gateway": .bool(record.capabilities.iotEdge), "parent": parent.map { .string($0.text) } ?? .null,
            "connected": running.map { .bool($0.devices.isOnline(identity)) } ?? .null,
        ]
    }
}
