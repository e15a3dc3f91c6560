public import EventLog
import Logging
import NIOCore
public import Primitives
public import SQLiteHubStore
public import Telemetry

/// An event log of one partition in a folder of its own, and a gateway that writes batches into it.
public final class LogFixture: Sendable {
    public let folder: TemporaryFolder
    public let log: SQLiteEventLog
    public let clock: TestClock
    public let gateway: DeviceID
    private let origin: EventOrigin

    public init(gateway id: String = "gateway-1") throws {
        folder = try TemporaryFolder()
        gateway = try HubFixture.id(id)
        origin = EventOrigin(
            device: gateway, module: nil, authGeneration: "1", authScope: "device", authType: "sas")
        var options = SQLiteEventLog.Options()
        options.partitionCount = 1
        options.reserveBytes = 0
        let clock = TestClock()
        self.clock = clock
        log = try SQLiteEventLog(
            path: folder.file("log.sqlite"), options: options,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, now: { clock.now })
    }

    /// Readings of `temperature` whose value is their sequence number.
    public func readings(_ sequences: some Sequence<UInt64>, of device: DeviceID? = nil) -> [SequencedRecord] {
        sequences.map { sequence in
            let reading = Reading(
                device: device ?? gateway, metric: "temperature",
                value: DecimalText(Double(sequence)).map(ReadingValue.number) ?? .boolean(false), time: clock.now)
            return SequencedRecord(sequence: sequence, record: .reading(reading))
        }
    }

    /// Writes one batch, as ingest does, and waits until it is durable.
    @discardableResult
    public func append(
        _ records: [SequencedRecord], epoch: Epoch = LogFixture.epoch, dropped: [Run] = [],
        quarantined: [QuarantinedRecord] = []
    ) async throws -> AppendOutcome {
        let batch = Batch(epoch: epoch, records: records, dropped: dropped)
        let sequences = records.map(\.sequence) + quarantined.compactMap(\.sequence)
        let mark = BatchMark(
            gateway: gateway, epoch: epoch, runs: Run.joining(sequences.sorted()), dropped: dropped,
            quarantined: quarantined)
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: origin, partitionCount: 1)
        batch.encoded().withUnsafeBytes {
            builder.append(
                &stamp, source: .telemetry, bag: UnsafeRawBufferPointer(start: nil, count: 0), body: $0, batch: mark)
        }
        let group = builder.seal()
        return try await withCheckedThrowingContinuation { continuation in
            log.append(group) { continuation.resume(with: $0) }
        }
    }

    public static let epoch = Epoch(value: 9)
}
