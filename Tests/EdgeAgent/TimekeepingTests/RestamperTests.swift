import Primitives
import Telemetry
import Testing
import Timekeeping

@Suite struct RestamperTests {
    private static func fragment(_ sequence: UInt64, _ time: WallInstant, _ clock: String?) -> String {
        let clock = clock.map { ",\"clock\":\"\($0)\"" } ?? ""
        return #"{"seq":"\#(sequence)","device":"d","metric":"m","value":"71.250","time":"\#(time)"\#(clock)}"#
    }

    private func mended(_ restamper: Restamper, _ fragments: [String], from first: UInt64 = 10) -> [String] {
        let runs = [Run(start: first, count: UInt64(fragments.count))]
        let bytes = restamper.restamped(Array(fragments.joined(separator: ",").utf8), runs: runs)
        return String(decoding: bytes, as: UTF8.self).split(separator: "},").map {
            $0.hasSuffix("}") ? "\($0)" : "\($0)}"
        }
    }

    /// Starts in 1970, guesses an hour too little, and learns the time from the hub.
    @Test func whatWasStampedBeforeTheTimeWasKnownGetsTheTimeThatItHad() throws {
        var plant = Plant(error: toThe1970s)
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        var restamper = Restamper((plant.monotonic, keeper.now(plant.look).reading), first: 10, boot: "b1")
        plant.elapsed += .seconds(5)
        let (truthOfOne, one) = (plant.truth, keeper.now(plant.look).reading.time)
        plant.elapsed += .seconds(5)
        plant.error = .seconds(-3600)
        let guess = keeper.now(plant.look).correction
        restamper.correction(try #require(guess))
        plant.elapsed += .seconds(5)
        let (truthOfTwo, two) = (plant.truth, keeper.now(plant.look).reading.time)
        plant.elapsed += .seconds(5)
        let before = [Self.fragment(10, one, "unset"), Self.fragment(11, two, "guessed")]
        #expect(mended(restamper, before) == before, "nobody knows the time yet")
        let word = keeper.learned(plant.truth, uncertainty: .zero, from: .hub, look: plant.look)
        restamper.correction(try #require(word))
        #expect(mended(restamper, before) == [Self.fragment(10, truthOfOne, nil), Self.fragment(11, truthOfTwo, nil)])
        // Not those of an earlier run, those that are right, and those from nowhere.
        let others = [
            Self.fragment(9, one, "unset"), Self.fragment(10, plant.truth, nil),
            Self.fragment(11, Plant.earliest, "guessed"),
        ]
        #expect(mended(restamper, others, from: 9) == others)
    }

    @Test func anHourThatWasGivenTwiceIsLeftAlone() throws {
        var plant = Plant(error: .seconds(-3600))
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        var restamper = Restamper((plant.monotonic, keeper.now(plant.look).reading), first: 10, boot: "b1")
        plant.elapsed += .seconds(7200)
        plant.error -= .seconds(5400)
        let back = keeper.now(plant.look).correction
        restamper.correction(try #require(back))
        plant.elapsed += .seconds(7200)
        let word = keeper.learned(plant.truth, uncertainty: .zero, from: .hub, look: plant.look)
        restamper.correction(try #require(word))
        let twice = Self.fragment(10, Plant.start + .seconds(100 + 2700), "guessed")
        #expect(mended(restamper, [twice]) == [twice])
    }

    @Test func whatCannotBeReadTravelsAsItIs() throws {
        let plant = Plant(error: toThe1970s)
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        var restamper = Restamper((plant.monotonic, keeper.now(plant.look).reading), first: 1, boot: "b1")
        let word = keeper.learned(plant.truth, uncertainty: .zero, from: .hub, look: plant.look)
        restamper.correction(try #require(word))
        let bytes = Array("{\"seq\":".utf8)
        #expect(restamper.restamped(bytes, runs: [Run(start: 1, count: 1)]) == bytes)
    }

    /// One run of an agent whose machine may run on when it ends.
    private struct Run1 {
        var plant: Plant
        var keeper: Timekeeper
        var restamper: Restamper

        init(_ plant: Plant, first: UInt64, boot: String, after last: ClockMemory? = nil) {
            self.plant = plant
            keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, lowest: last?.lowest, look: plant.look)
            restamper = Restamper(
                (plant.monotonic, keeper.now(plant.look).reading), first: first, boot: boot, after: last)
        }

        /// As the outbox keeps it.
        var memory: ClockMemory? {
            // Read from what was written.
            ClockMemory(ClockMemory(restamper, lowest: keeper.lowestTime(at: plant.monotonic)).bytes)
        }

        mutating func stamp(_ sequence: UInt64) -> (fragment: String, right: String) {
            plant.elapsed += .seconds(5)
            let (reading, correction) = keeper.now(plant.look)
            if let correction { restamper.correction(correction) }
            let fragment = RestamperTests.fragment(sequence, reading.time, reading.quality.rawValue)
            plant.elapsed += .seconds(5)
            return (fragment, RestamperTests.fragment(sequence, plant.truth + .seconds(-5), nil))
        }

        mutating func learn() {
            let word = keeper.learned(plant.truth, uncertainty: .zero, from: .hub, look: plant.look)
            if let word { restamper.correction(word) }
        }
    }

    @Test(arguments: ["unsent before the time is known", "learned, then restarted"])
    func whatAnEarlierRunStampedGetsItsTimeWhileTheMachineRunsOn(how: String) {
        var run = Run1(Plant(error: toThe1970s), first: 10, boot: "b1")
        let one = run.stamp(10)
        if how != "unsent before the time is known" { run.learn() }
        // Whatever the clock says after the restart.
        var plant = run.plant
        plant.elapsed += .seconds(60)
        plant.error = .seconds(-7200)
        run = Run1(plant, first: 11, boot: "b1", after: run.memory)
        let two = run.stamp(11)
        plant = run.plant
        plant.elapsed += .seconds(60)
        plant.error = toThe1970s + .seconds(500)
        run = Run1(plant, first: 12, boot: "b1", after: run.memory)
        let three = run.stamp(12)
        run.learn()
        #expect(
            mended(run.restamper, [one.fragment, two.fragment, three.fragment]) == [one.right, two.right, three.right])
    }

    @Test func aTimeServiceThatVouchesAtTheRestartMendsWhatCameBefore() {
        var run = Run1(Plant(error: toThe1970s), first: 10, boot: "b1")
        let one = run.stamp(10)
        var plant = run.plant
        plant.error = .zero
        plant.isDisciplined = true
        run = Run1(plant, first: 11, boot: "b1", after: run.memory)
        #expect(mended(run.restamper, [one.fragment]) == [one.right])
        run = Run1(plant, first: 11, boot: "", after: run.memory)
        #expect(mended(run.restamper, [one.fragment]) == [one.right], "what is known stays known")
    }

    @Test func overARestartOfTheMachineOnlyWhatWasKnownBeforeIsMended() {
        var run = Run1(Plant(error: toThe1970s), first: 10, boot: "b1")
        let one = run.stamp(10)
        run.learn()
        var plant = run.plant
        plant.error = .seconds(-7200)
        run = Run1(plant, first: 11, boot: "b1", after: run.memory)
        let two = run.stamp(11)
        plant.elapsed = .seconds(20)
        plant.error = .zero
        run = Run1(plant, first: 12, boot: "b2", after: run.memory)
        run.learn()
        #expect(mended(run.restamper, [one.fragment, two.fragment]) == [one.right, two.fragment])
        #expect(two.fragment.contains("guessed"), "it keeps its mark")
    }

    @Test func sequencesOfAnotherRunAreNotTakenForOnesOfThisTime() {
        var run = Run1(Plant(error: toThe1970s), first: 10, boot: "b1")
        let one = run.stamp(10)
        var plant = Plant(error: toThe1970s + .seconds(3600))
        plant.elapsed = run.plant.elapsed
        run = Run1(plant, first: 11, boot: "b1", after: run.memory)
        run.learn()
        let late = one.fragment.replacing("\"10\"", with: "\"11\"")
        #expect(mended(run.restamper, [one.fragment, late]) == [one.right, late])
    }

    @Test func whatIsKeptIsBoundedAndSurvivesNonsense() throws {
        var run = Run1(Plant(error: toThe1970s), first: 1, boot: "b1")
        for index in 1..<200 as Range<UInt64> {
            _ = run.stamp(index)
            run = Run1(run.plant, first: index + 1, boot: "b1", after: run.memory)
        }
        #expect(try #require(run.memory).bytes.count < 16_384)
        for text in ["", "[]", "7", "{\"stamps\":{\"boot\":7}}", "{\"lowest\":\"soon\"}"] {
            let read = ClockMemory(Array(text.utf8))
            #expect(read?.lowest == nil)
        }
        let far =
            #"{"stamps":{"boot":"b1","zero":"-9223372036854775808","since":"0","first":"1","waiting":[],"known":[]}}"#
        _ = Restamper(
            (run.plant.monotonic, run.keeper.now(run.plant.look).reading), first: 1, boot: "b1",
            after: ClockMemory(Array(far.utf8)))
    }
}
