public import EventLog
import Logging
public import Primitives
import Synchronization
import Telemetry

/// What devices say right now, for the pages: a consumer of the event log that keeps only the newest value.
///
/// It keeps no checkpoint. After a start it reads the last events of every partition again, and when it falls behind it
/// jumps ahead: an older value would not be shown anyway. It reads on a thread of the pool, one chunk at a time.
public final class LiveState: Sendable {
    /// Read again after a start, and kept up with at most, per partition. Unit: events.
    static let lookBack: Int64 = 20_000
    /// Small enough that a page never waits long for the lock.
    private static let limits = EventChunk.ReadLimits(eventsMax: 100, bytesMax: 512 * 1024)

    private let log: any EventLog
    private let values = Mutex(LatestValues())
    private let logger = Logger(label: "live")

    public init(log: any EventLog) { self.log = log }

    /// Follows the log until the task is cancelled.
    public func run() async {
        let (wakes, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let token = log.onAppend { continuation.yield() }
        defer { withExtendedLifetime(token) { continuation.finish() } }
        continuation.yield()
        var next = (0..<log.partitionCount).map {
            max(0, log.nextOffset(partition: $0) - Self.lookBack)
        }
        for await _ in wakes {
            for partition in next.indices {
                next[partition] = await caughtUp(partition, from: next[partition])
            }
        }
    }

    /// The newest values of a device by metric, and when anything was last heard of it.
    public func latest(of device: DeviceID) -> (
        lastHeard: WallInstant, metrics: [String: LatestValue]
    )? {
        values.withLock { state in state.latest(of: device).map { ($0.lastHeard, $0.metrics) } }
    }

    private func caughtUp(_ partition: Int, from start: Int64) async -> Int64 {
        var next = start
        while !Task.isCancelled {
            let end = log.nextOffset(partition: partition)
            next = max(next, end - Self.lookBack)
            guard next < end else { return next }
            do {
                let run = try take(partition, from: next)
                guard run.firstOffset != nil else { return end }
                next = run.nextOffset
            } catch {
                logger.warning(
                    "the live view cannot read the log and shows old values until it can",
                    metadata: ["partition": "\(partition)", "error": "\(error)"])
                return next
            }
            await Task.yield()
        }
        return next
    }

    private func take(_ partition: Int, from offset: Int64) throws(EventLogError) -> EventRun {
        try values.withLock { (state) throws(EventLogError) in
            let run = try log.read(partition: partition, from: offset, limits: Self.limits) { event in
                guard !event.isBatch else { return true }
                guard let device = event.device else { return false }
                if event.source == .telemetry {
                    state.received(event.body, of: device, at: event.enqueuedAt)
                } else {
                    state.heard(device, at: event.enqueuedAt)
                }
                return false
            }
            for event in run.events { Self.fold(event, into: &state) }
            return run
        }
    }

    private static func fold(_ event: StoredEvent, into state: inout LatestValues) {
        let heardAt = event.header.enqueuedAt
        state.heard(event.header.device, at: heardAt)
        guard let batch = try? Batch(parsing: event.body) else { return }
        for record in batch.records {
            guard case .reading(let reading) = record.record else { continue }
            state.heard(reading.device, at: heardAt)
            let value = LatestValue(
                value: reading.value, unit: reading.unit, time: reading.time, quality: reading.quality)
            state.observed(value, of: reading.device, metric: reading.metric)
        }
    }
}
