import Connectivity
import Primitives
import Testing

@Suite struct ByteBudgetTests {
    private let start = MonotonicInstant(nanoseconds: 0)
    private let evening = WallInstant(milliseconds: 1_795_000_000_000)  // 2026-11-18T11:06:40Z

    @Test func withoutALimitEverythingMayTravel() {
        var budget = ByteBudget(perDay: nil, atEnd: .nothing, kept: nil)
        budget.used(.max)
        budget.used(1)
        #expect(budget.allowance == .everything && !budget.isToBeKept)
    }

    @Test(arguments: [(ByteBudget.AtEnd.faultsOnly, ByteBudget.Allowance.faults), (.nothing, .nothing)])
    func theEndIsWhatTheConfigurationSaysUntilMidnight(atEnd: ByteBudget.AtEnd, allowance: ByteBudget.Allowance) {
        var budget = ByteBudget(perDay: 1000, atEnd: atEnd, kept: nil)
        _ = budget.timePassed(wall: evening, now: start)
        budget.used(999)
        #expect(budget.allowance == .everything)
        budget.used(1)
        #expect(budget.allowance == allowance)
        let beforeMidnight = budget.timePassed(wall: evening + .seconds(46_399), now: start + .seconds(46_399))
        #expect(!beforeMidnight && budget.allowance == allowance)
        let atMidnight = budget.timePassed(wall: evening + .seconds(46_400), now: start + .seconds(46_400))
        #expect(atMidnight && budget.allowance == .everything && budget.spent == 0)
    }

    @Test func aRestartForgetsNothingOfTheDay() {
        var budget = ByteBudget(perDay: 1000, atEnd: .nothing, kept: nil)
        _ = budget.timePassed(wall: evening, now: start)
        budget.used(1200)
        #expect(budget.isToBeKept)
        var next = ByteBudget(perDay: 1000, atEnd: .nothing, kept: budget.state)
        let isNew = next.timePassed(wall: evening + .seconds(60), now: start)
        #expect(!isNew && next.allowance == .nothing && next.spent == 1200)
        var tomorrow = ByteBudget(perDay: 1000, atEnd: .nothing, kept: budget.state)
        let isTomorrow = tomorrow.timePassed(wall: evening + .seconds(86_400), now: start)
        #expect(isTomorrow && tomorrow.allowance == .everything)
        let damaged = ByteBudget(perDay: 1000, atEnd: .nothing, kept: Array("x".utf8))
        #expect(damaged.spent == 0)
    }

    @Test func aClockThatCannotBeTrustedOrGoesBackGivesNoBytesTwice() {
        var budget = ByteBudget(perDay: 1000, atEnd: .nothing, kept: nil)
        _ = budget.timePassed(wall: nil, now: start)
        budget.used(1000)
        let early = budget.timePassed(wall: nil, now: start + .seconds(86_399))
        let known = budget.timePassed(wall: evening, now: start + .seconds(86_399))
        let back = budget.timePassed(wall: evening + .seconds(-86_400), now: start + .seconds(86_399))
        #expect(!early && !known && !back && budget.allowance == .nothing)
        let late = budget.timePassed(wall: nil, now: start + .seconds(86_400))
        #expect(late && budget.allowance == .everything)
    }

    @Test func itIsKeptAfterASixtyFourthAndAtItsEnd() {
        var budget = ByteBudget(perDay: 6400, atEnd: .nothing, kept: nil)
        budget.used(99)
        #expect(!budget.isToBeKept)
        budget.used(1)
        #expect(budget.isToBeKept)
        budget.used(6299)
        budget.stateKept()
        budget.used(1)
        #expect(budget.isToBeKept, "the end")
    }
}
