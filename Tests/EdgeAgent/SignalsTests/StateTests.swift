import Primitives
import Signals
import Telemetry
import Testing

@Suite("Signals: what a restart finds again")
struct StateTests {
    private func settings(_ random: inout SeededRandom) -> [SignalSettings] {
        var door = SignalSettings(metric: "m")
        door.reduction = .swingingDoor(errorMax: 0.3)
        door.heartbeat = .seconds(60)
        var window = WindowSettings(
            length: .seconds(30), every: .seconds(Bool.random(using: &random) ? 10 : 30),
            aggregates: [.count, .mean, .standardDeviation, .first, .last, .percentile(90)])
        window.name = "w"
        door.windows = [window]
        return [door]
    }

    /// With clean stops in between, everything that comes out is what comes out without them.
    @Test func cleanStopsChangeNothing() {
        for seed in UInt64(1)...100 {
            var random = SeededRandom(seed: seed)
            let settings = settings(&random)
            var whole = Bench(settings)
            var broken = Bench(settings)
            var value = 0.0
            for _ in 0..<200 {
                let step = Int64.random(in: 1...4000, using: &random)
                value += Double.random(in: -0.3...0.3, using: &random)
                whole.advance(to: whole.elapsed + step)
                broken.advance(to: broken.elapsed + step)
                whole.take(number: value)
                broken.take(number: value)
                guard Int.random(in: 0..<10, using: &random) == 0 else { continue }
                broken.store(isFinal: true)
                // Where nothing is held, the first reading of the new run is kept, which is no loss.
                broken.restart()
            }
            whole.advance(to: whole.elapsed + 100_000)
            broken.advance(to: broken.elapsed + 100_000)
            let results = { (bench: Bench) in bench.kept.filter { $0.metric != "m" } }
            #expect(results(whole) == results(broken), "seed \(seed)")
            let missing = Set(whole.points().map(\.time)).subtracting(broken.points().map(\.time))
            #expect(missing.count <= whole.points().count / 2, "seed \(seed)")
            #expect(broken.notices == [], "seed \(seed)")
        }
    }

    /// The rows are committed with what came out, and the crash is anywhere: nothing comes out twice, and windows that were
    /// interrupted say that they are uncertain.
    @Test func aCrashGivesNothingOutTwice() {
        for seed in UInt64(1)...150 {
            var random = SeededRandom(seed: seed)
            let settings = settings(&random)
            var bench = Bench(settings, stateInterval: .seconds(Int64.random(in: 1...20, using: &random)))
            var durable = bench
            var given = 0
            for _ in 0..<300 {
                bench.advance(to: bench.elapsed + Int64.random(in: 1...4000, using: &random))
                bench.take(number: Double.random(in: 0...2, using: &random))
                given += 1
                bench.store()
                durable.kept = bench.kept
                durable.rows = bench.rows
                guard Int.random(in: 0..<15, using: &random) == 0 else { continue }
                bench.kept = durable.kept
                bench.rows = durable.rows
                bench.restart()
            }
            bench.advance(to: bench.elapsed + 100_000)
            let times = bench.points().map(\.time)
            #expect(Set(times).count == times.count, "seed \(seed): a reading came twice")
            let ends = bench.points("m.w.last").map(\.time)
            #expect(Set(ends).count == ends.count, "seed \(seed): a window came twice")
            #expect(times == times.sorted(), "seed \(seed)")
        }
    }

    @Test func aWindowThatACrashInterruptedIsUncertain() {
        var settings = SignalSettings(metric: "m")
        settings.reduction = .none
        settings.windows = [WindowSettings(length: .seconds(60), aggregates: [.count])]
        for isFinal in [true, false] {
            var bench = Bench([settings], stateInterval: .seconds(1))
            for second in 0..<10 {
                bench.advance(to: Int64(second) * 1000)
                bench.take(number: 1)
                bench.store()
            }
            if isFinal { bench.store(isFinal: true) }
            bench.restart()
            bench.advance(to: 60_000)
            #expect(bench.kept.map(\.quality) == [isFinal ? .good : .uncertain])
            #expect(bench.points("m.count").map(\.time) == [60_000])
            #expect(bench.points("m.count").first?.value == (isFinal ? 10 : 9))
        }
    }

    @Test func aWindowThatEndedMeanwhileComesAtOnceWithItsOwnTime() {
        var settings = SignalSettings(metric: "m")
        settings.windows = [WindowSettings(length: .seconds(60), aggregates: [.count])]
        var bench = Bench([settings])
        bench.take(number: 1)
        bench.store(isFinal: true)
        bench.elapsed = 3_600_000
        bench.restart()
        bench.advance(to: 3_600_001)
        #expect(bench.points("m.count").map(\.time) == [60_000])
    }

    @Test func aFaultsMinuteGoesOnAfterARestart() {
        var settings = SignalSettings(metric: "m")
        settings.reduction = .none
        var bench = Bench([settings])
        bench.take(number: 1)
        bench.raiseFault()
        bench.store()
        bench.elapsed = 30_000
        bench.restart()
        bench.take(number: 2)
        bench.elapsed = 61_000
        bench.take(number: 3)
        #expect(bench.points().map(\.value) == [1, 2])
    }

    @Test func otherSettingsKeepWhatWasHeldAndSaySo() {
        var settings = SignalSettings(metric: "m")
        settings.reduction = .swingingDoor(errorMax: 1)
        var bench = Bench([settings])
        for second in 0..<3 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: 1)
        }
        bench.store(isFinal: true)
        var wider = settings
        wider.reduction = .swingingDoor(errorMax: 2)
        for changed in [[wider], []] {
            var after = bench
            after.restart(with: changed)
            #expect(after.points().map(\.time) == [0, 2000])
            after.store()
            after.restart(with: changed)
            #expect(after.points().map(\.time) == [0, 2000], "once")
        }
    }

    @Test func damagedStateStartsAnewAndNeverTraps() {
        var random = SeededRandom(seed: 7)
        var bench = Bench(settings(&random))
        for _ in 0..<40 {
            bench.advance(to: bench.elapsed + 700)
            bench.take(number: Double.random(in: 0...2, using: &random))
        }
        bench.store(isFinal: true)
        bench.raiseFault()
        bench.store(isFinal: true)
        let rows = bench.rows
        #expect(rows.count >= 4)
        for _ in 0..<4000 {
            var damaged = bench
            guard let key = rows.keys.sorted().randomElement(using: &random), var bytes = rows[key], !bytes.isEmpty
            else { continue }
            switch Int.random(in: 0..<3, using: &random) {
            case 0: bytes = Array(bytes.prefix(Int.random(in: 0..<bytes.count, using: &random)))
            case 1:
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            default: bytes.append(UInt8.random(in: 0...255, using: &random))
            }
            damaged.rows[key] = bytes
            damaged.restart()
            damaged.advance(to: damaged.elapsed + 100_000)
            damaged.take(number: 1)
            damaged.store(isFinal: true)
        }
    }

    @Test func figuresAreReadAsTheyWereWritten() throws {
        var settings = SignalSettings(metric: "m")
        settings.reduction = .deadband(absolute: 0.5, percent: 0)
        var bench = Bench([settings])
        for value in [1.0, 1.1, 1.2, 3] { bench.take(number: value) }
        bench.store(isFinal: true)
        let bytes = try #require(bench.rows[Signals.figuresKey])
        let read = try #require(SignalFigures.read(bytes))
        #expect(read.figures == bench.signals.figures && read.time == bench.wall)
        let figures = try #require(read.figures.first)
        #expect(figures.readings == 4 && figures.kept == 2 && figures.bound == "0.5 (last value holds)")
        #expect((45...55).contains(figures.savingPercent))
    }
}
