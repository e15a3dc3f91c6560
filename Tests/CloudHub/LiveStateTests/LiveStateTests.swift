import EventLog
import HubTestSupport
import LiveState
import Logging
import NIOCore
import Primitives
import SQLiteHubStore
import Telemetry
import Testing

@Suite(.timeLimit(.minutes(1))) struct LiveStateTests {
    let folder: TemporaryFolder
    let log: SQLiteEventLog
    let device: DeviceID
    static let start = WallInstant(milliseconds: 1_000_000)

    init() throws {
        folder = try TemporaryFolder()
        device = try #require(DeviceID("oven-1"))
        var options = SQLiteEventLog.Options()
        options.partitionCount = 1
        options.reserveBytes = 0
        log = try SQLiteEventLog(
            path: folder.file("log.sqlite"), options: options,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, now: { Self.start })
    }

    private func append(_ bodies: [String], source: EventSource = .telemetry, batch: BatchMark? = nil) async throws {
        let origin = EventOrigin(
            device: device, module: nil, authGeneration: "1", authScope: "device", authType: "sas")
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: origin, partitionCount: 1)
        for body in bodies {
            Array(body.utf8).withUnsafeBytes {
                builder.append(
                    &stamp, source: source, bag: UnsafeRawBufferPointer(start: nil, count: 0), body: $0, batch: batch)
            }
        }
        let group = builder.seal()
        _ = try await withCheckedThrowingContinuation { continuation in
            log.append(group) { continuation.resume(with: $0) }
        }
    }

    /// What the live state says once it has read all.
    private func values() async throws -> [String: ReadingValue] {
        let live = LiveState(log: log)
        let follower = Task { await live.run() }
        defer { follower.cancel() }
        let end = "{\"last\":true}"
        try await append([end])
        while live.latest(of: device)?.metrics["last"] == nil { await Task.yield() }
        var metrics = try #require(live.latest(of: device)).metrics.mapValues(\.value)
        metrics["last"] = nil
        return metrics
    }

    private func number(_ text: String) throws -> ReadingValue { .number(try #require(DecimalText(text))) }

    @Test func theNewestOfEachMetricIsShownWhicheverMessageBroughtIt() async throws {
        try await append([
            #"{"t":1,"h":40}"#, #"{"t":2}"#, #"{"door":"open"}"#, #"{"t":3,"h":null}"#, #"{"on":true,"deep":{"t":9}}"#,
        ])
        #expect(
            try await values() == [
                "t": number("3"), "h": number("40"), "door": .text("open"), "on": .boolean(true),
            ])
    }

    @Test func manyShapesAndLongMessagesAreReadAllTheSame() async throws {
        let filler = String(repeating: "x", count: 3000)
        try await append((0..<30).map { "{\"m\($0 % 20)\":\($0)}" } + ["{\"long\":\"\(filler)\",\"m3\":77}"])
        let found = try await values()
        #expect(found.count == 21)
        #expect(found["m3"] == (try number("77")))
        #expect(found["m5"] == (try number("25")))
        #expect(found["m15"] == (try number("15")))
    }

    @Test func whatIsNoObjectIsHeardAndShowsNothing() async throws {
        try await append(["", "plain text", "[1,2]", "{\"t\":1", #"{"t":1}garbage"#, "7"])
        #expect(try await values().isEmpty)
        try await append([#"{"t":5}"#, #"{"t":broken}"#])
        #expect(try await values() == ["t": number("5")])
    }

    @Test func aWillShowsNoValues() async throws {
        try await append([#"{"t":5}"#], source: .will)
        #expect(try await values().isEmpty)
    }

    @Test func ofABatchTheReadingsOfEveryChildAreShown() async throws {
        let child = try #require(DeviceID("child-1"))
        let readings = [(1, 20), (3, 30), (2, 25)].map { second, value in
            Reading(
                device: child, metric: "level", value: .number(DecimalText(Double(value)).unsafelyUnwrapped), unit: "m",
                time: WallInstant(milliseconds: Int64(second) * 1000), quality: .good, clock: .synchronised)
        }
        let records = readings.enumerated().map {
            SequencedRecord(sequence: UInt64($0.offset + 1), record: .reading($0.element))
        }
        let batch = Batch(epoch: Epoch(value: 7), records: records, dropped: [])
        let mark = BatchMark(
            gateway: device, epoch: batch.epoch, runs: [Run(start: 1, count: 3)], dropped: [], quarantined: [])
        try await append([String(decoding: batch.encoded(), as: UTF8.self)], batch: mark)
        #expect(try await values().isEmpty)
        let live = LiveState(log: log)
        let follower = Task { await live.run() }
        defer { follower.cancel() }
        while live.latest(of: child) == nil { await Task.yield() }
        let shown = try #require(live.latest(of: child)?.metrics["level"])
        #expect(shown.value == (try number("30")), "back-fill does not hide what is live")
        #expect(shown.unit == "m")
    }
}
