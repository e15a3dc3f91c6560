public import HubContract
public import Primitives

/// Keys or fingerprints as a caller gives them; what is missing is made or kept.
public enum AuthenticationDraft: Sendable {
    /// A missing key is generated on creation and kept on update.
    case sas(primary: Secret?, secondary: Secret?)
    case selfSigned(primary: Thumbprint?, secondary: Thumbprint?)
    case certificateAuthority
    case none
}

/// A device as a caller wants it to be.
public struct DeviceDraft: Sendable {
    public var id: DeviceID
    public var status: DeviceStatus
    public var statusReason: String?
    /// `nil`: generated keys on creation, unchanged on update.
    public var authentication: AuthenticationDraft?
    public var capabilities: DeviceCapabilities
    /// The scope of the gateway that speaks for the device. Ignored for a gateway: its own is made by the registry.
    public var deviceScope: String?
    /// The scope of the gateway above; at most one.
    public var parentScopes: [String]

    public init(id: DeviceID, isGateway: Bool = false, parent: DeviceRecord? = nil) {
        self.id = id
        status = .enabled
        capabilities = DeviceCapabilities(iotEdge: isGateway)
        parentScopes = parent?.deviceScope.map { [$0] } ?? []
        deviceScope = isGateway ? nil : parent?.deviceScope
    }
}

/// A module as a caller wants it to be.
public struct ModuleDraft: Sendable {
    public var device: DeviceID
    public var id: String
    public var authentication: AuthenticationDraft?
    public var managedBy: String?

    public init(device: DeviceID, id: String, authentication: AuthenticationDraft? = nil, managedBy: String? = nil) {
        self.device = device
        self.id = id
        self.authentication = authentication
        self.managedBy = managedBy
    }
}

/// The condition on a write, from an `If-Match` header.
public enum WriteCondition: Sendable, Equatable {
    /// Only when the record does not exist yet.
    case absent
    /// Whatever stands there; the record must exist. `If-Match: "*"`.
    case exists
    /// Only when the record's etag is this one.
    case etag(String)

    /// From a request's `If-Match`.
    public init(_ header: ETagCondition) {
        switch header {
        case .anything: self = .exists
        case .exactly(let etag): self = .etag(etag)
        }
    }
}
