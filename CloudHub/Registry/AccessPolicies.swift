public import Primitives

/// What a shared access policy allows.
public enum AccessRight: String, Sendable, CaseIterable {
    case registryRead, registryWrite, serviceConnect, deviceConnect
}

/// A named pair of keys with rights on the whole hub.
public struct AccessPolicy: Sendable {
    public let name: String
    public let rights: Set<AccessRight>
    public let primary: Secret
    public let secondary: Secret

    public init(name: String, rights: Set<AccessRight>, primary: Secret, secondary: Secret) {
        self.name = name
        self.rights = rights
        self.primary = primary
        self.secondary = secondary
    }

    /// The five policies that every IoT Hub has, with their rights. Source: IoT Hub, access control and permissions.
    static let standard: [(name: String, rights: Set<AccessRight>)] = [
        ("iothubowner", Set(AccessRight.allCases)),
        ("service", [.serviceConnect]),
        ("device", [.deviceConnect]),
        ("registryRead", [.registryRead]),
        ("registryReadWrite", [.registryRead, .registryWrite]),
    ]
}
