import Connectivity
import Primitives
import Testing

@Suite struct LinkSupervisorTests {
    private var random = SeededRandom(seed: 7)
    private let start = MonotonicInstant(nanoseconds: 1_000_000_000)

    private func after(_ duration: Duration) -> MonotonicInstant { start + duration }

    @Test mutating func failedAttemptsWaitLongerAndLongerWithinTheirBounds() {
        var link = LinkSupervisor(limits: .init(backoff: Backoff(first: .seconds(1), most: .seconds(8))))
        var now = start
        for bound in [1, 2, 4, 8, 8] {
            link.attemptStarted(now: now)
            guard
                case .wait(let until, _) = link.failed(
                    .connectionRefused(host: "hub", port: 1), now: now, using: &random)
            else {
                Issue.record("a failed attempt must wait")
                return
            }
            let wait = until - now
            #expect(wait >= .seconds(bound) / 2 && wait <= .seconds(bound))
            #expect(link.timerFired(now: until + .nanoseconds(-1)) == .rearm(at: until))
            #expect(link.timerFired(now: until) == .connect)
            now = until
        }
    }

    @Test mutating func sameReasonIsNewsOnlyOnce() {
        var link = LinkSupervisor()
        link.attemptStarted(now: start)
        #expect(isNews(link.failed(.silent(host: "hub"), now: start, using: &random)) == true)
        link.attemptStarted(now: after(.seconds(2)))
        #expect(isNews(link.failed(.silent(host: "hub"), now: after(.seconds(2)), using: &random)) == false)
        link.attemptStarted(now: after(.seconds(9)))
        #expect(isNews(link.failed(.lost(detail: "x"), now: after(.seconds(9)), using: &random)) == true)
        link.attemptStarted(now: after(.seconds(20)))
        link.accepted(tokenLifetime: nil, now: after(.seconds(20)))
        #expect(isNews(link.failed(.lost(detail: "x"), now: after(.seconds(21)), using: &random)) == true)
    }

    @Test mutating func connectionThatHeldResetsTheBackoffAndOneThatDidNotKeepsIt() {
        var link = LinkSupervisor(
            limits: .init(backoff: Backoff(first: .seconds(1), most: .seconds(64)), stableAfter: .seconds(10)))
        var now = start
        for _ in 0..<4 {
            link.attemptStarted(now: now)
            link.accepted(tokenLifetime: nil, now: now)
            now = now + .seconds(1)
            _ = link.failed(.lost(detail: "taken over"), now: now, using: &random)
        }
        let unstable = (link.deadline ?? now) - now
        #expect(unstable >= .seconds(4))
        link.attemptStarted(now: now)
        link.accepted(tokenLifetime: nil, now: now)
        now = now + .seconds(10)
        _ = link.failed(.lost(detail: "gone"), now: now, using: &random)
        #expect((link.deadline ?? now) - now <= .seconds(1))
    }

    @Test func silentHubEndsTheAttempt() {
        var link = LinkSupervisor(limits: .init(connectTimeMax: .seconds(30)))
        link.attemptStarted(now: start)
        #expect(link.timerFired(now: after(.seconds(29))) == .rearm(at: after(.seconds(30))))
        #expect(link.timerFired(now: after(.seconds(30))) == .giveUpAttempt)
    }

    @Test(arguments: [
        (lifetime: Duration.seconds(3600), renewAfter: Duration.seconds(3480)),
        (.seconds(600), .seconds(480)),
        (.seconds(60), .seconds(48)),
    ])
    func tokenIsRenewedBeforeItEnds(row: (lifetime: Duration, renewAfter: Duration)) {
        var link = LinkSupervisor()
        link.attemptStarted(now: start)
        link.accepted(tokenLifetime: row.lifetime, now: start)
        #expect(link.deadline == after(row.renewAfter))
        #expect(link.timerFired(now: after(row.renewAfter)) == .renewToken)
    }

    @Test func certificateNeedsNoRenewal() {
        var link = LinkSupervisor()
        link.attemptStarted(now: start)
        link.accepted(tokenLifetime: nil, now: start)
        #expect(link.isConnected)
        #expect(link.deadline == nil)
    }

    @Test mutating func failureWithoutAnAttemptIsIgnored() {
        var link = LinkSupervisor()
        #expect(link.failed(.silent(host: "hub"), now: start, using: &random) == .ignore)
        #expect(link.deadline == nil)
    }

    private func isNews(_ action: LinkSupervisor.FailureAction) -> Bool? {
        guard case .wait(_, let isNews) = action else { return nil }
        return isNews
    }
}

@Suite struct LinkProblemTests {
    static let every: [LinkProblem] = [
        .nameNotResolved(host: "hub.example"), .connectionRefused(host: "hub.example", port: 8883),
        .unreachable(host: "hub.example", port: 8883, detail: "No route to host"), .wrongHostName(host: "hub.example"),
        .unknownCertificateAuthority(host: "hub.example", caFile: "/etc/ca.pem"),
        .unknownCertificateAuthority(host: "hub.example", caFile: ""), .certificateExpired(host: "hub.example"),
        .certificateNotYetValid(host: "hub.example"), .certificateRefused(host: "hub.example", reason: "key too small"),
        .tlsFailed(host: "hub.example", detail: "wrong version number"), .protocolVersionRefused(host: "hub.example"),
        .clientIDRefused(device: "gw"), .serverUnavailable(host: "hub.example"), .badUserNameOrPassword(device: "gw"),
        .notAuthorised(device: "gw"), .refusedOtherwise(code: 9), .silent(host: "hub.example"),
        .lost(detail: "reset"), .credentialsUnusable(detail: "no key"),
    ]

    @Test func everyReasonHasATextOfItsOwn() {
        let texts = Self.every.map(\.operatorText)
        #expect(Set(texts).count == texts.count)
        for text in texts { #expect(text.hasSuffix(".") && text.contains(". ")) }
    }

    @Test(arguments: [
        (
            LinkProblem.wrongHostName(host: "hub.example"),
            "The hub's certificate is not for the name hub.example. Use a name that the certificate covers, or give "
                + "the hub a certificate for this one."
        ),
        (
            .refused(code: 5, host: "hub.example", device: "gw"),
            "The hub does not let gw in (CONNACK code 5). Check that the device exists and is enabled at the hub, that "
                + "the key is its own, and that this gateway's clock is right."
        ),
        (
            .refused(code: 4, host: "hub.example", device: "gw"),
            "The hub could not read user name or password of gw (CONNACK code 4). Check the host name, the device id "
                + "and the key in the configuration."
        ),
        (
            .refused(code: 3, host: "hub.example", device: "gw"),
            "hub.example is not available at the moment (CONNACK code 3). Nothing to do: the gateway keeps its "
                + "readings and tries again."
        ),
        (
            .refused(code: 2, host: "hub.example", device: "gw"),
            "The hub refused the client id gw (CONNACK code 2). Check the device id in the configuration."
        ),
        (
            .refused(code: 1, host: "hub.example", device: "gw"),
            "hub.example does not speak MQTT 3.1.1 (CONNACK code 1). Check that host and port are those of the hub."
        ),
        (
            .nameNotResolved(host: "hub.example"),
            "The hub's name hub.example cannot be resolved. Check the spelling of the host name in the configuration "
                + "and the gateway's DNS server."
        ),
        (
            .connectionRefused(host: "hub.example", port: 8883),
            "Nothing accepts connections at hub.example port 8883. Start the hub, or correct host and port in the "
                + "configuration."
        ),
    ])
    func textSaysWhatIsWrongAndWhatToDo(problem: LinkProblem, text: String) {
        #expect(problem.operatorText == text)
    }
}
