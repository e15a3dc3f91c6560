import Outbox
import Primitives
import Telemetry
import Testing

@Suite struct KnownElapsedTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Quality of the clock at the last commit, and of the next start's.
        let before: ClockQuality
        let after: ClockQuality
        var sameBoot = false
        /// What the wall clock and the monotonic clock say about the pause.
        let wallPause: Duration
        var monotonicPause = Duration.zero
        /// What counts of it.
        let counts: Duration
    }

    static let rows = [
        Row(
            testDescription: "both vouched for", before: .synchronised, after: .synchronised,
            wallPause: .seconds(600), counts: .seconds(600)),
        Row(
            testDescription: "clock back: nothing surely passed", before: .synchronised, after: .synchronised,
            wallPause: .seconds(-3600), counts: .zero),
        Row(
            testDescription: "woke up in 1970", before: .synchronised, after: .unset,
            wallPause: .seconds(-1_700_000_000),
            counts: .zero),
        Row(
            testDescription: "a guess does not count", before: .synchronised, after: .guessed,
            wallPause: .seconds(86_400), counts: .zero),
        Row(
            testDescription: "a guess before does not count", before: .guessed, after: .synchronised,
            wallPause: .seconds(86_400), counts: .zero),
        Row(
            testDescription: "same start of the machine: the monotonic clock knows", before: .unset, after: .unset,
            sameBoot: true, wallPause: .seconds(-99), monotonicPause: .seconds(45), counts: .seconds(45)),
    ]

    private static func clocks(
        _ monotonic: Duration, _ wall: Duration, _ quality: ClockQuality, boot: UInt8
    ) -> KnownElapsed.Clocks {
        KnownElapsed.Clocks(
            monotonic: MonotonicInstant(nanoseconds: 0) + monotonic, wall: someTime + wall, quality: quality,
            boot: [boot])
    }

    @Test(arguments: rows) func pauseCountsAsFarAsItIsKnown(row: Row) {
        let last = KnownElapsed.Mark(
            elapsed: .seconds(1000), clocks: Self.clocks(.seconds(50), .zero, row.before, boot: 1))
        let start = Self.clocks(
            row.sameBoot ? .seconds(50) + row.monotonicPause : .seconds(5), row.wallPause, row.after,
            boot: row.sameBoot ? 1 : 2)
        let elapsed = KnownElapsed(after: last, now: start)
        #expect(elapsed.elapsed(start) == .seconds(1000) + row.counts)
        var later = start
        later.monotonic = later.monotonic + .seconds(10)
        later.wall = later.wall + .seconds(7200)
        #expect(elapsed.elapsed(later) == .seconds(1010) + row.counts, "in one run only the monotonic clock counts")
    }

    @Test func timeServiceThatComesLaterSettlesThePause() {
        let last = KnownElapsed.Mark(
            elapsed: .seconds(1000), clocks: Self.clocks(.seconds(50), .zero, .synchronised, boot: 1))
        var elapsed = KnownElapsed(after: last, now: Self.clocks(.seconds(5), .seconds(-999_999), .unset, boot: 2))
        #expect(elapsed.elapsed(Self.clocks(.seconds(25), .seconds(-999_979), .unset, boot: 2)) == .seconds(1020))
        // 300 s since the last commit, 40 s of them in this run.
        let settled = Self.clocks(.seconds(45), .seconds(300), .synchronised, boot: 2)
        #expect(elapsed.elapsed(settled) == .seconds(1040), "nothing leaps before it is asked for")
        #expect(elapsed.settle(settled) == .seconds(260))
        #expect(elapsed.settle(settled) == .zero, "once")
        #expect(elapsed.elapsed(Self.clocks(.seconds(45), .seconds(300), .synchronised, boot: 2)) == .seconds(1300))
        #expect(elapsed.elapsed(Self.clocks(.seconds(46), .seconds(9000), .synchronised, boot: 2)) == .seconds(1301))
    }
}
