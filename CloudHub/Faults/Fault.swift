public import Primitives
public import Telemetry

/// Something that is wrong, or was, with one device by one rule.
public struct Fault: Sendable, Equatable {
    public enum Phase: String, Sendable, CaseIterable {
        /// Nobody has looked yet. Exits: `acknowledged`, `cleared`.
        case open
        /// A person has seen it. Exits: `cleared`.
        case acknowledged
        /// It is over. No exit: what is raised again is another fault.
        case cleared
    }

    /// Who found it.
    public enum Origin: String, Sendable { case edge, hub }

    /// The same whoever computes it and however often it arrives.
    public let id: UniqueID
    public let device: DeviceID
    public let rule: String
    public let origin: Origin
    public var phase: Phase
    public var severity: Severity
    public var message: String
    public var metric: String?
    public var value: ReadingValue?
    public var limit: String?
    /// When the device says that it began; `nil` for one whose end arrived without its beginning.
    public var openedAt: WallInstant?
    /// When the device says that it was over.
    public var clearedAt: WallInstant?
    /// How often it was raised again while it was open, under another id.
    public var repeats: Int
    /// Whether the device was sure of the date.
    public var clock: ClockQuality

    public init(
        id: UniqueID, device: DeviceID, rule: String, origin: Origin, phase: Phase, severity: Severity,
        message: String, metric: String? = nil, value: ReadingValue? = nil, limit: String? = nil,
        openedAt: WallInstant?, clearedAt: WallInstant? = nil, repeats: Int = 0, clock: ClockQuality = .synchronised
    ) {
        self.id = id
        self.device = device
        self.rule = rule
        self.origin = origin
        self.phase = phase
        self.severity = severity
        self.message = message
        self.metric = metric
        self.value = value
        self.limit = limit
        self.openedAt = openedAt
        self.clearedAt = clearedAt
        self.repeats = repeats
        self.clock = clock
    }

    public var isOpen: Bool {
        switch phase {
        case .open, .acknowledged: true
        case .cleared: false
        }
    }
}

/// A transition on its way into the life cycle, with who found it.
public struct FaultReport: Sendable, Equatable {
    public let transition: FaultTransition
    public let origin: Fault.Origin

    public init(_ transition: FaultTransition, origin: Fault.Origin) {
        self.transition = transition
        self.origin = origin
    }
}

/// One line of a fault's history.
public struct FaultEvent: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable {
        case opened, repeated, acknowledged, cleared
        /// Its end arrived before its beginning.
        case clearedFirst
        /// Its beginning arrived after its end; no alert was raised for it.
        case openedLate
    }

    public let fault: UniqueID
    public let kind: Kind
    /// When the device says that it happened; for an acknowledgement the hub's time.
    public let at: WallInstant
    /// The message, the value, or who acknowledged.
    public let detail: String

    public init(fault: UniqueID, kind: Kind, at: WallInstant, detail: String) {
        self.fault = fault
        self.kind = kind
        self.at = at
        self.detail = detail
    }
}
