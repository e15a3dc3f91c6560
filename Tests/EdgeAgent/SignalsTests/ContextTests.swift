import Expressions
import Primitives
import Signals
import Telemetry
import Testing

@Suite("Signals: a fault's context, and what is worked out")
struct ContextTests {
    private func door(_ metric: String?, contextMax: Int = 120) -> SignalSettings {
        var settings = SignalSettings(metric: metric)
        settings.reduction = .swingingDoor(errorMax: 100)
        settings.contextMax = contextMax
        return settings
    }

    @Test func theMinuteBeforeAndAfterAFaultIsKeptWhole() {
        var bench = Bench([door("m"), door("n")])
        for second in 0..<300 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: Double(second % 7), "d", "m")
            bench.take(number: 1, "d", "n")
            bench.take(number: 1, "other", "m")
            if second == 150 { bench.raiseFault() }
        }
        let seconds = bench.points("m").map { $0.time / 1000 }
        #expect(seconds == [0] + Array(90...210), "\(seconds)")
        #expect(bench.points("n").map { $0.time / 1000 } == [0] + Array(90...210))
        #expect(bench.points("m", "other").map(\.time) == [0], "another device has nothing to do with it")
        let burst = bench.kept.filter { (90_000...150_000).contains($0.time.milliseconds - Bench.start) }
        #expect(burst.map(\.time) == burst.map(\.time).sorted(), "in order of time over all signals of the device")
        #expect(bench.notices == [])
        #expect(bench.signals.figures.first { $0.key.metric == "m" }?.contextCuts == 0)
    }

    @Test(arguments: [true, false]) func theMinuteBeforeAFaultOutlivesACleanStop(isClean: Bool) {
        var bench = Bench([door("m"), door("n")])
        for second in 0..<200 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: Double(second % 7), "d", "m")
            bench.take(number: 1, "d", "n")
            if second == 150 {
                if isClean { bench.store(isFinal: true) } else { bench.store() }
                bench.restart()
                bench.store()
            }
            if second == 170 { bench.raiseFault() }
        }
        let seconds = bench.points("m").map { $0.time / 1000 }
        #expect(Set(seconds).isSuperset(of: Set(isClean ? 110...199 : 151...199)), "\(seconds)")
        #expect(isClean || !seconds.contains(130), "\(seconds)")
        #expect(Set(seconds).count == seconds.count, "nothing twice: \(seconds)")
    }

    @Test func aCleanStopKeepsTheWholeMinuteAndInOrder() {
        var bench = Bench([door("m"), door("n", contextMax: 20)])
        for second in 0..<100 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: Double(second % 7), "d", "m")
            bench.take(number: 1, "d", "n")
        }
        bench.store(isFinal: true)
        bench.restart()
        bench.store()
        bench.advance(to: 110_000)
        bench.raiseFault()
        let burst = bench.kept.filter { $0.time.milliseconds - Bench.start >= 50_000 }
        #expect(burst.map(\.time) == burst.map(\.time).sorted())
        #expect(burst.filter { $0.metric == "m" }.map { ($0.time.milliseconds - Bench.start) / 1000 } == Array(50...99))
        #expect(burst.count { $0.metric == "n" } <= 21 && bench.notices.count == 1, "what was cut before is still said")
        // The row of a run that ended long ago says nothing about the minute before a fault now.
        bench.advance(to: 200_000)
        bench.take(number: 3, "d", "m")
        bench.store(isFinal: true)
        bench.advance(to: 800_000)
        bench.restart()
        let before = bench.kept.count
        bench.raiseFault()
        #expect(bench.kept.count <= before + 1)
    }

    @Test func aFullRingIsCutToItsRow() throws {
        let many = (0..<40).map { door("m\($0)", contextMax: 6000) }
        var bench = Bench(many)
        for step in 0..<600 {
            bench.advance(to: Int64(step) * 100)
            for metric in 0..<40 { bench.take(number: Double(step % 7) + 0.125, "d", "m\(metric)") }
        }
        bench.store(isFinal: true)
        let row = try #require(bench.rows["signal-ring"])
        #expect(row.count <= 524_288 && row.count > 131_072)
        bench.restart()
        bench.raiseFault()
        #expect(!bench.notices.isEmpty, "it is said that there had been more")
    }

    @Test(arguments: 0..<200 as Range<UInt64>) func aDamagedRowOfTheRingNeverTraps(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bench = Bench([door("m")])
        for second in 0..<30 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: Double(second % 7))
        }
        bench.store(isFinal: true)
        var row = bench.rows["signal-ring"] ?? []
        for _ in 0..<4 where !row.isEmpty {
            row[Int.random(in: 0..<row.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        bench.rows["signal-ring"] = Bool.random(using: &random) ? row : Array(row.dropLast(row.count / 2))
        bench.restart()
        bench.raiseFault()
    }

    @Test func aSecondFaultSendsNothingTwice() {
        var bench = Bench([door("m")])
        for second in 0..<400 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: 1)
            if [100, 130, 200, 201].contains(second) { bench.raiseFault() }
        }
        let times = bench.points().map(\.time)
        #expect(times == times.sorted() && Set(times).count == times.count)
        #expect(times.map { $0 / 1000 } == [0] + Array(40...261))
    }

    @Test func whatIsHeldIsNotKeptTwice() {
        for seed in UInt64(1)...200 {
            var random = SeededRandom(seed: seed)
            var settings = door("m")
            settings.reduction = .swingingDoor(errorMax: Double.random(in: 0.1...2, using: &random))
            settings.heartbeat = .seconds(30)
            var bench = Bench([settings])
            var value = 0.0
            for _ in 0..<300 {
                bench.advance(to: bench.elapsed + Int64.random(in: 1...5000, using: &random))
                value += Double.random(in: -1...1, using: &random)
                bench.take(number: value)
                if Int.random(in: 0..<40, using: &random) == 0 { bench.raiseFault() }
                if Int.random(in: 0..<40, using: &random) == 0 {
                    bench.store(isFinal: true)
                    bench.restart()
                }
            }
            bench.advance(to: bench.elapsed + 40_000)
            let times = bench.points().map(\.time)
            #expect(Set(times).count == times.count, "seed \(seed)")
        }
    }

    @Test func aRingThatIsTooSmallSaysSo() {
        var bench = Bench([door("m", contextMax: 10)])
        for second in 0...100 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: 1)
        }
        bench.raiseFault()
        // Ten in the ring, and the one that a line could have ended at.
        #expect(bench.points().map { $0.time / 1000 } == [0] + Array(90...100))
        #expect(bench.notices == [.contextCut(SignalKey(device: Bench.device("d"), metric: "m"), kept: 11)])
        #expect(bench.signals.figures.first?.contextCuts == 1)
    }

    @Test func memoryHasAnEndInAll() {
        var bench = Bench([door(nil, contextMax: 6000)])
        for device in 0..<20 {
            for tick in 0..<2500 {
                bench.elapsed = Int64(tick)
                bench.take(number: 1, "d\(device)")
            }
        }
        bench.raiseFault("d0")
        bench.raiseFault("d19")
        #expect(bench.points("m", "d0").count == 2500)
        // The last one found no room but for one entry.
        #expect(bench.points("m", "d19").count < 10)
        #expect(bench.notices.count == 1)
    }

    @Test func tooManySignalsPassAsTheyAre() {
        var settings = SignalSettings()
        settings.reduction = .none
        var bench = Bench([settings])
        for device in 0..<(Signals.keysMax + 5) { bench.take(number: 1, "d\(device)") }
        #expect(bench.kept.count == 5)
        #expect(bench.notices.count == 1)
    }

    // MARK: - Expressions

    private func derived(_ text: String, device: String? = nil, _ metric: String = "x") throws -> SignalSettings {
        var settings = SignalSettings(device: device.map(Bench.device), metric: metric)
        settings.expression = try SignalExpression(parsing: text)
        settings.conversion.unit = "K"
        return settings
    }

    @Test func aMetricIsWorkedOutWheneverAnInputSpeaks() throws {
        var bench = Bench([try derived("[a/t] - [b/t]", device: "c")])
        bench.take(number: 5, "a", "t")
        bench.elapsed = 1000
        bench.take(number: 3.5, "b", "t")
        bench.elapsed = 2000
        bench.take(number: 7, "a", "t")
        #expect(bench.points("x", "c").map(\.value) == [1.5, 3.5])
        #expect(bench.points("x", "c").map(\.time) == [1000, 2000])
        #expect(bench.kept.filter { $0.metric == "x" }.allSatisfy { $0.unit == "K" })
        #expect(bench.points("t", "a").count == 2, "the inputs pass as they are")
    }

    @Test func oldAndBadInputsAreMissing() throws {
        var bench = Bench([try derived("t + u", device: "d")])
        bench.take(number: 1, "d", "t")
        bench.advance(to: 300_000)
        bench.take(number: 1, "d", "u")
        bench.advance(to: 300_001)
        bench.take(number: 2, "d", "u")
        bench.take(bench.reading(.number(DecimalText(9)), "d", "t", quality: .bad))
        bench.take(number: 3, "d", "u")
        #expect(bench.points("x").map(\.value) == [2])
        bench.take(bench.reading(.number(DecimalText(4)), "d", "t", quality: .uncertain))
        #expect(bench.kept.last?.quality == .uncertain)
    }

    @Test func everyDeviceThatHasTheMetricsGetsOne() throws {
        var bench = Bench([try derived("t * 2")])
        for device in ["a", "b", "a"] { bench.take(number: 4, device, "t") }
        #expect(bench.points("x", "a").map(\.value) == [8, 8])
        #expect(bench.points("x", "b").map(\.value) == [8])
    }

    @Test func windowsAndFiltersHoldForWhatIsWorkedOutAndExpressionsForWindows() throws {
        var power = try derived("volts * amps", device: "d", "watts")
        power.reduction = .none
        power.windows = [WindowSettings(length: .seconds(10), aggregates: [.mean])]
        var bench = Bench([power, try derived("watts.mean / 1000", device: "d", "kilowatts")])
        bench.take(number: 200, "d", "volts")
        for second in 1..<10 {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: Double(second), "d", "amps")
        }
        bench.advance(to: 10_000)
        #expect(bench.points("watts").isEmpty)
        #expect(bench.points("watts.mean").map(\.value) == [1000])
        #expect(bench.points("kilowatts").map(\.value) == [1])
    }

    @Test func aConditionGivesABoolean() throws {
        var bench = Bench([try derived("t > 5", device: "d", "hot")])
        bench.take(number: 4, "d", "t")
        bench.take(number: 6, "d", "t")
        #expect(bench.kept.filter { $0.metric == "hot" }.map(\.value) == [.boolean(false), .boolean(true)])
    }
}
