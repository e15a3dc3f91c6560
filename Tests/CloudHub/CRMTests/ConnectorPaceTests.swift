import CRM
import Primitives
import Testing

@Suite struct ConnectorPaceTests {
    static let detail = ODataError(code: "0x1", message: "no")

    func error(_ problem: DataverseClientError.Problem) -> DataverseClientError {
        DataverseClientError(problem, doing: "create an alert", which: "msdyn_iotalerts")
    }

    @Test func onlyAFinalRefusalIsADeadLetter() {
        var random = SeededRandom(seed: 1)
        let now = MonotonicInstant(nanoseconds: 0)
        var pace = ConnectorPace()
        #expect(
            pace.failed(error(.refused(status: 400, Self.detail)), attempts: 0, now: now, using: &random) == .deadLetter
        )
        #expect(pace.failed(error(.notFound(Self.detail)), attempts: 0, now: now, using: &random) == .gone)
        #expect(!pace.isPaused(now: now))
        #expect(pace.health == .healthy)
        for problem: DataverseClientError.Problem in [
            .unreachable("x"), .unauthorized, .forbidden(Self.detail), .throttled(Self.detail, retryAfter: nil),
            .server(status: 500, Self.detail, retryAfter: nil), .unreadable("x"),
            .tokenRefused(status: 401, error: "invalid_client", description: ""),
        ] {
            var fresh = ConnectorPace()
            guard case .again = fresh.failed(error(problem), attempts: 0, now: now, using: &random) else {
                Issue.record("\(problem) must be tried again")
                continue
            }
        }
    }

    @Test func retryAfterPausesEverythingForThatLong() {
        var random = SeededRandom(seed: 1)
        var pace = ConnectorPace()
        let now = MonotonicInstant(nanoseconds: 0)
        let verdict = pace.failed(
            error(.throttled(Self.detail, retryAfter: .seconds(17))), attempts: 0, now: now, using: &random)
        #expect(verdict == .again(after: .seconds(17)))
        #expect(pace.isPaused(now: now + .milliseconds(16_999)))
        #expect(!pace.isPaused(now: now + .seconds(17)))
        #expect(pace.callsMax(8) == 1)
        pace.succeeded()
        #expect(pace.callsMax(8) == 8)
        #expect(pace.health == .healthy)
    }

    @Test func oneBrokenRowDoesNotStopTheOthersButThreeFailuresDo() {
        var random = SeededRandom(seed: 1)
        var pace = ConnectorPace()
        let now = MonotonicInstant(nanoseconds: 0)
        let failure = error(.server(status: 500, Self.detail, retryAfter: nil))
        for _ in 0..<20 {
            guard case .again(let wait) = pace.failed(failure, attempts: 20, now: now, using: &random) else { return }
            #expect(wait >= .seconds(256))
            #expect(!pace.isPaused(now: now))
            pace.succeeded()
        }
        for _ in 0..<3 { _ = pace.failed(failure, attempts: 0, now: now, using: &random) }
        #expect(pace.isPaused(now: now))
    }

    @Test func callsThatFailTogetherCountAsOne() {
        var random = SeededRandom(seed: 1)
        var pace = ConnectorPace()
        let now = MonotonicInstant(nanoseconds: 0)
        for _ in 0..<8 {
            let verdict = pace.failed(error(.unreachable("x")), attempts: 0, now: now, using: &random)
            guard case .again(let wait) = verdict else {
                Issue.record("it must be tried again")
                continue
            }
            #expect(wait <= .milliseconds(500))
        }
        #expect(!pace.isPaused(now: now + .milliseconds(500)))
    }

    @Test func waitsStayWithinTheirBounds() {
        for seed: UInt64 in 0..<50 {
            var random = SeededRandom(seed: seed)
            var pace = ConnectorPace()
            var now = MonotonicInstant(nanoseconds: 0)
            for _ in 0..<12 {
                let verdict = pace.failed(error(.unreachable("x")), attempts: 0, now: now, using: &random)
                guard case .again(let wait) = verdict else { continue }
                #expect(wait >= .milliseconds(250) && wait <= .seconds(30), "seed \(seed)")
                now = now + wait
            }
        }
    }
}
