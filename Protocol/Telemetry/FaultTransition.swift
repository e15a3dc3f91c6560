public import Primitives

/// How bad a fault is; it decides the alert's priority.
public enum Severity: String, Sendable, CaseIterable, Comparable {
    case info, warning, critical

    public static func < (left: Self, right: Self) -> Bool { left.rank < right.rank }

    private var rank: Int {
        switch self {
        case .info: 0
        case .warning: 1
        case .critical: 2
        }
    }
}

/// Which way a fault went.
public enum FaultState: String, Sendable, CaseIterable { case raised, cleared }

/// A fault that an edge rule found, or its end. The clearing carries the id of the raising.
public struct FaultTransition: Hashable, Sendable {
    public let faultID: UniqueID
    public let device: DeviceID
    /// The rule's name, 1 to `TelemetryLimits.ruleBytesMax` bytes.
    public let rule: String
    public let state: FaultState
    public let severity: Severity
    /// For people; at most `TelemetryLimits.messageBytesMax` bytes.
    public let message: String
    /// `nil` for a fault of the device as a whole.
    public let metric: String?
    /// The value that decided; `nil` when silence did.
    public let value: ReadingValue?
    /// What the value was held against, as the rule writes it: `70`, `2..8`.
    public let limit: String?
    public let time: WallInstant
    public let clock: ClockQuality

    public init(
        faultID: UniqueID, device: DeviceID, rule: String, state: FaultState, severity: Severity, message: String,
        metric: String? = nil, value: ReadingValue? = nil, limit: String? = nil, time: WallInstant,
        clock: ClockQuality = .synchronised
    ) {
        self.faultID = faultID
        self.device = device
        self.rule = rule
        self.state = state
        self.severity = severity
        self.message = message
        self.metric = metric
        self.value = value
        self.limit = limit
        self.time = time
        self.clock = clock
    }

    /// The namespace of fault ids; it never changes, or every fault would get a second id.
    public static let namespace = UniqueID(high: 0x8D3F_2C6E_51B7_4A90, low: 0x9C0E_6F1D_2B7A_4E35)

    /// The id of a fault, the same whoever computes it and however often. `openingSequence` is the sequence of the
    /// record that raised it. Source: RFC 9562 section 5.5.
    ///
    /// - Parameter sha1: gives the 20 bytes of SHA-1.
    public static func identity(
        device: DeviceID, rule: String, epoch: Epoch, openingSequence: UInt64, sha1: ([UInt8]) -> [UInt8]
    ) -> UniqueID {
        UniqueID.named("\(device)/\(rule)/\(epoch.text)/\(openingSequence)", in: namespace, sha1: sha1)
    }
}
