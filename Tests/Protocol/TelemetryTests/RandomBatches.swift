import Primitives

@testable import Telemetry

/// Batches of every kind of record, each wholly decided by its seed.
struct RandomBatches {
    var random: SeededRandom

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    mutating func batch() -> Batch {
        var sequence = UInt64.random(in: 1...1 << 62, using: &random)
        var records: [SequencedRecord] = []
        for _ in 0..<Int.random(in: 0...40, using: &random) {
            records.append(SequencedRecord(sequence: sequence, record: record()))
            sequence += Bool.random(using: &random) ? 1 : UInt64.random(in: 1...9, using: &random)
        }
        let dropped = (0..<Int.random(in: 0...3, using: &random)).map { _ in
            Run(start: random.next() >> 1, count: UInt64.random(in: 1...1000, using: &random))
        }
        return Batch(epoch: Epoch(value: random.next()), records: records, dropped: dropped)
    }

    private mutating func record() -> Record {
        let device = DeviceID(pick(["meter-1", "thermostat-1", "a", String(repeating: "x", count: 128), "$%+#(),'"]))
        guard let device else { preconditionFailure("the test's own ids are valid") }
        let clock = pick(ClockQuality.allCases)
        let time = WallInstant(
            milliseconds: Int64.random(in: -62_135_596_800_000...253_402_300_799_999, using: &random))
        guard Int.random(in: 0..<4, using: &random) == 0 else {
            return .reading(
                Reading(
                    device: device, metric: text(1...20), value: value(),
                    unit: Bool.random(using: &random) ? text(1...8) : nil, time: time,
                    quality: pick(ReadingQuality.allCases), clock: clock))
        }
        return .fault(
            FaultTransition(
                faultID: .random(using: &random), device: device, rule: text(1...20), state: pick(FaultState.allCases),
                severity: pick(Severity.allCases), message: text(0...60),
                metric: Bool.random(using: &random) ? text(1...20) : nil,
                value: Bool.random(using: &random) ? value() : nil,
                limit: Bool.random(using: &random) ? text(0...20) : nil, time: time, clock: clock))
    }

    private mutating func value() -> ReadingValue {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: return .boolean(Bool.random(using: &random))
        case 1: return .text(text(0...40))
        case 2: return .number(DecimalText(Int64.random(in: .min ... .max, using: &random)))
        default:
            let double = Double(bitPattern: random.next())
            return .number(DecimalText(double) ?? DecimalText(0))
        }
    }

    private mutating func text(_ lengths: ClosedRange<Int>) -> String {
        let letters: [Character] = ["a", "Z", " ", "\"", "\\", "\n", "\u{1}", "ü", "€", "😀", "/", "{", "\u{7F}", "1"]
        var text = ""
        for _ in 0..<Int.random(in: lengths, using: &random) {
            text.append(letters[Int.random(in: 0..<letters.count, using: &random)])
        }
        return text
    }

    private mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[Int.random(in: 0..<choices.count, using: &random)]
    }
}
