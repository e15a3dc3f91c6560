import EventLog
import Logging
import NIOCore
import Primitives
import SQLiteHubStore
import Synchronization
import Telemetry

extension DeviceID {
    /// Only where a literal failed to be an id; no test uses it as a device.
    static let anyone: DeviceID = {
        guard let id = DeviceID("anyone") else { preconditionFailure("a literal id") }
        return id
    }()
}

extension GroupBuilder {
    mutating func add(_ stamp: inout EventStamp, bag: String, body: String, batch: BatchMark? = nil) {
        add(&stamp, bag: bag, bytes: Array(body.utf8), batch: batch)
    }

    mutating func add(_ stamp: inout EventStamp, bag: String, bytes: [UInt8], batch: BatchMark? = nil) {
        Array(bag.utf8).withUnsafeBytes { bag in
            bytes.withUnsafeBytes { append(&stamp, source: .telemetry, bag: bag, body: $0, batch: batch) }
        }
    }
}

extension AppendGroup.Chunk {
    func events(
        _ row: EventChunk.Row, from offset: Int64, _ limits: EventChunk.ReadLimits
    ) throws -> [StoredEvent] {
        try bytes.withUnsafeReadableBytes { try EventChunk.events(in: $0, row: row, from: offset, limits: limits) }
    }
}

extension EventChunk {
    static func events(
        in bytes: UnsafeRawBufferPointer, row: Row, from offset: Int64, limits: ReadLimits
    ) throws -> [StoredEvent] {
        var run = EventRun(from: offset)
        _ = try decode(bytes, row: row, from: offset, limits: limits, into: &run) { _ in true }
        return run.events
    }
}

extension BatchMark {
    static func of(_: EventStamp) -> BatchMark {
        BatchMark(gateway: .anyone, epoch: Epoch(value: 1), runs: [], dropped: [], quarantined: [])
    }
}

extension SQLiteEventLog {
    /// As a caller that waits for its acknowledgement.
    func append(_ group: AppendGroup) async throws -> AppendOutcome {
        try await withCheckedThrowingContinuation { continuation in
            append(group) { continuation.resume(with: $0) }
        }
    }

    func all(_ partition: Int = 0, from offset: Int64 = 0) throws -> [StoredEvent] {
        try read(partition: partition, from: offset, eventsMax: .max, bytesMax: .max)
    }
}

extension StoredEvent {
    var text: String { String(decoding: body, as: UTF8.self) }
}

/// A clock that stands still until the test moves it.
final class ManualClock: Sendable {
    private let instant = Mutex(WallInstant(milliseconds: 1_795_251_600_000))

    var now: WallInstant { instant.withLock { $0 } }

    func advance(by duration: Duration) { instant.withLock { $0 = $0 + duration } }
}

let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

/// Keeps the metadata of what is logged as a warning or worse.
final class Warnings: LogHandler {
    private let told = Mutex<[Logger.Metadata]>([])

    var all: [Logger.Metadata] { told.withLock { $0 } }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .warning }
        set {}
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) { told.withLock { $0.append(event.metadata ?? [:]) } }
}
