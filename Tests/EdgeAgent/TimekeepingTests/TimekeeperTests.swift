import Primitives
import Telemetry
import Testing
import Timekeeping

/// The real time runs along with the monotonic clock; the system's clock is off by whatever a test says.
struct Plant {
    static let earliest = WallInstant(milliseconds: 1_793_491_200_000)  // 2026-11-01
    static let start = WallInstant(milliseconds: 1_795_000_000_000)  // 2026-11-18

    var elapsed = Duration.seconds(100)
    /// Of the system's clock.
    var error = Duration.zero
    var isDisciplined = false

    var truth: WallInstant { Self.start + elapsed }
    var monotonic: MonotonicInstant { MonotonicInstant(nanoseconds: elapsed.nanosecondsClamped) }
    var look: Timekeeper.SystemLook { .init(monotonic: monotonic, wall: truth + error, isDisciplined: isDisciplined) }
}

let tenYears = Duration.seconds(10 * 365 * 86_400)
let toThe1970s = WallInstant(milliseconds: 60_000) - Plant.start

@Suite struct TimekeeperTests {
    struct Beginning: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var error = Duration.zero
        var isDisciplined = false
        var lastRun: Duration?
        var lowest: Duration?
        let quality: ClockQuality
        let source: Timekeeper.Source
        /// How far the time is off.
        let off: Duration
    }

    static let beginnings: [Beginning] = [
        Beginning(
            testDescription: "time service", isDisciplined: true, quality: .synchronised, source: .timeService,
            off: .zero),
        Beginning(
            testDescription: "time service that says 1970", error: toThe1970s, isDisciplined: true, quality: .unset,
            source: .nothing, off: toThe1970s),
        Beginning(testDescription: "battery clock", quality: .guessed, source: .systemClock, off: .zero),
        Beginning(
            testDescription: "1970, and nothing kept", error: toThe1970s, quality: .unset, source: .nothing,
            off: toThe1970s),
        Beginning(
            testDescription: "1970, an hour after the last run", error: toThe1970s, lastRun: .seconds(-3600),
            quality: .guessed, source: .lastRun, off: .seconds(-3600)),
        Beginning(
            testDescription: "before the last run", error: .seconds(-7200), lastRun: .seconds(-3600), quality: .guessed,
            source: .lastRun, off: .seconds(-3600)),
        Beginning(
            testDescription: "after the last run", error: .seconds(30), lastRun: .seconds(-3600), quality: .guessed,
            source: .systemClock, off: .seconds(30)),
        Beginning(
            testDescription: "a last run that was ten years ahead, as the clock still is", error: tenYears,
            lastRun: tenYears,
            lowest: .seconds(-3600), quality: .guessed, source: .systemClock, off: tenYears),
        Beginning(
            testDescription: "a time that was known, later than the last run", error: toThe1970s,
            lastRun: .seconds(-7200),
            lowest: .seconds(-3600), quality: .guessed, source: .lastRun, off: .seconds(-3600)),
        Beginning(
            testDescription: "a last run before the program was made is none", error: toThe1970s, lastRun: toThe1970s,
            quality: .unset, source: .nothing, off: toThe1970s),
    ]

    @Test(arguments: beginnings) func timeAtTheStartIsTheBestThatIsKnown(beginning: Beginning) {
        let plant = Plant(error: beginning.error, isDisciplined: beginning.isDisciplined)
        var keeper = Timekeeper(
            earliest: Plant.earliest, lastRun: beginning.lastRun.map { plant.truth + $0 },
            lowest: beginning.lowest.map { plant.truth + $0 }, look: plant.look)
        let (reading, correction) = keeper.now(plant.look)
        #expect(correction == nil)
        #expect(reading.quality == beginning.quality && reading.source == beginning.source)
        #expect(reading.time == plant.truth + beginning.off)
    }

    @Test func hubCorrectsAClockThatWasUnsetAndSaysByHowMuch() throws {
        var plant = Plant(error: toThe1970s)
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        plant.elapsed += .seconds(5)
        let learned = keeper.learned(plant.truth, uncertainty: .milliseconds(20), from: .hub, look: plant.look)
        let correction = try #require(learned)
        #expect(correction.delta == .zero - toThe1970s && correction.quality == .synchronised)
        #expect(correction.from == .nothing && correction.to == .hub)
        let now = keeper.now(plant.look).reading
        #expect(now.time == plant.truth)
        // Later jumps of a clock that nobody vouches for are not believed.
        for error in [Duration.seconds(3600), .seconds(-3600), toThe1970s, .zero] {
            plant.elapsed += .seconds(1)
            plant.error = error
            let (reading, correction) = keeper.now(plant.look)
            #expect(reading.time == plant.truth && reading.quality == .synchronised && correction == nil)
        }
    }

    @Test func disciplinedClockIsTakenAtItsWordAndTheHubDoesNotMoveIt() throws {
        var plant = Plant(error: .seconds(-3600))
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        plant.error = .zero
        plant.isDisciplined = true
        let seen = keeper.now(plant.look).correction
        let correction = try #require(seen)
        #expect(correction.delta == .seconds(3600) && correction.quality == .synchronised)
        let wrong = plant.truth + .seconds(500)
        let refused = keeper.learned(wrong, uncertainty: .zero, from: .hub, look: plant.look)
        #expect(refused == nil)
        let seen1 = keeper.now(plant.look).reading
        #expect(seen1.time == plant.truth)
        // Set by hand, it is no longer vouched for; what is known goes on.
        plant.error = .seconds(3600)
        plant.isDisciplined = false
        plant.elapsed += .seconds(60)
        let (reading, none) = keeper.now(plant.look)
        #expect(reading.time == plant.truth && reading.quality == .synchronised && none == nil)
    }

    @Test func aClockThatWasLeftAloneForDaysIsAGuessAgain() {
        var plant = Plant(isDisciplined: true)
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        plant.isDisciplined = false
        plant.elapsed += .seconds(3 * 86_400)
        let seen2 = keeper.now(plant.look).reading
        #expect(seen2.quality == .synchronised)
        plant.elapsed += .seconds(86_400)
        let seen3 = keeper.now(plant.look).reading
        #expect(seen3.quality == .guessed)
        let correction = keeper.learned(plant.truth, uncertainty: .milliseconds(10), from: .hub, look: plant.look)
        #expect(correction?.quality == .synchronised)
    }

    @Test func twoAnswersThatMayBothBeRightKeepTheSharperOne() {
        let plant = Plant()
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        let first = keeper.learned(plant.truth, uncertainty: .milliseconds(10), from: .hub, look: plant.look)
        #expect(first != nil)
        let vague = plant.truth + .milliseconds(600)
        let refused = keeper.learned(vague, uncertainty: .milliseconds(700), from: .hubDate, look: plant.look)
        #expect(refused == nil)
        let reading = keeper.now(plant.look).reading
        #expect(reading.time == plant.truth && reading.quality == .synchronised && reading.source == .hub)
    }

    @Test func nobodyIsBelievedWhoNamesATimeBeforeTheProgramWasMade() {
        let plant = Plant()
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: nil, look: plant.look)
        let early = WallInstant(milliseconds: Plant.earliest.milliseconds - 1)
        let refused = keeper.learned(early, uncertainty: .zero, from: .hub, look: plant.look)
        #expect(refused == nil)
        let seen4 = keeper.now(plant.look).reading
        #expect(seen4.quality == .guessed)
    }

    /// Jumps of every kind, discipline that comes and goes, answers of the hub, in every order.
    @Test(arguments: 0..<400 as Range<UInt64>) func whateverTheClockDoesTimeGoesOn(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var plant = Plant()
        plant.error = [.zero, toThe1970s, .seconds(3600), .seconds(-3600)].randomElement(using: &random) ?? .zero
        let lastRun: WallInstant? = Bool.random(using: &random) ? plant.truth + .seconds(-600) : nil
        var keeper = Timekeeper(earliest: Plant.earliest, lastRun: lastRun, look: plant.look)
        var before = keeper.now(plant.look).reading
        var isAnchored = false
        for _ in 0..<200 {
            plant.elapsed += .milliseconds(Int64.random(in: 1...60_000, using: &random))
            var correction: Timekeeper.Correction?
            switch Int.random(in: 0..<8, using: &random) {
            case 0: plant.error = toThe1970s
            case 1: plant.error += .seconds(3600)
            case 2: plant.error -= .seconds(3600)
            case 3:
                // A time service has set the clock right before it vouches for it.
                (plant.error, plant.isDisciplined) = (.zero, true)
                isAnchored = true
            case 4:
                let off = Duration.milliseconds(Int64.random(in: -300...300, using: &random))
                correction = keeper.learned(
                    plant.truth + off, uncertainty: .milliseconds(300), from: .hub, look: plant.look)
                isAnchored = true
            default: break
            }
            // Setting the clock ends the discipline, as in the kernel.
            if plant.error != .zero { plant.isDisciplined = false }
            let (reading, own) = keeper.now(plant.look)
            #expect(correction == nil || own == nil || plant.isDisciplined)
            if own == nil, correction == nil { #expect(reading.time >= before.time) }
            if reading.quality == .synchronised {
                #expect(reading.time >= Plant.earliest)
                let off = reading.time < plant.truth ? plant.truth - reading.time : reading.time - plant.truth
                #expect(off < .seconds(2), "seed \(seed)")
            }
            #expect(!isAnchored || reading.quality == .synchronised, "seed \(seed)")
            before = reading
        }
    }
}

@Suite struct GatewayClockTests {
    @Test func certificatesAreCheckedAtATimeThatHasPassed() {
        let plant = Plant(error: toThe1970s)
        let unset = GatewayClock(earliest: Plant.earliest, lastRun: nil) { plant.look }
        #expect(unset.certificateTime() == Plant.earliest)
        let last = plant.truth + .seconds(-60)
        let kept = GatewayClock(earliest: Plant.earliest, lastRun: last, lowest: last) { plant.look }
        #expect(kept.certificateTime() == last && kept.lowestTime() == last)
        let ahead = Plant(error: .seconds(86_400 * 3650))
        let wrong = GatewayClock(earliest: Plant.earliest, lastRun: last, lowest: last) { ahead.look }
        #expect(wrong.certificateTime() == ahead.look.wall)
        #expect(wrong.lowestTime() == last, "while in doubt the certificate is checked here")
        let guess = GatewayClock(earliest: Plant.earliest, lastRun: last + .seconds(86_400)) { ahead.look }
        #expect(guess.lowestTime() == Plant.earliest, "a guess that was kept may have been ahead")
    }

    @Test func correctionsAreCountedAndRememberedUpToALimit() {
        let clock = GatewayClock(earliest: Plant.earliest, lastRun: nil) { Plant().look }
        let now = Plant().monotonic
        for number in 1...(GatewayClock.correctionsMax + 6) {
            let time = Plant().truth + .seconds(10 * number)
            clock.learned(time, at: now, uncertainty: .zero, from: .hub)
        }
        let (count, all) = clock.corrections(after: 0)
        #expect(count == GatewayClock.correctionsMax + 6 && all.count == GatewayClock.correctionsMax)
        #expect(clock.corrections(after: count - 2).corrections.map(\.delta) == [.seconds(10), .seconds(10)])
        #expect(clock.corrections(after: count).corrections.isEmpty)
    }
}
