import JSON
import Primitives
import Telemetry
import Testing

@Suite("The batch envelope")
struct BatchTests {
    @Test func everyValidVectorReadsAndIsWrittenBackInItsCanonicalForm() throws {
        let names = try GoldenFiles.names(in: "valid", ending: ".json").filter { !$0.hasSuffix(".canonical") }
        #expect(names.count >= 8)
        for name in names {
            let bytes = try GoldenFiles.bytes("valid", name + ".json")
            let canonical = (try? GoldenFiles.bytes("valid", name + ".canonical.json")) ?? bytes
            let batch = try Batch(parsing: bytes)
            #expect(
                String(decoding: batch.encoded(), as: UTF8.self) == String(decoding: canonical, as: UTF8.self),
                "\(name)")
        }
    }

    @Test func everyInvalidVectorIsRefusedWithItsText() throws {
        let names = try GoldenFiles.names(in: "invalid", ending: ".json")
        #expect(names.count >= 50)
        for name in names {
            let bytes = try GoldenFiles.bytes("invalid", name + ".json")
            let found: String
            do {
                _ = try Batch(parsing: bytes)
                found = "it was read"
            } catch {
                #expect(!error.isRetryable)
                found = error.description
            }
            #expect(found == (try GoldenFiles.expectation("invalid", name + ".expect.txt", found: found)), "\(name)")
        }
    }

    @Test func theExampleSaysWhatItSays() throws {
        let batch = try Batch(parsing: try GoldenFiles.bytes("valid", "example.json"))
        let device = try #require(DeviceID("thermostat-1"))
        let time = try #require(WallInstant("2026-11-21T08:53:00.250Z"))
        let value = ReadingValue.number(try #require(DecimalText("71.25")))
        let reading = Reading(device: device, metric: "temperature", value: value, unit: "Cel", time: time)
        let fault = FaultTransition(
            faultID: try #require(UniqueID("6f9619ff-8b86-5011-b42d-00cf4fc964ff")), device: device, rule: "overheat",
            state: .raised, severity: .critical, message: "temperature is 71.25, limit 70", metric: "temperature",
            value: value, limit: "70", time: time, clock: .guessed)
        #expect(
            batch
                == Batch(
                    epoch: Epoch(value: 0x9f86_d081_884c_7d65),
                    records: [
                        SequencedRecord(sequence: 1001, record: .reading(reading)),
                        SequencedRecord(sequence: 1002, record: .fault(fault)),
                    ], dropped: [Run(start: 900, count: 5)]))
    }

    @Test func whatIsWrittenReadsBackTheSame() throws {
        for seed in UInt64(0)..<300 {
            var random = RandomBatches(seed: seed)
            let batch = random.batch()
            #expect(try Batch(parsing: batch.encoded(), limits: .default) == batch, "seed \(seed)")
            #expect(batch.records.allSatisfy { $0.record.problem == nil }, "seed \(seed)")
        }
    }

    @Test func everyBatchIsJSONForEverybodyElse() throws {
        for seed in UInt64(0)..<50 {
            var random = RandomBatches(seed: seed)
            let batch = random.batch()
            let value = try JSONValue(parsing: batch.encoded())
            #expect(value["records"]?.arrayValue?.count == batch.records.count, "seed \(seed)")
            for (record, element) in zip(batch.records, value["records"]?.arrayValue ?? []) {
                #expect(element["seq"]?.stringValue == String(record.sequence), "seed \(seed)")
                #expect(element["time"]?.stringValue == record.record.time.description, "seed \(seed)")
            }
        }
    }

    @Test func brokenBytesAreRefusedAndNeverTrap() throws {
        let example = try GoldenFiles.bytes("valid", "values.json")
        for cut in 0..<example.count {
            #expect(throws: BatchError.self, "cut at \(cut)") { try Batch(parsing: example[..<cut]) }
        }
        for seed in UInt64(0)..<3000 {
            var random = SeededRandom(seed: seed)
            var bytes = example
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                default:
                    bytes.insert(contentsOf: Array("\"\\{}[],:019".utf8).shuffled(using: &random).prefix(2), at: index)
                }
            }
            // Whatever is accepted must mean what it writes.
            if let batch = try? Batch(parsing: bytes) {
                #expect(try Batch(parsing: batch.encoded()) == batch, "seed \(seed)")
            }
        }
    }

    @Test func theLimitsHoldAtTheirEdge() throws {
        let device = try #require(DeviceID("d"))
        let reading = Reading(
            device: device, metric: "m", value: .boolean(true), time: WallInstant(milliseconds: 0))
        let records = (1...10).map { SequencedRecord(sequence: UInt64($0), record: .reading(reading)) }
        let dropped = (0..<3).map { Run(start: UInt64(100 + 10 * $0), count: 1) }
        let bytes = Batch(epoch: Epoch(value: 1), records: records, dropped: dropped).encoded()
        let rows: [(limits: BatchLimits, refusal: String?)] = [
            (BatchLimits(bytesMax: bytes.count, recordsMax: 10, droppedRunsMax: 3), nil),
            (BatchLimits(bytesMax: bytes.count - 1), "the text is longer than \(bytes.count - 1) bytes"),
            (BatchLimits(recordsMax: 9), "\"records\" has more than 9 entries"),
            (BatchLimits(droppedRunsMax: 2), "\"dropped\" has more than 2 entries"),
        ]
        for row in rows {
            var refusal: String?
            do { _ = try Batch(parsing: bytes, limits: row.limits) } catch { refusal = error.problem.description }
            #expect(refusal == row.refusal)
        }
        #expect(BatchLimits.default == BatchLimits(bytesMax: 262_144, recordsMax: 10_000, droppedRunsMax: 1000))
    }

    @Test func removingKeepsTheRunsRight() throws {
        for seed in UInt64(0)..<200 {
            var random = RandomBatches(seed: seed)
            let batch = random.batch()
            let gone = Set(batch.records.map(\.sequence).filter { _ in Bool.random(using: &random.random) })
            let rest = batch.removing { gone.contains($0) }
            #expect(rest.records == batch.records.filter { !gone.contains($0.sequence) }, "seed \(seed)")
            #expect(rest.dropped == batch.dropped && rest.epoch == batch.epoch)
            let numbers = rest.runs.flatMap { run in (0..<run.count).map { run.start + $0 } }
            #expect(numbers == rest.records.map(\.sequence), "seed \(seed)")
            #expect(try Batch(parsing: rest.encoded()) == rest, "seed \(seed)")
        }
    }

    @Test func aFragmentInAnEnvelopeIsTheSameAsTheBatchWritten() throws {
        var random = RandomBatches(seed: 77)
        let batch = random.batch()
        let fragments = batch.records.map { Batch.encodeFragment($0) }.joined(separator: [UInt8(ascii: ",")])
        let wrapped = Batch.envelope(
            epoch: batch.epoch, fragments: Array(fragments), runs: batch.runs, dropped: batch.dropped)
        #expect(wrapped == batch.encoded())
    }

    @Test func theLargestRecordFitsItsBound() throws {
        let device = try #require(DeviceID(String(repeating: "d", count: 128)))
        let worst = { (count: Int) in String(repeating: "\u{1}", count: count) }
        let fault = FaultTransition(
            faultID: FaultTransition.namespace, device: device, rule: worst(TelemetryLimits.ruleBytesMax),
            state: .raised, severity: .critical, message: worst(TelemetryLimits.messageBytesMax),
            metric: worst(TelemetryLimits.metricBytesMax), value: .text(worst(TelemetryLimits.valueTextBytesMax)),
            limit: worst(TelemetryLimits.limitBytesMax), time: WallInstant(milliseconds: 1), clock: .guessed)
        let record = SequencedRecord(sequence: .max, record: .fault(fault))
        #expect(record.record.problem == nil)
        #expect(Batch.encodeFragment(record).count <= TelemetryLimits.fragmentBytesMax)
        #expect(try Batch(parsing: Batch(epoch: Epoch(value: 0), records: [record]).encoded()).records == [record])
    }
}
