import Primitives
import Signals
import Telemetry
import Testing

@Suite("Signals: windows")
struct WindowTests {
    private func settings(_ windows: WindowSettings...) -> [SignalSettings] {
        var settings = SignalSettings(metric: "m")
        settings.reduction = .none
        settings.windows = windows
        return [settings]
    }

    private static let allAggregates: [Aggregate] = [
        .min, .max, .mean, .count, .sum, .standardDeviation, .first, .last, .rate, .percentile(50),
    ]

    @Test func aTumblingWindowSaysWhatWasInIt() throws {
        var bench = Bench(settings(WindowSettings(length: .seconds(10), aggregates: Self.allAggregates)))
        // The start lies on a full ten seconds.
        for (second, value) in [(1, 2.0), (3, 4), (4, 4), (5, 4), (6, 5), (7, 5), (8, 7), (9, 9)] {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: value, unit: "Cel")
        }
        #expect(bench.kept == [])
        bench.advance(to: 10_000)
        let expected: [(String, String, String?)] = [
            ("m.min", "2", "Cel"), ("m.max", "9", "Cel"), ("m.mean", "5", "Cel"), ("m.count", "8", nil),
            ("m.sum", "40", "Cel"), ("m.stddev", "2.1380899353", "Cel"), ("m.first", "2", "Cel"),
            ("m.last", "9", "Cel"), ("m.rate", "0.875", "Cel/s"),
        ]
        for (reading, row) in zip(bench.kept, expected) {
            #expect(reading.metric == row.0 && reading.unit == row.2, "\(row.0)")
            #expect(reading.value.description.hasPrefix(row.1), "\(row.0) is \(reading.value)")
            #expect(reading.time.milliseconds == Bench.start + 10_000, "\(row.0)")
        }
        #expect(bench.kept.count == 10)
        let median = try #require(bench.kept.last?.value.double)
        #expect((median - 4).magnitude <= 0.04)
        bench.advance(to: 100_000)
        #expect(bench.kept.count == 10, "an empty window says nothing")
    }

    struct Count: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let values: [Double]
        var wrap: Double?
        let rate: String
        var isDoubtful = false
    }

    static let counts: [Count] = [
        Count(testDescription: "no reset", values: [100, 104, 110], rate: "1"),
        Count(testDescription: "a reset", values: [100, 104, 2, 6], rate: "1", isDoubtful: true),
        Count(testDescription: "a wrap", values: [65_530, 65_534, 2, 6], wrap: 65_536, rate: "1.2"),
        Count(
            testDescription: "a reset of one that could wrap", values: [20, 24, 2, 6], wrap: 65_536, rate: "1",
            isDoubtful: true),
        Count(testDescription: "beyond its own end", values: [70_000, 4], wrap: 65_536, rate: "0.4", isDoubtful: true),
        Count(testDescription: "below zero", values: [5, -3, -1], rate: "0.2", isDoubtful: true),
    ]

    /// Ten seconds from the first to the last reading, in one window and in hopping ones, over a restart in the middle.
    @Test(arguments: counts, [20, 4]) func aCountersRateKnowsWhereItBeganAnew(count: Count, every: Int64) throws {
        var all = settings(WindowSettings(length: .seconds(20), every: .seconds(every), aggregates: [.rate]))
        all[0].counter = Counter(wrap: count.wrap)
        var bench = Bench(all)
        for (place, value) in count.values.enumerated() {
            bench.advance(to: 1000 + 10_000 * Int64(place) / Int64(count.values.count - 1))
            bench.take(number: value)
            if place == 1 {
                bench.store(isFinal: true)
                bench.restart()
            }
        }
        bench.advance(to: 20_000)
        let result = try #require(bench.kept.last { $0.time.milliseconds == Bench.start + 20_000 })
        #expect(result.value.description == count.rate)
        #expect(result.quality == (count.isDoubtful ? .uncertain : .good))
    }

    @Test func aSingleReadingHasNoDeviationAndNoRate() {
        var bench = Bench(settings(WindowSettings(length: .seconds(10), aggregates: Self.allAggregates)))
        bench.take(number: 3)
        bench.advance(to: 10_000)
        #expect(bench.kept.map(\.metric).contains("m.stddev") == false)
        #expect(bench.kept.map(\.metric).contains("m.rate") == false)
        #expect(bench.kept.count == 8)
    }

    @Test func aHoppingWindowEndsEveryStep() {
        var bench = Bench(
            settings(WindowSettings(length: .seconds(30), every: .seconds(10), aggregates: [.count, .sum])))
        for second in 0..<60 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: 1)
        }
        bench.advance(to: 200_000)
        let counts = bench.points("m.count")
        #expect(counts.map(\.time) == [10, 20, 30, 40, 50, 60, 70, 80].map { $0 * 1000 })
        #expect(counts.map(\.value) == [10, 20, 30, 30, 30, 30, 20, 10])
        #expect(bench.points("m.sum").map(\.value) == counts.map(\.value))
    }

    /// A plain window over all readings, by event time.
    @Test func windowsAgreeWithAPlainCount() throws {
        for seed in UInt64(1)...60 {
            var random = SeededRandom(seed: seed)
            let hops = Int64([1, 1, 3, 5].randomElement(using: &random) ?? 1)
            let every = Int64([1000, 7000, 60_000].randomElement(using: &random) ?? 1000)
            var bench = Bench(
                settings(
                    WindowSettings(
                        length: .milliseconds(every * hops), every: .milliseconds(every),
                        aggregates: [.count, .sum, .mean, .min, .max, .standardDeviation])))
            var given: [(time: Int64, value: Double)] = []
            for _ in 0..<300 {
                bench.advance(to: bench.elapsed + Int64.random(in: 1...(every / 2), using: &random))
                if Int.random(in: 0..<40, using: &random) == 0 { bench.advance(to: bench.elapsed + every * hops * 3) }
                let value = Double(Int.random(in: -1000...1000, using: &random)) / 8
                bench.take(number: value)
                given.append((bench.elapsed, value))
            }
            bench.advance(to: bench.elapsed + every * (hops + 2))
            let counts = bench.points("m.count")
            #expect(counts.reduce(0) { $0 + $1.value } == Double(given.count * Int(hops)), "seed \(seed)")
            for (time, count) in counts {
                let inside = given.filter { $0.time < time && $0.time >= time - every * hops }.map(\.value)
                #expect(Double(inside.count) == count, "seed \(seed) at \(time)")
                try compare(bench, inside, at: time, "seed \(seed) at \(time)")
            }
        }
    }

    private func compare(_ bench: Bench, _ inside: [Double], at time: Int64, _ label: String) throws {
        let value = { (name: String) in bench.points("m." + name).first { $0.time == time }?.value }
        let mean = inside.reduce(0, +) / Double(inside.count)
        #expect(value("min") == inside.min() && value("max") == inside.max(), "\(label)")
        #expect((try #require(value("mean")) - mean).magnitude < 1e-8, "\(label)")
        guard inside.count > 1 else { return }
        let variance = inside.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(inside.count - 1)
        #expect((try #require(value("stddev")) - variance.squareRoot()).magnitude < 1e-7, "\(label)")
    }

    @Test func aClockThatJumpsLosesAndDoublesNothing() {
        for seed in UInt64(1)...100 {
            var random = SeededRandom(seed: seed)
            var bench = Bench(settings(WindowSettings(length: .seconds(60), aggregates: [.count])))
            for _ in 0..<500 {
                bench.advance(to: bench.elapsed + Int64.random(in: 100...4000, using: &random))
                if Int.random(in: 0..<20, using: &random) == 0 {
                    let jumps: [Int64] = [-3_600_000, 3_600_000, -Bench.start, 500, -500, 29_000]
                    bench.jump += jumps.randomElement(using: &random) ?? 0
                    if Bool.random(using: &random) { bench.jump = 0 }
                }
                bench.take(number: 1)
            }
            bench.advance(to: bench.elapsed + 200_000)
            let counted = bench.kept.reduce(0) { $0 + ($1.value.double ?? 0) }
            #expect(counted == 500, "seed \(seed)")
        }
    }

    @Test func afterAJumpEndsAreWholeAgain() {
        var bench = Bench(settings(WindowSettings(length: .seconds(60), aggregates: [.count])))
        for second in 0..<600 {
            bench.advance(to: Int64(second) * 1000)
            if second == 150 { bench.jump = 3_600_000 + 17_000 }
            bench.take(number: 1)
        }
        let ends = bench.kept.map(\.time.milliseconds)
        // The third window was planned before the jump; those after the fourth lie on whole minutes of the new clock.
        #expect(ends.prefix(2).allSatisfy { ($0 - Bench.start) % 60_000 == 0 })
        #expect(ends.dropFirst(3).allSatisfy { $0 % 60_000 == 0 }, "\(ends)")
        #expect(bench.kept.count >= 8)
    }

    @Test func whatIsBadIsLeftOutAndMakesTheResultUncertain() {
        var bench = Bench(settings(WindowSettings(length: .seconds(10), aggregates: [.count, .mean])))
        bench.take(number: 1)
        bench.take(bench.reading(.number(DecimalText(99)), quality: .bad))
        bench.advance(to: 10_000)
        #expect(bench.points("m.mean").map(\.value) == [1])
        #expect(bench.kept.map(\.quality) == [.uncertain, .uncertain])
        bench.take(number: 1)
        bench.advance(to: 20_000)
        #expect(bench.kept.suffix(2).map(\.quality) == [.good, .good])
    }

    @Test func percentilesErrAtMostByWhatTheySay() throws {
        for seed in UInt64(1)...80 {
            var random = SeededRandom(seed: seed)
            let wanted = [0.005, 0.01, 0.05].randomElement(using: &random) ?? 0.01
            let isWide = seed.isMultiple(of: 4)
            let percents = [0.0, 1, 25, 50, 90, 95, 99.9, 100]
            var window = WindowSettings(length: .seconds(1000), aggregates: percents.map { .percentile($0) })
            window.percentileErrorMax = wanted
            var bench = Bench(settings(window))
            var values: [Double] = []
            for _ in 0..<900 {
                bench.advance(to: bench.elapsed + 1000)
                let value =
                    isWide
                    ? Double.random(in: -1e6...1e6, using: &random) * Double.random(in: 0...1e-6, using: &random)
                    : Double.random(in: 18...32, using: &random)
                bench.take(number: value)
                values.append(value)
            }
            bench.advance(to: 1_000_000)
            values.sort()
            for percent in percents {
                let name = "m." + Aggregate.percentile(percent).text
                let reading = try #require(bench.kept.first { $0.metric == name }, "seed \(seed) \(name)")
                let found = try #require(reading.value.double)
                let exact = values[Int(percent / 100 * Double(values.count - 1))]
                // Where the buckets ran out the result is marked, and never errs by more than a half.
                let bound = reading.quality == .good ? wanted : 0.5
                #expect(isWide || reading.quality == .good, "seed \(seed)")
                #expect(
                    (found - exact).magnitude <= exact.magnitude * bound * 1.0001,
                    "seed \(seed) \(name) \(found) \(exact)")
            }
        }
    }

    @Test func readingsThatWaitedCountWhenTheyWereTaken() {
        var bench = Bench(settings(WindowSettings(length: .seconds(10), aggregates: [.count])))
        bench.take(number: 1)
        let early = bench.reading(.number(DecimalText(1)))
        // The disk was slow: it comes when its window would have been over by the time of now.
        bench.elapsed = 12_000
        bench.take(early)
        bench.take(number: 1)
        bench.advance(to: 40_000)
        #expect(bench.points("m.count").map(\.value) == [2, 1])
    }
}
