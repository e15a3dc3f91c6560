/// The limits of the outbox, each with its reason.
public struct OutboxLimits: Sendable, Equatable {
    /// Fragment bytes in one row: small enough that a batch can hold several, large enough that a row costs little.
    public static let rowBytesMax = 64 * 1024
    /// Counted against the quota for each row besides its fragments: key, header, slack in the page.
    public static let rowOverheadBytes = 64
    /// Bytes of one kept state.
    public static let keptBytesMax = 1024 * 1024
    /// Dropped runs in one batch: keeps the declaration well under 2 KiB.
    public static let declaredRunCountMax = 32
    public static let receiptCountMax = 50
    /// Commands that wait or are remembered for telling repetitions; the hub keeps 50 a device.
    public static let commandCountMax = 1000

    /// From so many rows on a `replay` takes up no further kept row: at most 4 MiB of fragments. Those of the last one
    /// are put back whole, in as many rows as they have holes between them.
    public static let replayRowsMax = 64
    /// Runs that one `replay` declares as gone: a few pages.
    public static let goneRunsMax = 256
    /// From the first to the last sequence of a row less than this, whatever lies between: a replay finds the rows of a
    /// range by it. Rows of a commit span a tenth of it at most.
    public static let rowSpanMax: UInt64 = 8192
    /// Sensors whose losses are counted apart; those of further ones are counted together, without a name.
    public static let lossSensorsMax = 1024

    /// Bytes that the outbox may take. Default 512 MiB. Range 64 KiB and up.
    public var quotaBytes: Int
    /// How long acknowledged records are kept for a replay. Default 24 h; zero keeps none.
    public var replayKeep = Duration.seconds(86_400)
    /// How much of the quota they may take. Default a quarter of it.
    public var replayBytes: Int

    public init(quotaBytes: Int = 512 * 1024 * 1024) {
        precondition(quotaBytes >= 64 * 1024, "an outbox under 64 KiB could not hold one row")
        self.quotaBytes = quotaBytes
        replayBytes = quotaBytes / 4
    }
}
