internal import Outbox
internal import Primitives

/// Counts what the outbox costs the flash, on top of what earlier runs have counted.
struct WriteCounter {
    /// Between two looks at what the kernel has counted.
    private static let samplePause = Duration.seconds(5)

    var payloadBytes: UInt64
    var droppedCount: UInt64
    var expiredCount: UInt64
    private let earlierWritten: UInt64
    private let earlierRunning: Duration
    private let start: MonotonicInstant
    private let writtenAtStart: UInt64
    private var written: UInt64 = 0
    private var sampledAt: MonotonicInstant

    init(after earlier: WriteAccount, now: MonotonicInstant) {
        payloadBytes = earlier.payloadBytes
        droppedCount = earlier.droppedCount
        expiredCount = earlier.expiredCount
        earlierWritten = earlier.writtenBytes
        earlierRunning = earlier.running
        start = now
        sampledAt = now
        writtenAtStart = ProcessWrites.bytes
    }

    mutating func sample(now: MonotonicInstant) {
        guard now - sampledAt >= Self.samplePause else { return }
        sampledAt = now
        let bytes = ProcessWrites.bytes
        written = bytes - min(bytes, writtenAtStart)
    }

    func account(now: MonotonicInstant) -> WriteAccount {
        var account = WriteAccount()
        account.payloadBytes = payloadBytes
        account.writtenBytes = earlierWritten + written
        account.running = earlierRunning + max(now - start, .zero)
        account.droppedCount = droppedCount
        account.expiredCount = expiredCount
        return account
    }
}
