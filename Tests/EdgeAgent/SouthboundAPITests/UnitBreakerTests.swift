import Primitives
import SouthboundAPI
import Testing

@Suite struct UnitBreakerTests {
    private var random = SeededRandom(seed: 7)

    private func at(_ milliseconds: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: milliseconds * 1_000_000)
    }

    private func breaker(failuresMax: Int = 1) -> UnitBreaker {
        UnitBreaker(failuresMax: failuresMax, backoff: Backoff(first: .seconds(1), most: .seconds(4)))
    }

    @Test func theFirstFailureOpensAndIsSaidOnce() {
        var random = random
        var breaker = breaker()
        #expect(breaker.permission(now: at(0)) == .ask)
        #expect(said({ breaker.failed(now: at(0), using: &random) }) == .stoppedAnswering)
        #expect(breaker.isOpen)
        #expect(said({ breaker.failed(now: at(5000), using: &random) }) == .none)
    }

    @Test func anOpenUnitIsLeftAloneUntilItsBackoffEnds() {
        var random = random
        var breaker = breaker()
        _ = breaker.failed(now: at(0), using: &random)
        guard case .leaveAlone(let until) = breaker.permission(now: at(0)) else {
            Issue.record("it is asked at once")
            return
        }
        #expect(until >= at(500) && until <= at(1000))
        #expect(breaker.permission(now: until) == .ask)
    }

    @Test func waitsGrowToTheBoundAndNoFurther() {
        var random = random
        var breaker = breaker()
        for _ in 0..<20 {
            _ = breaker.failed(now: at(0), using: &random)
            guard case .leaveAlone(let until) = breaker.permission(now: at(0)) else { continue }
            #expect(until <= at(4000))
        }
    }

    @Test func theFirstAnswerClosesIt() {
        var random = random
        var breaker = breaker()
        #expect(said({ breaker.succeeded() }) == .answersAgain, "until now nobody knew")
        #expect(said({ breaker.succeeded() }) == .none)
        _ = breaker.failed(now: at(0), using: &random)
        #expect(said({ breaker.succeeded() }) == .answersAgain)
        #expect(!breaker.isOpen)
        #expect(breaker.permission(now: at(0)) == .ask)
    }

    @Test func failuresInARowAreCountedAndAnAnswerForgetsThem() {
        var random = random
        var breaker = breaker(failuresMax: 3)
        let script: [(answers: Bool, change: UnitBreaker.Change)] = [
            (false, .none), (false, .none), (true, .answersAgain), (false, .none), (false, .none),
            (false, .stoppedAnswering),
        ]
        for (step, line) in script.enumerated() {
            let change = line.answers ? breaker.succeeded() : breaker.failed(now: at(0), using: &random)
            #expect(change == line.change, "step \(step)")
        }
    }
}

@Suite struct WarningLimiterTests {
    private func at(_ seconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: seconds * 1_000_000_000) }

    @Test func theFirstPassesAndTheNextSayHowManyWereHeldBack() {
        var limiter = WarningLimiter(pause: .seconds(60))
        #expect(said({ limiter.occurred("a", now: at(0)) }) == .log(heldBackCount: 0))
        #expect(said({ limiter.occurred("a", now: at(1)) }) == .holdBack)
        #expect(said({ limiter.occurred("a", now: at(59)) }) == .holdBack)
        #expect(said({ limiter.occurred("a", now: at(60)) }) == .log(heldBackCount: 2))
    }

    @Test func subjectsDoNotSilenceEachOtherAndAreForgottenInTheEnd() {
        var limiter = WarningLimiter(pause: .seconds(60), subjectsMax: 2)
        #expect(said({ limiter.occurred("a", now: at(0)) }) == .log(heldBackCount: 0))
        #expect(said({ limiter.occurred("b", now: at(1)) }) == .log(heldBackCount: 0))
        #expect(said({ limiter.occurred("c", now: at(2)) }) == .log(heldBackCount: 0))
        #expect(said({ limiter.occurred("b", now: at(3)) }) == .holdBack)
        #expect(said({ limiter.occurred("a", now: at(4)) }) == .log(heldBackCount: 0), "the quietest one was forgotten")
    }
}

@Suite struct DriverErrorTests {
    @Test func itSaysWhatWhileDoingWhatAndForWhich() {
        let error = DriverError(
            .queueFull, doing: "write register relay", which: "meter-1", detail: "the line has too many writes waiting")
        #expect(
            error.description
                == "cannot write register relay (meter-1): too many actions are waiting already; "
                + "the line has too many writes waiting")
        #expect(error.isRetryable)
        #expect(!DriverError(.unknownTarget, doing: "x", which: "y").isRetryable)
    }
}
