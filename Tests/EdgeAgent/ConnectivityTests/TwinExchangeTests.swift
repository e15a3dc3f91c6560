import Connectivity
import Primitives
import Testing

@Suite struct TwinExchangeTests {
    private let start = MonotonicInstant(nanoseconds: 1_000_000_000)
    private let one = Array("one".utf8)
    private let two = Array("two".utf8)

    private func connected() -> TwinExchange {
        var exchange = TwinExchange()
        exchange.linkCameUp(now: start)
        return exchange
    }

    /// With the twin received and the first report taken.
    private func settled() -> TwinExchange {
        var exchange = connected()
        _ = exchange.nextRequest(now: start) { one }
        _ = exchange.answered(rid: "twin-1", status: 200, now: start)
        _ = exchange.nextRequest(now: start) { one }
        _ = exchange.answered(rid: "twin-2", status: 204, now: start)
        return exchange
    }

    @Test func nothingIsAskedWithoutALink() {
        var exchange = TwinExchange()
        #expect(exchange.nextRequest(now: start) { one } == nil)
        exchange.linkCameUp(now: start)
        exchange.linkLost()
        #expect(exchange.nextRequest(now: start) { one } == nil)
    }

    @Test func twinComesFirstAndOneRequestIsOnItsWayAtATime() {
        var exchange = connected()
        #expect(exchange.nextRequest(now: start) { one } == .get(rid: "twin-1"))
        #expect(exchange.nextRequest(now: start) { one } == nil)
        #expect(exchange.answered(rid: "twin-1", status: 200, now: start) == .twin)
        #expect(exchange.nextRequest(now: start) { one } == .report(rid: "twin-2", one))
        #expect(exchange.nextRequest(now: start) { two } == nil)
        #expect(exchange.answered(rid: "twin-2", status: 204, now: start) == .reported)
    }

    @Test func onlySomethingNewIsReportedAgain() {
        var exchange = settled()
        let later = start + TwinExchange.pause
        #expect(exchange.nextRequest(now: start) { two } == nil, "the pause is kept")
        #expect(exchange.nextRequest(now: later) { one } == nil)
        #expect(exchange.nextRequest(now: later + TwinExchange.pause) { two } == .report(rid: "twin-3", two))
    }

    @Test func aChangeNeedNotWaitForThePause() {
        var exchange = settled()
        exchange.changed(now: start + .seconds(1))
        #expect(exchange.nextRequest(now: start + .seconds(1)) { two } == .report(rid: "twin-3", two))
    }

    @Test func changedDesiredPropertiesAreFetchedWholeAndThenTold() {
        var exchange = settled()
        exchange.desiredChanged(now: start)
        #expect(exchange.nextRequest(now: start) { two } == .get(rid: "twin-3"))
        // Another change while the twin is on its way: this one may be the older.
        exchange.desiredChanged(now: start)
        #expect(exchange.answered(rid: "twin-3", status: 200, now: start) == .twin)
        #expect(exchange.nextRequest(now: start) { two } == .get(rid: "twin-4"))
        #expect(exchange.answered(rid: "twin-4", status: 200, now: start) == .twin)
        #expect(exchange.nextRequest(now: start) { two } == .report(rid: "twin-5", two))
    }

    @Test func whatChangesWhileARequestIsOnItsWayIsToldAtOnceAfterIt() {
        var exchange = connected()
        _ = exchange.nextRequest(now: start) { one }
        _ = exchange.answered(rid: "twin-1", status: 200, now: start)
        _ = exchange.nextRequest(now: start) { one }
        exchange.changed(now: start)
        #expect(exchange.answered(rid: "twin-2", status: 204, now: start) == .reported)
        #expect(exchange.nextRequest(now: start) { two } == .report(rid: "twin-3", two))
    }

    @Test func everyConnectionBeginsWithTheTwinAndAReport() {
        var exchange = settled()
        exchange.linkLost()
        exchange.linkCameUp(now: start)
        #expect(exchange.nextRequest(now: start) { one } == .get(rid: "twin-3"))
        #expect(exchange.answered(rid: "twin-3", status: 200, now: start) == .twin)
        #expect(exchange.nextRequest(now: start) { one } == .report(rid: "twin-4", one))
    }

    @Test func refusedRequestIsMadeAgainAfterThePause() {
        var exchange = connected()
        _ = exchange.nextRequest(now: start) { one }
        #expect(exchange.answered(rid: "twin-1", status: 429, now: start) == .refused(status: 429))
        #expect(exchange.nextRequest(now: start) { one } == nil)
        #expect(exchange.nextRequest(now: start + TwinExchange.pause) { one } == .get(rid: "twin-2"))
    }

    @Test func silentHubIsAskedAgainAndItsLateAnswerIgnored() {
        var exchange = connected()
        _ = exchange.nextRequest(now: start) { one }
        let later = start + TwinExchange.answerTimeMax
        #expect(exchange.nextRequest(now: later) { one } == .get(rid: "twin-2"))
        #expect(exchange.answered(rid: "twin-1", status: 200, now: later) == .ignore)
        #expect(exchange.answered(rid: "twin-2", status: 200, now: later) == .twin)
    }
}
