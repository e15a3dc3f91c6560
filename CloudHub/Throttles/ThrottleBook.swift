import Primitives

/// What is counted.
public enum ThrottledKind: String, Sendable, CaseIterable {
    case telemetry, connections, twinReads, twinUpdates, methods, cloudToDevice, fileUploads, registry

    /// In sentences: "device d-1 may do 100/s telemetry messages".
    public var words: String {
        switch self {
        case .telemetry: "telemetry messages"
        case .connections: "connections"
        case .twinReads: "twin reads"
        case .twinUpdates: "twin updates"
        case .methods: "direct methods"
        case .cloudToDevice: "cloud-to-device messages"
        case .fileUploads: "file uploads"
        case .registry: "registry operations"
        }
    }
}

/// What one device and the whole hub may do; `nil` is no limit.
public struct ThrottleLimits: Hashable, Sendable {
    public var device: [ThrottledKind: Rate]
    public var hub: [ThrottledKind: Rate]

    public init(device: [ThrottledKind: Rate] = [:], hub: [ThrottledKind: Rate] = [:]) {
        self.device = device
        self.hub = hub
    }
}

/// A refusal: what was too often, and when it will do again.
public struct Throttled: Hashable, Sendable {
    public let kind: ThrottledKind
    /// The limit that was passed.
    public let rate: Rate
    /// Whether it is the hub's own; else the device's.
    public let isWholeHub: Bool
    /// Always more than zero.
    public let retryAfter: Duration

    /// Whole seconds, rounded up: the header `Retry-After`.
    public var retryAfterSeconds: Int64 {
        let (seconds, rest) = retryAfter.components
        return seconds + (rest > 0 ? 1 : 0)
    }

    /// What is wrong and what to do.
    public var sentence: String { Self.sentence(kind, rate, isWholeHub: isWholeHub) }

    static func sentence(_ kind: ThrottledKind, _ rate: Rate, isWholeHub: Bool) -> String {
        let whose = isWholeHub ? "all devices together" : "one device"
        let key = "\(isWholeHub ? "hub" : "device")_\(kind.key)"
        return "\(whose) may do \(rate) \(kind.words); send less often, or raise [throttles] \(key)"
    }
}

extension ThrottledKind {
    /// Its part of the keys in the configuration.
    public var key: String {
        switch self {
        case .telemetry: "telemetry"
        case .connections: "connections"
        case .twinReads: "twin_reads"
        case .twinUpdates: "twin_updates"
        case .methods: "methods"
        case .cloudToDevice: "cloud_to_device"
        case .fileUploads: "file_uploads"
        case .registry: "registry"
        }
    }
}

/// Who has done how much. Pure.
///
/// A device that has been quiet for a while is forgotten, because its bucket is full again: only those stay that are
/// near their limits. When there are more of those than `devicesMax`, further ones are held to the hub's limits alone.
struct ThrottleBook {
    /// Devices whose buckets are remembered, over all kinds.
    static let devicesMax = 100_000

    private struct Key: Hashable {
        let kind: ThrottledKind
        let device: DeviceID
    }

    let limits: ThrottleLimits
    private var hub: [ThrottledKind: Pace]
    private var devices: [Key: Pace] = [:]
    private var lastCleared = MonotonicInstant(nanoseconds: .min)
    private let devicesMax: Int

    init(_ limits: ThrottleLimits, devicesMax: Int = devicesMax) {
        self.limits = limits
        self.devicesMax = devicesMax
        hub = limits.hub.mapValues { Pace($0) }
    }

    var remembered: Int { devices.count }

    /// Takes a token of the device and one of the hub, or neither.
    mutating func admit(_ kind: ThrottledKind, _ device: DeviceID?, count: Int, now: MonotonicInstant) -> Throttled? {
        var own: Pace?
        if let device, let rate = limits.device[kind] {
            let pace = devices[Key(kind: kind, device: device)] ?? Pace(rate)
            if let wait = pace.wait(for: count, now: now) {
                return Throttled(kind: kind, rate: rate, isWholeHub: false, retryAfter: wait)
            }
            own = pace
        }
        if let rate = limits.hub[kind], let wait = hub[kind]?.take(count, now: now) {
            return Throttled(kind: kind, rate: rate, isWholeHub: true, retryAfter: wait)
        }
        if let device, var pace = own {
            _ = pace.spend(count, now: now)
            remember(Key(kind: kind, device: device), pace, now: now)
        }
        return nil
    }

    /// Takes tokens of the hub that may not be there yet; see `Pace.spend`.
    mutating func spendHub(_ kind: ThrottledKind, _ count: Int, now: MonotonicInstant) -> MonotonicInstant {
        hub[kind]?.spend(count, now: now) ?? now
    }

    func pace(_ kind: ThrottledKind, _ device: DeviceID) -> Pace? { devices[Key(kind: kind, device: device)] }

    mutating func keep(_ pace: Pace, _ kind: ThrottledKind, _ device: DeviceID, now: MonotonicInstant) {
        let key = Key(kind: kind, device: device)
        if pace.isFull(now: now) { devices[key] = nil } else { remember(key, pace, now: now) }
    }

    private mutating func remember(_ key: Key, _ pace: Pace, now: MonotonicInstant) {
        if devices.count >= devicesMax, devices[key] == nil {
            // Looking at all of them is dear, so it is done once a second at most.
            if now - lastCleared >= .seconds(1) {
                lastCleared = now
                devices = devices.filter { !$0.value.isFull(now: now) }
            }
            guard devices.count < devicesMax else { return }
        }
        devices[key] = pace
    }
}
