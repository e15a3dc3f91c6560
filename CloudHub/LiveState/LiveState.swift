public import EventLog
import JSON
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
    private static let chunkEvents = 1_000
    private static let chunkBytes = 4 * 1024 * 1024

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
        values.withLock { state in state.devices[device].map { ($0.lastHeard, $0.metrics) } }
    }

    private func caughtUp(_ partition: Int, from start: Int64) async -> Int64 {
        var next = start
        while !Task.isCancelled {
            let end = log.nextOffset(partition: partition)
            next = max(next, end - Self.lookBack)
            guard next < end else { return next }
            do {
                let events = try log.read(
                    partition: partition, from: next, eventsMax: Self.chunkEvents, bytesMax: Self.chunkBytes)
                guard let last = events.last else { return end }
                values.withLock { state in for event in events { Self.fold(event, into: &state) } }
                next = last.offset + 1
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

    private static func fold(_ event: StoredEvent, into state: inout LatestValues) {
        state.heard(event.header.device, at: event.header.enqueuedAt)
        if event.header.isBatch {
            guard let batch = try? Batch(parsing: event.body) else { return }
            for record in batch.records {
                fold(record.record, heardAt: event.header.enqueuedAt, into: &state)
            }
        } else {
            foldPlain(event, into: &state)
        }
    }

    private static func fold(_ record: Record, heardAt: WallInstant, into state: inout LatestValues) {
        guard case .reading(let reading) = record else { return }
        state.heard(reading.device, at: heardAt)
        let value = LatestValue(
            value: reading.value, unit: reading.unit, time: reading.time, quality: reading.quality)
        state.observed(value, of: reading.device, metric: reading.metric)
    }

    /// Plain telemetry: the members of a JSON object that are numbers, texts or booleans.
    private static func foldPlain(_ event: StoredEvent, into state: inout LatestValues) {
        guard event.header.source == .telemetry,
            let object = (try? JSONValue(parsing: event.body))?.objectValue
        else {
            return
        }
        for member in object.members {
            guard let value = readingValue(member.value) else { continue }
            let latest = LatestValue(
                value: value, unit: nil, time: event.header.enqueuedAt, quality: .good)
            state.observed(latest, of: event.header.device, metric: member.key)
        }
    }

    private static func readingValue(_ value: JSONValue) -> ReadingValue? {
        switch value {
        case .number(let number): DecimalText(number.text).map(ReadingValue.number)
        case .string(let text): .text(text)
        case .bool(let flag): .boolean(flag)
        case .null, .array, .object: nil
        }
    }
}
