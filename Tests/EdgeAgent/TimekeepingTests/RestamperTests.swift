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
        let first = keeper.now(plant.look).reading.time
        var restamper = Restamper(first: 10, time: first)
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
        var restamper = Restamper(first: 10, time: keeper.now(plant.look).reading.time)
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
        var restamper = Restamper(first: 1, time: plant.look.wall)
        let word = keeper.learned(plant.truth, uncertainty: .zero, from: .hub, look: plant.look)
        restamper.correction(try #require(word))
        let bytes = Array("{\"seq\":".utf8)
        #expect(restamper.restamped(bytes, runs: [Run(start: 1, count: 1)]) == bytes)
    }
}
