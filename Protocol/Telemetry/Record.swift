public import Primitives

/// What a gateway tells the hub: one reading, or one step of a fault.
public enum Record: Hashable, Sendable {
    case reading(Reading)
    case fault(FaultTransition)

    public var device: DeviceID {
        switch self {
        case .reading(let reading): reading.device
        case .fault(let fault): fault.device
        }
    }

    public var time: WallInstant {
        switch self {
        case .reading(let reading): reading.time
        case .fault(let fault): fault.time
        }
    }
}

/// A record with its place in its epoch: (gateway, epoch, sequence) names it for ever.
public struct SequencedRecord: Hashable, Sendable {
    /// Rises by one from record to record of an epoch; starts at 1.
    public let sequence: UInt64
    public let record: Record

    public init(sequence: UInt64, record: Record) {
        self.sequence = sequence
        self.record = record
    }
}
