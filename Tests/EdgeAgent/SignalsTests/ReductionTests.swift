import Primitives
import Signals
import Telemetry
import Testing

private struct Row: CustomTestStringConvertible, Sendable {
    let claim: String
    let settings: @Sendable (inout SignalSettings) -> Void
    /// Second and value.
    let given: [(Double, Double)]
    /// Seconds of what is kept.
    let kept: [Double]

    var testDescription: String { claim }
}

@Suite("Signals: reduction")
struct ReductionTests {
    private static let rows: [Row] = [
        Row(claim: "all is kept by default", settings: { _ in }, given: [(0, 1), (1, 1), (2, 1)], kept: [0, 1, 2]),
        Row(claim: "nothing is kept", settings: { $0.reduction = .none }, given: [(0, 1), (1, 2)], kept: []),
        Row(
            claim: "changes only", settings: { $0.reduction = .changes },
            given: [(0, 1), (1, 1), (2, 2), (3, 2), (4, 1)], kept: [0, 2, 4]),
        Row(
            claim: "changes, and a heartbeat",
            settings: {
                $0.reduction = .changes
                $0.heartbeat = .seconds(3)
            },
            given: [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)], kept: [0, 3, 6]),
        Row(
            claim: "a deadband counts from the last kept value, and its edge is inside",
            settings: { $0.reduction = .deadband(absolute: 1, percent: 0) },
            given: [(0, 10), (1, 10.5), (2, 11), (3, 11.5), (4, 12.5), (5, 10.5), (6, 10.4)], kept: [0, 3, 6]),
        Row(
            claim: "a deadband in percent", settings: { $0.reduction = .deadband(absolute: 0, percent: 10) },
            given: [(0, 100), (1, 110), (2, 111), (3, 100), (4, 99)], kept: [0, 2, 4]),
        Row(
            claim: "both deadbands must be left", settings: { $0.reduction = .deadband(absolute: 5, percent: 10) },
            given: [(0, 10), (1, 12), (2, 16), (3, 100), (4, 106), (5, 111)], kept: [0, 2, 3, 5]),
        Row(
            claim: "a rate limit", settings: { $0.intervalMin = .seconds(2) },
            given: [(0, 1), (1, 2), (2, 3), (3, 4), (3.9, 5), (4, 6)], kept: [0, 2, 4]),
        Row(
            claim: "a rate limit over a deadband",
            settings: {
                $0.reduction = .deadband(absolute: 1, percent: 0)
                $0.intervalMin = .seconds(3)
            },
            given: [(0, 1), (1, 9), (2, 9), (3, 9), (4, 1)], kept: [0, 3]),
        Row(
            claim: "a straight line is its ends", settings: { $0.reduction = .swingingDoor(errorMax: 0.1) },
            given: [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0)], kept: [0, 3]),
    ]

    @Test(arguments: rows.indices)
    func theTableHolds(_ index: Int) {
        let row = Self.rows[index]
        var settings = SignalSettings(metric: "m")
        row.settings(&settings)
        var bench = Bench([settings])
        for (second, value) in row.given {
            bench.advance(to: Int64(second * 1000))
            bench.take(number: value)
        }
        #expect(bench.points().map { Double($0.time) / 1000 } == row.kept, "\(row.claim)")
    }

    @Test func textsAndStatesAreKeptWhenTheyChange() {
        var settings = SignalSettings()
        settings.reduction = .deadband(absolute: 1, percent: 0)
        var bench = Bench([settings])
        for value in [ReadingValue.text("run"), .text("run"), .text("stop"), .boolean(true), .boolean(true)] {
            bench.take(bench.reading(value))
        }
        #expect(bench.kept.map(\.value) == [.text("run"), .text("stop"), .boolean(true)])
    }

    @Test func aChangeOfQualityIsAChange() {
        for reduction in [Reduction.changes, .deadband(absolute: 9, percent: 0), .swingingDoor(errorMax: 9)] {
            var settings = SignalSettings()
            settings.reduction = reduction
            var bench = Bench([settings])
            for (second, quality) in [ReadingQuality.good, .bad, .bad, .good, .uncertain].enumerated() {
                bench.advance(to: Int64(second) * 1000)
                bench.take(bench.reading(.number(DecimalText(1)), quality: quality))
            }
            #expect(bench.kept.map(\.quality) == [.good, .bad, .good, .uncertain], "\(reduction)")
        }
    }

    /// Every reading from the first to the last kept one is told by straight lines within the bound, over walks of many
    /// kinds; nothing is kept twice, and order holds.
    @Test func straightLinesErrAtMostByTheBound() {
        var savings: [Double] = []
        for seed in UInt64(1)...300 {
            var random = SeededRandom(seed: seed)
            let errorMax = [0.01, 0.1, 0.5, 3][Int.random(in: 0..<4, using: &random)]
            var settings = SignalSettings(metric: "m")
            settings.reduction = .swingingDoor(errorMax: errorMax)
            settings.heartbeat = .seconds(Bool.random(using: &random) ? 20 : 900)
            var bench = Bench([settings])
            var value = 20.0
            var drift = 0.0
            var given: [(time: Int64, value: Double)] = []
            for _ in 0..<400 {
                bench.advance(to: bench.elapsed + Int64.random(in: 1...3000, using: &random))
                if Int.random(in: 0..<30, using: &random) == 0 { drift = Double.random(in: -0.3...0.3, using: &random) }
                if Int.random(in: 0..<80, using: &random) == 0 { value += Double.random(in: -9...9, using: &random) }
                value += drift + Double.random(in: -0.05...0.05, using: &random)
                bench.take(number: value)
                given.append((bench.elapsed, value))
            }
            bench.advance(to: bench.elapsed + 901_000)
            let kept = bench.points()
            expectWithin(errorMax * (1 + 1e-9), given, kept, "seed \(seed)")
            #expect(kept.first?.time == given.first?.time && kept.last?.time == given.last?.time, "seed \(seed)")
            savings.append(1 - Double(kept.count) / Double(given.count))
            #expect(bench.signals.figures.first?.kept == UInt64(kept.count), "seed \(seed)")
        }
        #expect(savings.max() ?? 0 > 0.85, "the kindest walk should shrink a lot")
    }

    private func expectWithin(
        _ bound: Double, _ given: [(time: Int64, value: Double)], _ kept: [(time: Int64, value: Double)],
        _ label: String
    ) {
        for pair in zip(kept, kept.dropFirst()) where pair.1.time <= pair.0.time {
            Issue.record("\(label): \(pair.1.time) follows \(pair.0.time)")
        }
        var next = 1
        for (time, value) in given {
            while next < kept.count - 1, kept[next].time < time { next += 1 }
            guard next < kept.count, kept[next].time >= time else { continue }
            let (left, right) = (kept[next - 1], kept[next])
            let share = Double(time - left.time) / Double(right.time - left.time)
            let told = left.value + share * (right.value - left.value)
            let error = (told - value).magnitude
            if error > bound { Issue.record("\(label): off by \(error) at \(time), more than \(bound)") }
        }
    }

    @Test func aHeldReadingIsKeptWhenNothingElseComes() {
        var settings = SignalSettings()
        settings.reduction = .swingingDoor(errorMax: 1)
        settings.heartbeat = .seconds(10)
        var bench = Bench([settings])
        for second in [Int64(0), 1, 2] {
            bench.advance(to: second * 1000)
            bench.take(number: 5)
        }
        #expect(bench.points().map(\.time) == [0])
        bench.advance(to: 11_000)
        #expect(bench.points().map(\.time) == [0, 2000])
        bench.advance(to: 60_000)
        #expect(bench.points().map(\.time) == [0, 2000], "once")
    }

    @Test func aClockThatJumpsBackEndsTheLine() {
        var settings = SignalSettings()
        settings.reduction = .swingingDoor(errorMax: 1)
        var bench = Bench([settings])
        for second in 0..<5 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: 5)
        }
        bench.jump = -3_600_000
        bench.advance(to: 5000)
        bench.take(number: 5)
        #expect(bench.kept.map(\.time.milliseconds).map { $0 - Bench.start } == [0, 4000, -3_595_000])
    }
}
