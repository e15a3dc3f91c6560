import Connectivity
import Primitives
import Testing

private let start = MonotonicInstant(nanoseconds: 1_000_000_000)

@Suite struct TimeExchangeTests {
    private func granted() -> TimeExchange {
        var exchange = TimeExchange()
        exchange.granted(now: start)
        return exchange
    }

    @Test func aHubThatGrantsNoSubscriptionIsNeverAsked() {
        var exchange = TimeExchange()
        let request = exchange.nextRequest(now: start + .seconds(86_400))
        #expect(request == nil && !exchange.isAnswerNear(now: start))
    }

    @Test func whatTravelsWaitsForTheGrantToo() {
        var exchange = TimeExchange()
        exchange.linkCameUp(now: start)
        #expect(exchange.isAnswerNear(now: start) && !exchange.isAnswerNear(now: start + .seconds(1)))
        let request = exchange.nextRequest(now: start)
        #expect(request == nil)
        exchange.linkLost()
        #expect(!exchange.isAnswerNear(now: start), "refused")
    }

    @Test func itIsAskedAtOnceAndThenEverySixHours() {
        var exchange = granted()
        #expect(exchange.isAnswerNear(now: start))
        let first = exchange.nextRequest(now: start)
        #expect(first == "1")
        let roundTrip = exchange.answered(rid: "1", now: start + .milliseconds(40))
        #expect(roundTrip == .milliseconds(40) && !exchange.isAnswerNear(now: start))
        let answered = start + .milliseconds(40)
        let early = exchange.nextRequest(now: answered + .seconds(6 * 3600 - 1))
        let due = exchange.nextRequest(now: answered + .seconds(6 * 3600))
        #expect(early == nil && due == "2")
        #expect(!exchange.isAnswerNear(now: answered + .seconds(6 * 3600)), "only the first answer is waited for")
    }

    @Test func aSilentHubHoldsNothingUpForMoreThanASecond() {
        var exchange = granted()
        _ = exchange.nextRequest(now: start)
        #expect(exchange.isAnswerNear(now: start + .milliseconds(999)))
        #expect(!exchange.isAnswerNear(now: start + .seconds(1)))
        // A late answer still counts, one to a question that was given up does not.
        var late = exchange
        let slow = late.answered(rid: "1", now: start + .seconds(29))
        #expect(slow == .seconds(29))
        _ = exchange.nextRequest(now: start + .seconds(30))
        let tooLate = exchange.answered(rid: "1", now: start + .seconds(31))
        #expect(tooLate == nil)
    }

    /// A connection that lives shorter than the patience would otherwise never send anything.
    @Test func aHubThatGrantedAndSaidNothingIsNotWaitedForAgainBeforeItAnswers() {
        var exchange = granted()
        _ = exchange.nextRequest(now: start)
        exchange.linkLost()
        exchange.granted(now: start)
        #expect(!exchange.isAnswerNear(now: start))
        let rid = exchange.nextRequest(now: start)
        let answer = exchange.answered(rid: rid ?? "", now: start)
        #expect(answer == .zero)
        exchange.linkLost()
        exchange.linkCameUp(now: start)
        #expect(exchange.isAnswerNear(now: start))
    }

    @Test func anAnswerOfTheLastConnectionIsNoAnswer() {
        var exchange = granted()
        _ = exchange.nextRequest(now: start)
        exchange.linkLost()
        exchange.granted(now: start)
        _ = exchange.nextRequest(now: start)
        let old = exchange.answered(rid: "1", now: start)
        #expect(old == nil)
    }
}

@Suite struct ClockDoubtTests {
    private var random = SeededRandom(seed: 7)

    @Test(arguments: [
        (LinkProblem.notAuthorised(device: "gw"), true), (.certificateNotYetValid(host: "hub"), true),
        (.certificateExpired(host: "hub"), true), (.badUserNameOrPassword(device: "gw"), true),
        (.wrongHostName(host: "hub"), false), (.silent(host: "hub"), false),
        (.unknownCertificateAuthority(host: "hub", caFile: ""), false),
    ]) func onlyWhatAClockCanCauseIsInDoubt(problem: LinkProblem, isDoubted: Bool) {
        let doubt = ClockDoubt()
        #expect(doubt.isInDoubt(after: problem, isSynchronised: false, now: start) == isDoubted)
        #expect(!doubt.isInDoubt(after: problem, isSynchronised: true, now: start))
    }

    @Test mutating func questionsWithoutAnAnswerComeLessAndLessOften() {
        let refused = LinkProblem.notAuthorised(device: "gw")
        var doubt = ClockDoubt()
        var now = start
        var asked: [MonotonicInstant] = []
        while now < start + .seconds(7200) {
            if doubt.isInDoubt(after: refused, isSynchronised: false, now: now) {
                asked.append(now)
                doubt.asked(now: now, using: &random)
            }
            now = now + .seconds(1)
        }
        #expect(asked.first == start && (8...24).contains(asked.count), "\(asked.count)")
        doubt.settled()
        #expect(doubt.isInDoubt(after: refused, isSynchronised: false, now: now))
    }
}

@Suite struct RetryTests {
    private var random = SeededRandom(seed: 9)

    @Test mutating func aCorrectedClockIsTriedAtOnceAndAShortenedTokenIsRenewedEarlier() {
        var link = LinkSupervisor()
        link.attemptStarted(now: start)
        _ = link.failed(.notAuthorised(device: "gw"), now: start, using: &random)
        link.retryAtOnce(now: start)
        let action = link.timerFired(now: start)
        #expect(action == .connect)
        link.attemptStarted(now: start)
        link.accepted(tokenLifetime: .seconds(3600), now: start)
        link.tokenShortened(by: .seconds(-60))
        #expect(link.deadline == start + .seconds(3480), "a clock that was ahead made a token that lives longer")
        link.tokenShortened(by: .seconds(3000))
        #expect(link.deadline == start + .seconds(480))
    }
}
