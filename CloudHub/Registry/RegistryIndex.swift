import Primitives

/// Everything that is asked about devices many times a second, in memory.
struct RegistryIndex {
    private(set) var entries: [DeviceID: DeviceEntry] = [:]
    private var gatewayByScope: [String: DeviceID] = [:]
    private var childrenByScope: [String: Set<DeviceID>] = [:]

    mutating func replace(_ before: DeviceEntry?, with after: DeviceEntry?) {
        if let device = before?.device {
            entries[device.id] = nil
            if device.capabilities.iotEdge, let scope = device.deviceScope { gatewayByScope[scope] = nil }
            if let scope = Self.scopeAbove(device) { forget(device.id, under: scope) }
        }
        if let after {
            entries[after.device.id] = after
            if after.device.capabilities.iotEdge, let scope = after.device.deviceScope {
                gatewayByScope[scope] = after.device.id
            }
            if let scope = Self.scopeAbove(after.device) { childrenByScope[scope, default: []].insert(after.device.id) }
        }
    }

    func isGatewayScope(_ scope: String) -> Bool { gatewayByScope[scope] != nil }

    func gateway(of child: DeviceID) -> DeviceID? {
        entries[child].flatMap { Self.scopeAbove($0.device) }.flatMap { gatewayByScope[$0] }
    }

    func isEnabled(_ device: DeviceID) -> Bool { entries[device]?.device.status == .enabled }

    func children(of gateway: DeviceID) -> Set<DeviceID> {
        guard let device = entries[gateway]?.device, device.capabilities.iotEdge, let scope = device.deviceScope else {
            return []
        }
        return childrenByScope[scope] ?? []
    }

    private mutating func forget(_ child: DeviceID, under scope: String) {
        childrenByScope[scope]?.remove(child)
        if childrenByScope[scope]?.isEmpty == true { childrenByScope[scope] = nil }
    }

    /// A gateway's own scope is not above it; any other device is in the scope that it carries.
    private static func scopeAbove(_ device: DeviceRecord) -> String? {
        device.capabilities.iotEdge ? device.parentScopes.first : device.parentScopes.first ?? device.deviceScope
    }
}
