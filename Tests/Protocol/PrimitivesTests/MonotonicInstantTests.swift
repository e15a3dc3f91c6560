import Primitives
import Testing

struct MonotonicInstantTests {
    @Test func sumAndDifference() {
        let start = MonotonicInstant(nanoseconds: 5)
        #expect((start + .seconds(2)).nanoseconds == 2_000_000_005)
        #expect(start + .seconds(2) - start == .seconds(2))
        #expect(start - (start + .seconds(2)) == .seconds(-2))
        #expect(start < start + .nanoseconds(1))
    }

    @Test func aDeadlinePastTheEndOfTimeIsNever() {
        let late = MonotonicInstant(nanoseconds: .max - 1)
        #expect(late + .seconds(1) == MonotonicInstant(nanoseconds: .max))
        #expect(MonotonicInstant(nanoseconds: .min) + .seconds(-1) == MonotonicInstant(nanoseconds: .min))
        #expect(MonotonicInstant(nanoseconds: .max) - MonotonicInstant(nanoseconds: .min) == .nanoseconds(Int64.max))
        #expect(MonotonicInstant(nanoseconds: .min) - MonotonicInstant(nanoseconds: .max) == .nanoseconds(Int64.min))
    }

    static let rows: [(duration: Duration, nanoseconds: Int64)] = [
        (.zero, 0),
        (.nanoseconds(1), 1),
        (.nanoseconds(-1), -1),
        (.seconds(1.5), 1_500_000_000),
        (.seconds(-1.5), -1_500_000_000),
        (.seconds(Int64.max), .max),
        (.seconds(Int64.min), .min),
        (.seconds(9_223_372_036) + .nanoseconds(854_775_807), .max),
        (.seconds(9_223_372_036) + .nanoseconds(854_775_808), .max),
        (.seconds(-9_223_372_036) - .nanoseconds(854_775_809), .min),
        (Duration(secondsComponent: 0, attosecondsComponent: 999_999_999), 0),
    ]

    @Test(arguments: rows) func nanosecondsAreClamped(duration: Duration, nanoseconds: Int64) {
        #expect(duration.nanosecondsClamped == nanoseconds)
    }

    @Test func millisecondsAreRoundedTowardsZero() {
        #expect(Duration.microseconds(1999).millisecondsClamped == 1)
        #expect(Duration.microseconds(-1999).millisecondsClamped == -1)
    }
}
