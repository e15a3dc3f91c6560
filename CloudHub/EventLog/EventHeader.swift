public import Primitives

/// What made an event. The raw value is stored; never renumber.
public enum EventSource: UInt8, CaseIterable, Sendable {
    /// A device published it.
    case telemetry = 0
    /// The will of a device that was lost without DISCONNECT.
    case will = 1
    case twinChange = 2
    case connectionState = 3
    case lifecycle = 4
}

/// Whom an event came from and how that was proven: the same for every event of a connection.
public struct EventOrigin: Hashable, Sendable {
    public let device: DeviceID
    public let module: String?
    /// The generation id of the identity when it connected: tells a device from an older one of the same name.
    public let authGeneration: String
    /// `device`, `module` or `hub`.
    public let authScope: String
    /// `sas`, `x509Certificate` … as IoT Hub writes it.
    public let authType: String

    public init(device: DeviceID, module: String?, authGeneration: String, authScope: String, authType: String) {
        self.device = device
        self.module = module
        self.authGeneration = authGeneration
        self.authScope = authScope
        self.authType = authType
    }
}

/// Everything about an event but its body.
public struct EventHeader: Hashable, Sendable {
    public let origin: EventOrigin
    /// When the hub took it, in its own time; never goes back within a partition.
    public let enqueuedAt: WallInstant
    public let source: EventSource
    /// The property bag as the device sent it, percent-encoded.
    public let bag: String
    /// Whether the body is a telemetry batch, already checked and free of repeats.
    public let isBatch: Bool

    public init(origin: EventOrigin, enqueuedAt: WallInstant, source: EventSource, bag: String, isBatch: Bool) {
        self.origin = origin
        self.enqueuedAt = enqueuedAt
        self.source = source
        self.bag = bag
        self.isBatch = isBatch
    }

    public var device: DeviceID { origin.device }
    public var module: String? { origin.module }
}

/// One event as a consumer reads it.
public struct StoredEvent: Hashable, Sendable {
    public let partition: Int
    /// Rises by one from event to event within the partition; starts at 0.
    public let offset: Int64
    public let header: EventHeader
    public let body: [UInt8]

    public init(partition: Int, offset: Int64, header: EventHeader, body: [UInt8]) {
        self.partition = partition
        self.offset = offset
        self.header = header
        self.body = body
    }
}
