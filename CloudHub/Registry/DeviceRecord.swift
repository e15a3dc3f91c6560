public import Primitives

/// Whether the hub lets an identity connect.
public enum DeviceStatus: String, Sendable, CaseIterable { case enabled, disabled }

/// The hexadecimal fingerprint of a certificate's DER bytes: SHA-1 (40 digits) or SHA-256 (64 digits).
public struct Thumbprint: Hashable, Sendable, CustomStringConvertible {
    /// Upper-case digits; comparison is without regard to the case that was given.
    public let text: String

    /// `nil` unless it is 40 or 64 hexadecimal digits; colons and spaces between them are taken out.
    public init?(_ text: some StringProtocol) {
        let digits = String(text.filter { $0 != ":" && $0 != " " })
        guard [40, 64].contains(digits.utf8.count), Hex.decode(digits) != nil else { return nil }
        self.text = digits.uppercased()
    }

    public var description: String { text }
}

/// How an identity proves itself.
public enum DeviceAuthentication: Sendable {
    /// A token signed with either key. Keys are the decoded bytes.
    case sas(primary: Secret, secondary: Secret)
    /// A client certificate with one of these fingerprints; no chain is looked at.
    case selfSigned(primary: Thumbprint?, secondary: Thumbprint?)
    /// A client certificate that chains to an authority known to the hub, its common name being the device id.
    case certificateAuthority
    /// The identity cannot connect by itself.
    case none

    /// The wire's name: `sas`, `selfSigned`, `certificateAuthority`, `none`.
    public var typeName: String {
        switch self {
        case .sas: "sas"
        case .selfSigned: "selfSigned"
        case .certificateAuthority: "certificateAuthority"
        case .none: "none"
        }
    }

    /// Whether both would let the same proofs in.
    public func isSame(as other: DeviceAuthentication) -> Bool {
        switch (self, other) {
        case (.sas(let primary, let secondary), .sas(let otherPrimary, let otherSecondary)):
            primary.matches(otherPrimary.bytes) && secondary.matches(otherSecondary.bytes)
        case (.selfSigned(let primary, let secondary), .selfSigned(let otherPrimary, let otherSecondary)):
            primary == otherPrimary && secondary == otherSecondary
        case (.certificateAuthority, .certificateAuthority), (.none, .none): true
        default: false
        }
    }
}

/// What a device is besides a device.
public struct DeviceCapabilities: Hashable, Sendable {
    /// A gateway: it has a scope of its own, speaks for its children and runs modules.
    public var iotEdge: Bool

    public init(iotEdge: Bool = false) { self.iotEdge = iotEdge }
}

/// A device as the registry keeps it. Connection state and twin are kept elsewhere.
public struct DeviceRecord: Sendable {
    public let id: DeviceID
    /// New with each creation, so that a device made again under an old id is told apart.
    public let generationID: String
    /// Changes with every write of the record.
    public var etag: String
    public var status: DeviceStatus
    /// At most 128 characters, for people.
    public var statusReason: String?
    /// When `status` last changed; `.never` when it never did.
    public var statusUpdatedAt: WallInstant
    public var authentication: DeviceAuthentication
    public var capabilities: DeviceCapabilities
    /// Of a gateway its own scope; of any other device its gateway's scope.
    public var deviceScope: String?
    /// The scope of the gateway above, nearest first; at most one today.
    public var parentScopes: [String]
    public let createdAt: WallInstant

    public init(
        id: DeviceID, generationID: String, etag: String, authentication: DeviceAuthentication,
        createdAt: WallInstant
    ) {
        self.id = id
        self.generationID = generationID
        self.etag = etag
        self.authentication = authentication
        self.createdAt = createdAt
        status = .enabled
        statusUpdatedAt = .never
        capabilities = DeviceCapabilities()
        parentScopes = []
    }
}

/// A module: an identity of its own inside a device.
public struct ModuleRecord: Sendable {
    public let id: String
    public let generationID: String
    public var etag: String
    public var authentication: DeviceAuthentication
    /// Who looks after it, for example `IotEdge`.
    public var managedBy: String?

    public init(
        id: String, generationID: String, etag: String, authentication: DeviceAuthentication, managedBy: String? = nil
    ) {
        self.id = id
        self.generationID = generationID
        self.etag = etag
        self.authentication = authentication
        self.managedBy = managedBy
    }
}

/// A device with its modules: what is read and written as one. Immutable, so that handing it out costs one retain.
public final class DeviceEntry: Sendable {
    public let device: DeviceRecord
    /// By module id; at most `DeviceRegistry.modulesMax`.
    public let modules: [String: ModuleRecord]

    public init(device: DeviceRecord, modules: [String: ModuleRecord] = [:]) {
        self.device = device
        self.modules = modules
    }
}
