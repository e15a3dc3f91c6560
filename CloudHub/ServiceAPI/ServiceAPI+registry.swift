import Devices
import HubContract
import JSON
import Primitives
import Registry

extension ServiceAPI {
    // MARK: - Devices

    func listDevices(_ call: ServiceCall) throws(HubError) -> ServiceAnswer {
        var most = DeviceRegistry.listMax
        if let text = call.query["top"] {
            guard let top = Int(text), (1...DeviceRegistry.listMax).contains(top) else {
                throw HubError(.argumentInvalid, "top is a whole number from 1 to \(DeviceRegistry.listMax)")
            }
            most = top
        }
        return ServiceAnswer(json: .array(registry.list(most: most).map { body(of: $0).json() }))
    }

    func getDevice(_ id: DeviceID) throws(HubError) -> ServiceAnswer {
        guard let device = registry.device(id) else { throw Self.unknown(HubIdentity(id)) }
        return answer(device)
    }

    /// Without `If-Match` it creates, with it it updates.
    func putDevice(_ id: DeviceID, _ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        let body = try DeviceBody(parsing: try call.json(), for: HubIdentity(id))
        let draft = try DeviceDraft(body)
        guard let condition = call.ifMatch else { return answer(try await registry.create(draft)) }
        return answer(try await registry.update(draft, on: WriteCondition(condition)))
    }

    func deleteDevice(_ id: DeviceID, _ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        try await registry.delete(id, on: call.ifMatch.map(WriteCondition.init) ?? .exists)
        return .done
    }

    private func answer(_ device: DeviceRecord) -> ServiceAnswer {
        ServiceAnswer(json: body(of: device).json(), etag: device.etag)
    }

    // MARK: - Modules

    func listModules(_ device: DeviceID) throws(HubError) -> ServiceAnswer {
        guard let modules = registry.modules(of: device) else { throw Self.unknown(HubIdentity(device)) }
        return ServiceAnswer(json: .array(modules.compactMap { body(of: $0, in: device)?.json() }))
    }

    func getModule(_ id: String, of device: DeviceID) throws(HubError) -> ServiceAnswer {
        guard registry.device(device) != nil else { throw Self.unknown(HubIdentity(device)) }
        guard let module = registry.module(id, of: device) else {
            throw HubError(.moduleNotFound, "module \(id) is not registered on device \(device)")
        }
        return try answer(module, in: device)
    }

    func putModule(_ id: String, of device: DeviceID, _ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        guard let who = HubIdentity(device, module: id) else { throw HubError(.argumentInvalid, "no module id") }
        let body = try DeviceBody(parsing: try call.json(), for: who)
        let draft = try ModuleDraft(body, id)
        guard let condition = call.ifMatch else { return try answer(try await registry.create(draft), in: device) }
        return try answer(try await registry.update(draft, on: WriteCondition(condition)), in: device)
    }

    func deleteModule(_ id: String, of device: DeviceID, _ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        try await registry.deleteModule(id, of: device, on: call.ifMatch.map(WriteCondition.init) ?? .exists)
        return .done
    }

    private func answer(_ module: ModuleRecord, in device: DeviceID) throws(HubError) -> ServiceAnswer {
        guard let body = body(of: module, in: device) else { throw Self.unknown(HubIdentity(device)) }
        return ServiceAnswer(json: body.json(), etag: module.etag)
    }

    // MARK: - Statistics

    func deviceStatistics() -> ServiceAnswer {
        let counts = registry.statistics
        return ServiceAnswer(json: [
            "totalDeviceCount": .number(JSONNumber(counts.total)),
            "enabledDeviceCount": .number(JSONNumber(counts.enabled)),
            "disabledDeviceCount": .number(JSONNumber(counts.disabled)),
        ])
    }

    func serviceStatistics() -> ServiceAnswer {
        ServiceAnswer(json: ["connectedDeviceCount": .number(JSONNumber(devices.connectedCount))])
    }

    // MARK: - Bodies

    func body(of device: DeviceRecord) -> DeviceBody {
        var body = DeviceBody(identity: HubIdentity(device.id))
        body.generationID = device.generationID
        body.etag = device.etag
        body.authentication = AuthenticationBody(device.authentication)
        body.isEnabled = device.status == .enabled
        body.statusReason = device.statusReason
        body.statusUpdated = device.statusUpdatedAt
        body.isEdge = device.capabilities.iotEdge
        body.deviceScope = device.deviceScope
        body.parentScopes = device.parentScopes
        body.cloudToDeviceCount = devices.cloudToDeviceCount(of: device.id)
        addPresence(to: &body)
        return body
    }

    func body(of module: ModuleRecord, in device: DeviceID) -> DeviceBody? {
        guard let who = HubIdentity(device, module: module.id) else { return nil }
        var body = DeviceBody(identity: who)
        body.generationID = module.generationID
        body.etag = module.etag
        body.authentication = AuthenticationBody(module.authentication)
        body.managedBy = module.managedBy
        addPresence(to: &body)
        return body
    }

    private func addPresence(to body: inout DeviceBody) {
        let activity = devices.activity(of: body.identity)
        body.isConnected = devices.isOnline(body.identity)
        body.connectionStateUpdated = activity.connectionChangedAt
        body.lastActivity = activity.lastActivityAt
    }

    static func unknown(_ who: HubIdentity) -> HubError {
        who.module == nil
            ? HubError(.deviceNotFound, "device \(who) is not registered")
            : HubError(.moduleNotFound, "module \(who) is not registered")
    }
}

extension DeviceDraft {
    init(_ body: DeviceBody) throws(HubError) {
        self.init(id: body.identity.device, isGateway: body.isEdge)
        status = body.isEnabled ? .enabled : .disabled
        statusReason = body.statusReason
        authentication = try body.authentication.map(AuthenticationDraft.init)
        deviceScope = body.deviceScope
        parentScopes = body.parentScopes
    }
}

extension ModuleDraft {
    init(_ body: DeviceBody, _ id: String) throws(HubError) {
        self.init(
            device: body.identity.device, id: id, authentication: try body.authentication.map(AuthenticationDraft.init),
            managedBy: body.managedBy)
    }
}

extension AuthenticationDraft {
    init(_ body: AuthenticationBody) throws(HubError) {
        switch body {
        case .sas(let primary, let secondary): self = .sas(primary: primary, secondary: secondary)
        case .selfSigned(let primary, let secondary):
            self = .selfSigned(
                primary: primary.flatMap { Thumbprint($0) }, secondary: secondary.flatMap { Thumbprint($0) })
        case .certificateAuthority: self = .certificateAuthority
        case .none: self = .none
        }
    }
}

extension AuthenticationBody {
    init(_ authentication: DeviceAuthentication) {
        switch authentication {
        case .sas(let primary, let secondary): self = .sas(primary: primary, secondary: secondary)
        case .selfSigned(let primary, let secondary):
            self = .selfSigned(primary: primary?.text, secondary: secondary?.text)
        case .certificateAuthority: self = .certificateAuthority
        case .none: self = .none
        }
    }
}
