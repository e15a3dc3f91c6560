import HubContract
import Primitives

/// What a draft makes of what stands there. Pure apart from the random keys and tags.
enum DeviceRules {
    /// Modules that IoT Hub gives every gateway.
    static let systemModules = ["$edgeAgent", "$edgeHub"]
    /// The manager's name that IoT Hub gives them.
    static let systemManager = "IotEdge"

    static func apply(
        _ draft: DeviceDraft, to entry: DeviceEntry?, on condition: WriteCondition, now: WallInstant
    ) throws(HubError) -> DeviceEntry {
        try condition.check(entry.map(\.device.etag), which: "device \(draft.id)", absent: .noDevice(draft.id)) {
            HubError(.deviceAlreadyExists, "device \(draft.id) is registered already")
        }
        let old = entry?.device
        var device = DeviceRecord(
            id: draft.id, generationID: old?.generationID ?? newGeneration(now), etag: newTag(),
            authentication: try authentication(draft.authentication, old?.authentication),
            createdAt: old?.createdAt ?? now)
        device.status = draft.status
        device.statusReason = draft.statusReason
        device.statusUpdatedAt = old.map { $0.status == draft.status ? $0.statusUpdatedAt : now } ?? .never
        device.capabilities = draft.capabilities
        setScopes(of: &device, draft: draft, old: old)
        var modules = entry?.modules ?? [:]
        if device.capabilities.iotEdge {
            for id in systemModules where modules[id] == nil {
                modules[id] = ModuleRecord(
                    id: id, generationID: newGeneration(now), etag: newTag(),
                    authentication: .sas(primary: DeviceRegistry.newKey(), secondary: DeviceRegistry.newKey()),
                    managedBy: systemManager)
            }
        }
        return DeviceEntry(device: device, modules: modules)
    }

    static func apply(
        _ draft: ModuleDraft, to entry: DeviceEntry?, on condition: WriteCondition, now: WallInstant
    ) throws(HubError) -> DeviceEntry {
        guard let entry else { throw HubError.noDevice(draft.device) }
        guard DeviceID(draft.id) != nil else {
            throw HubError(.argumentInvalid, "a module id has 1 to 128 of the characters of a device id")
        }
        let old = entry.modules[draft.id]
        try condition.check(
            old?.etag, which: "module \(draft.device)/\(draft.id)", absent: .noModule(draft.id, of: draft.device)
        ) {
            HubError(.moduleAlreadyExistsOnDevice, "module \(draft.id) is registered on device \(draft.device) already")
        }
        guard old != nil || entry.modules.count < DeviceRegistry.modulesMax else {
            throw HubError(
                .iotHubQuotaExceeded,
                "device \(draft.device) has \(DeviceRegistry.modulesMax) modules, which is the limit")
        }
        var modules = entry.modules
        modules[draft.id] = ModuleRecord(
            id: draft.id, generationID: old?.generationID ?? newGeneration(now), etag: newTag(),
            authentication: try authentication(draft.authentication, old?.authentication), managedBy: draft.managedBy)
        return DeviceEntry(device: entry.device, modules: modules)
    }

    /// A gateway keeps the scope it got when it became one. Any other device carries its parent's scope.
    private static func setScopes(of device: inout DeviceRecord, draft: DeviceDraft, old: DeviceRecord?) {
        guard draft.capabilities.iotEdge else {
            let scope = draft.parentScopes.first ?? draft.deviceScope
            device.deviceScope = scope
            device.parentScopes = scope.map { [$0] } ?? []
            return
        }
        let own = old.flatMap { $0.capabilities.iotEdge ? $0.deviceScope : nil }
        device.deviceScope = own ?? "ms-azure-iot-edge://\(draft.id)-\(device.generationID)"
        device.parentScopes = draft.parentScopes
    }

    private static func authentication(
        _ draft: AuthenticationDraft?, _ old: DeviceAuthentication?
    ) throws(HubError) -> DeviceAuthentication {
        switch draft {
        case nil: return old ?? .sas(primary: DeviceRegistry.newKey(), secondary: DeviceRegistry.newKey())
        case .certificateAuthority: return .certificateAuthority
        case .some(.none): return .none
        case .selfSigned(let primary, let secondary):
            guard primary != nil || secondary != nil else {
                throw HubError(.argumentInvalid, "authentication of type selfSigned needs at least one thumbprint")
            }
            return .selfSigned(primary: primary, secondary: secondary)
        case .sas(let primary, let secondary):
            for key in [primary, secondary].compactMap({ $0 }) where !(16...64).contains(key.bytes.count) {
                throw HubError(.argumentInvalid, "a symmetric key is base64 of 16 to 64 bytes, got \(key.bytes.count)")
            }
            guard case .sas(let oldPrimary, let oldSecondary) = old else {
                return .sas(
                    primary: primary ?? DeviceRegistry.newKey(), secondary: secondary ?? DeviceRegistry.newKey())
            }
            return .sas(primary: primary ?? oldPrimary, secondary: secondary ?? oldSecondary)
        }
    }

    /// Digits only, as IoT Hub's: the milliseconds of the creation, then five random ones.
    private static func newGeneration(_ now: WallInstant) -> String {
        String(max(now.milliseconds, 0)) + String(Int.random(in: 10_000...99_999))
    }

    private static func newTag() -> String {
        Base64.encode((0..<9).map { _ in UInt8.random(in: 0...255) })
    }
}

extension WriteCondition {
    /// For a record that must exist.
    func check(etag: String, which: String) throws(HubError) {
        if case .etag(let wanted) = self, wanted != etag {
            throw HubError(.preconditionFailed, "\(which) was changed since; its etag is not the one in If-Match")
        }
    }

    func check(
        _ etag: String?, which: String, absent: HubError, present: () -> HubError
    ) throws(HubError) {
        guard let etag else {
            guard self == .absent else { throw absent }
            return
        }
        guard self != .absent else { throw present() }
        try check(etag: etag, which: which)
    }
}

extension HubError {
    static func noDevice(_ id: DeviceID) -> HubError { HubError(.deviceNotFound, "device \(id) is not registered") }

    static func noModule(_ id: String, of device: DeviceID) -> HubError {
        HubError(.moduleNotFound, "module \(id) is not registered on device \(device)")
    }
}
