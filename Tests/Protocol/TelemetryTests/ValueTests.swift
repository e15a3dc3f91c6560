import Primitives
import Telemetry
import Testing

@Suite("Values of telemetry")
struct ValueTests {
    @Test func decimalTextIsTheGrammarOfJSONNumbers() {
        let rows: [(text: String, isAccepted: Bool)] = [
            ("0", true), ("-0", true), ("71.25", true), ("1e5", true), ("1E+5", true), ("-1.5e-10", true),
            (String(repeating: "9", count: 64), true), (String(repeating: "9", count: 65), false), ("", false),
            ("-", false), ("+1", false), ("01", false), ("-01", false), (".5", false), ("5.", false), ("1e", false),
            ("1e+", false), ("NaN", false), ("inf", false), ("0x10", false), (" 1", false), ("1 ", false), ("１", false),
        ]
        for row in rows { #expect((DecimalText(row.text)?.text == row.text) == row.isAccepted, "\(row.text)") }
    }

    @Test func aDoubleBecomesItsShortestText() {
        let rows: [(value: Double, text: String?)] = [
            (0, "0"), (71.25, "71.25"), (0.1, "0.1"), (-3, "-3"), (1e22, "1e+22"), (.leastNonzeroMagnitude, "5e-324"),
            (.nan, nil), (.infinity, nil), (-.infinity, nil),
        ]
        for row in rows { #expect(DecimalText(row.value)?.text == row.text) }
        for seed in UInt64(0)..<500 {
            var random = SeededRandom(seed: seed)
            let value = Double(bitPattern: random.next())
            guard value.isFinite else { continue }
            #expect(DecimalText(value)?.double == value, "seed \(seed)")
            #expect(DecimalText(DecimalText(value)?.text ?? "") != nil, "seed \(seed)")
        }
    }

    @Test func anEpochIsSixteenHexDigits() {
        #expect(Epoch(value: 0x1f).text == "000000000000001f")
        #expect(Epoch("9F86d081884c7d65")?.value == 0x9f86_d081_884c_7d65)
        for text in ["", "1f", "9f86d081884c7d6g", "9f86d081884c7d650"] { #expect(Epoch(text) == nil) }
    }

    @Test func aRunNeverTraps() {
        #expect(Run(start: 5, count: 3).last == 7)
        #expect(Run(start: .max, count: .max).last == .max)
        #expect(Run(start: 5, count: 0).isEmpty && !Run(start: 5, count: 0).contains(5))
        #expect(
            Run.joining([1, 2, 3, 5, 5, 4, 5]) == [
                Run(start: 1, count: 3), Run(start: 5, count: 1), Run(start: 5, count: 1), Run(start: 4, count: 2),
            ])
    }

    @Test func timesAreWrittenAndReadAsBytesLikeTheirText() {
        let edges: [Int64] = [
            0, -1, 1, 999, 1000, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000, .max / 2,
            951_782_400_000,
        ]
        for seed in UInt64(0)..<1000 {
            var random = SeededRandom(seed: seed)
            let milliseconds =
                seed < UInt64(edges.count)
                ? edges[Int(seed)] : Int64.random(in: -62_135_596_800_000...253_402_300_799_999, using: &random)
            let instant = WallInstant(milliseconds: milliseconds)
            var bytes: [UInt8] = []
            instant.write(to: &bytes)
            #expect(String(decoding: bytes, as: UTF8.self) == instant.description, "seed \(seed)")
            if milliseconds <= 253_402_300_799_999 {
                #expect(bytes.withUnsafeBufferPointer { WallInstant(ascii: $0) } == instant, "seed \(seed)")
            }
        }
        for text in [
            "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:00.x0Z", "20",
        ] {
            #expect(Array(text.utf8).withUnsafeBufferPointer { WallInstant(ascii: $0) } == nil, "\(text)")
        }
    }

    @Test func aRecordBeyondTheLimitsSaysWhichMember() throws {
        let device = try #require(DeviceID("d"))
        var reading = Reading(device: device, metric: "m", value: .boolean(true), time: WallInstant(milliseconds: 0))
        #expect(Record.reading(reading).problem == nil)
        reading.value = .text(String(repeating: "x", count: 4097))
        #expect(Record.reading(reading).problem?.member == "value")
        reading.unit = ""
        #expect(Record.reading(reading).problem?.member == "unit")
        reading.metric = String(repeating: "m", count: 129)
        #expect(Record.reading(reading).problem?.rule == "needs 1 to 128 bytes, has 129")
        reading.time = WallInstant(milliseconds: 253_402_300_800_000)
        #expect(Record.reading(reading).problem?.member == "time")
    }

    @Test func aFaultIdIsTheSameForTheSameNameAndOnlyThen() throws {
        let device = try #require(DeviceID("thermostat-1"))
        // Not SHA-1, but like it: 20 bytes that depend on every byte.
        let digest = { (bytes: [UInt8]) -> [UInt8] in
            var seed = SeededRandom(seed: bytes.reduce(7) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
            return (0..<20).map { _ in UInt8(truncatingIfNeeded: seed.next()) }
        }
        let id = { (rule: String, epoch: UInt64, sequence: UInt64) in
            FaultTransition.identity(
                device: device, rule: rule, epoch: Epoch(value: epoch), openingSequence: sequence, sha1: digest)
        }
        #expect(id("overheat", 1, 2) == id("overheat", 1, 2))
        #expect(Set([id("overheat", 1, 2), id("overheat", 1, 3), id("overheat", 2, 2), id("cold", 1, 2)]).count == 4)
        var seen: [UInt8] = []
        _ = FaultTransition.identity(
            device: device, rule: "r", epoch: Epoch(value: 255), openingSequence: 9,
            sha1: {
                seen = $0; return digest($0)
            })
        #expect(seen == FaultTransition.namespace.bytes + Array("thermostat-1/r/00000000000000ff/9".utf8))
    }

    @Test func aReceiptReadsBackAndOthersAreRefused() throws {
        let reading = Reading(
            device: try #require(DeviceID("meter-9")), metric: "voltage", value: .boolean(true), unit: nil,
            time: WallInstant(milliseconds: 1_795_000_000_123), quality: .good, clock: .synchronised)
        let receipt = Receipt(
            epoch: Epoch(value: 5),
            entries: [
                .init(
                    run: Run(start: 1, count: 2), code: .childNotInScope, reason: "meter-9 is no child of gateway-1",
                    first: .init(.reading(reading))),
                .init(run: Run(start: 9, count: 1), code: .tooManyGaps, reason: "too many"),
                .init(run: nil, code: .malformedBatch, reason: "é\""),
            ])
        #expect(Receipt(parsing: receipt.encoded()) == receipt)
        #expect(Receipt(parsing: Receipt(epoch: nil, entries: []).encoded()) == Receipt(epoch: nil, entries: []))
        let future =
            #"{"v":1,"epoch":"0000000000000005","entries":[{"run":["1","1"],"code":"new","reason":"r"}],"x":1}"#
        #expect(Receipt(parsing: Array(future.utf8))?.entries.first?.code == .other)
        let refused = [
            "", "[]", #"{"v":2,"entries":[]}"#, #"{"v":1}"#, #"{"v":1,"epoch":"5","entries":[]}"#,
            #"{"v":1,"entries":[{"run":["1","0"],"code":"other","reason":""}]}"#,
            #"{"v":1,"entries":[{"run":[1,1],"code":"other","reason":""}]}"#,
        ]
        for text in refused { #expect(Receipt(parsing: Array(text.utf8)) == nil, "\(text)") }
    }

    @Test func aReceiptKeepsToItsSize() {
        let reason = String(repeating: "r", count: 1000)
        let entries = (1...999).map {
            Receipt.Entry(run: Run(start: UInt64($0) * 2, count: 1), code: .tooManyGaps, reason: reason)
        }
        let bytes = Receipt(epoch: nil, entries: entries).encoded()
        #expect(bytes.count <= Receipt.bytesMax)
        #expect(Receipt(parsing: bytes)?.entries.count ?? 0 > 200)
    }

    @Test func aLongReasonIsCutBetweenCharacters() {
        let long = Receipt(
            epoch: nil, entries: [.init(run: nil, code: .other, reason: String(repeating: "€", count: 1000))])
        #expect(Receipt(parsing: long.encoded())?.entries.first?.reason == String(repeating: "€", count: 341))
    }
}
