public import Primitives
public import Signals
public import SouthboundAPI
public import Telemetry

/// Now, on both clocks.
public struct PipelineTime: Sendable, Equatable {
    public let monotonic: MonotonicInstant
    public let wall: WallInstant
    public let clock: ClockQuality

    public init(monotonic: MonotonicInstant, wall: WallInstant, clock: ClockQuality) {
        self.monotonic = monotonic
        self.wall = wall
        self.clock = clock
    }
}

/// What follows from one input.
public struct PipelineOutput: Sendable, Equatable {
    /// To be kept, in this order; sequences go on from the one that was passed in. A fault stands right after the
    /// reading that decided it.
    public internal(set) var records: [SequencedRecord] = []
    /// One a record, or none at all: then all have the standard retention.
    public internal(set) var retentions: [Retention] = []
    /// To be done at once, whatever the disk says. After a refusal the same readings come again, and may ask for it again.
    public internal(set) var actuations: [RuleAction] = []
    /// To be kept in the transaction that keeps the records; `nil` when the bytes kept before are still right.
    public internal(set) var state: [UInt8]?
    /// State of signals, for the same transaction: each row in place of the earlier one of that key.
    public internal(set) var signalRows: [SignalRow] = []
    /// For the log.
    public internal(set) var notices: [PipelineNotice] = []

    public init() {}
}

/// What the operator should hear about.
public enum PipelineNotice: Sendable, Equatable, CustomStringConvertible {
    /// The reading cannot be sent and was not kept.
    case readingRefused(device: DeviceID, metric: String, member: String, rule: String)
    /// The rule watches as many devices as there is room for; this one is not watched. Once a rule.
    case rulesFull(rule: String, device: DeviceID)
    /// The device does not answer, and there is no room for another such fault.
    case faultsFull(device: DeviceID)
    /// The kept state cannot be read: rules start fresh, and faults that were open may be raised again.
    case stateUnreadable
    /// About one signal.
    case signal(SignalNotice)

    public var description: String {
        switch self {
        case .readingRefused(let device, let metric, let member, let rule):
            "a reading of \(device), metric \(metric.prefix(140)), was refused: \(member) \(rule)"
        case .rulesFull(let rule, let device):
            "rule \(rule) does not watch \(device): too many devices and rules on one gateway; use fewer, or name the "
                + "devices in the rules"
        case .faultsFull(let device):
            "\(device) does not answer, and no fault was raised: too many devices do not answer already"
        case .signal(let notice): notice.description
        case .stateUnreadable:
            "the kept state of the rules cannot be read; rules start fresh, and open faults may be raised again"
        }
    }
}

extension PipelineTime {
    var forSignals: SignalTime { SignalTime(monotonic: monotonic, wall: wall, clock: clock) }
}
