public import Primitives
public import Telemetry

/// What the writer must know of a batch among the events of a chunk to drop its repeats.
public struct BatchMark: Sendable {
    /// Whose sequence numbers these are: the connected device.
    public let gateway: DeviceID
    public let epoch: Epoch
    /// Every sequence number that this publish settles: those of the event's records, and the quarantined ones.
    public let runs: [Run]
    /// What the gateway says that it will never send. Closes holes; a record of them that comes later is a repeat.
    public let dropped: [Run]
    /// The records that were taken out of the event before it was appended.
    public let quarantined: [QuarantinedRecord]
    /// Where the event's entry lies in the chunk; empty when no record was left for an event.
    public internal(set) var entry: Range<Int> = 0..<0

    public init(gateway: DeviceID, epoch: Epoch, runs: [Run], dropped: [Run], quarantined: [QuarantinedRecord]) {
        self.gateway = gateway
        self.epoch = epoch
        self.runs = runs
        self.dropped = dropped
        self.quarantined = quarantined
    }
}

/// Something that a device sent and the hub acknowledged but could not take: kept with the reason.
public struct QuarantinedRecord: Hashable, Sendable {
    /// The connected device.
    public let gateway: DeviceID
    /// Which record of which outbox; `nil` for a publish that is no batch envelope.
    public let epoch: Epoch?
    public let sequence: UInt64?
    /// A stable name, such as `childNotInScope`.
    public let code: String
    /// A sentence for the operator and for the gateway's page.
    public let reason: String
    /// The record, or the head of the publish, as it came.
    public let body: [UInt8]

    public init(
        gateway: DeviceID, epoch: Epoch?, sequence: UInt64?, code: String, reason: String, body: [UInt8]
    ) {
        self.gateway = gateway
        self.epoch = epoch
        self.sequence = sequence
        self.code = code
        self.reason = reason
        self.body = body
    }
}
