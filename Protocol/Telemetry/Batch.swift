/// Records of one epoch that travel in one PUBLISH, with what will never come.
public struct Batch: Hashable, Sendable {
    /// What the envelope's `v` says.
    public static let version = 1
    /// For the property bag: `$.ct` and `$.ce`.
    public static let contentType = "application/vnd.fieldline.batch+json"
    public static let contentEncoding = "utf-8"

    public var epoch: Epoch
    /// Sequences rise from record to record; gaps are allowed.
    public var records: [SequencedRecord]
    /// What the gateway dropped unsent and will never send.
    public var dropped: [Run]

    public init(epoch: Epoch, records: [SequencedRecord], dropped: [Run] = []) {
        self.epoch = epoch
        self.records = records
        self.dropped = dropped
    }

    /// The sequences of the records, neighbours joined.
    public var runs: [Run] { Run.joining(records.lazy.map(\.sequence)) }

    /// The batch without the records whose sequence is named; what was dropped stays declared.
    public func removing(_ isRemoved: (UInt64) -> Bool) -> Batch {
        Batch(epoch: epoch, records: records.filter { !isRemoved($0.sequence) }, dropped: dropped)
    }
}

/// What a reader accepts; beyond it the batch is refused whole.
public struct BatchLimits: Sendable, Equatable {
    /// The encoded batch. Default 256 KiB, what IoT Hub takes as one message.
    public var bytesMax: Int
    /// Default 10,000.
    public var recordsMax: Int
    /// Runs in `dropped`. Default 1,000.
    public var droppedRunsMax: Int

    public init(bytesMax: Int = 256 * 1024, recordsMax: Int = 10_000, droppedRunsMax: Int = 1000) {
        self.bytesMax = bytesMax
        self.recordsMax = recordsMax
        self.droppedRunsMax = droppedRunsMax
    }

    public static let `default` = BatchLimits()
}
