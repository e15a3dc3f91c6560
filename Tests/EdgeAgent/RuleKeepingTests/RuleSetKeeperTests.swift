import Primitives
import RuleKeeping
import RuleSets
import Testing

@Suite struct RuleSetKeeperTests {
    private let start = MonotonicInstant(nanoseconds: 1_000_000_000)
    private static let hash = String(repeating: "0f", count: 32)
    private let one = RuleSetReference(version: "1", address: "/1", sha256: hash)
    private let two = RuleSetReference(version: "2", address: "/2", sha256: hash)
    private var random = SeededRandom(seed: 3)

    private func running(_ reference: RuleSetReference) -> RuleSetReport.Running {
        .init(version: reference.version, sha256: reference.sha256, since: WallInstant(milliseconds: 5), ruleCount: 1)
    }

    private func keeper(running reference: RuleSetReference? = nil) -> RuleSetKeeper {
        RuleSetKeeper(RuleSetReport(running: reference.map(running)))
    }

    @Test func nothingIsDoneBeforeTheTwinHasSpoken() {
        var keeper = keeper(running: one)
        #expect(keeper.nextStep(now: start) == nil && keeper.deadline == nil)
    }

    @Test mutating func aWishIsTakenOnce() {
        var keeper = keeper()
        #expect(keeper.wished(.set(one), now: start) == true)
        #expect(keeper.nextStep(now: start) == .take(one))
        #expect(keeper.nextStep(now: start) == nil)
        keeper.ended(.runs(running(one)), now: start, using: &random)
        #expect(keeper.wished(.set(one), now: start) == false)
        #expect(keeper.nextStep(now: start + .seconds(10_000)) == nil)
        #expect(keeper.report == RuleSetReport(running: running(one)))
    }

    @Test func whatRunsAlreadyIsNotFetchedAgain() {
        var keeper = keeper(running: one)
        #expect(keeper.wished(.set(one), now: start) == true)
        #expect(keeper.nextStep(now: start) == nil)
    }

    @Test mutating func aRefusalStandsUntilAnotherWish() {
        var keeper = keeper(running: one)
        _ = keeper.wished(.set(two), now: start)
        _ = keeper.nextStep(now: start)
        keeper.ended(.refused(["no"]), now: start, using: &random)
        #expect(keeper.report.running == running(one))
        #expect(keeper.report.refused == .init(version: "2", sha256: Self.hash, problems: ["no"], willRetry: false))
        #expect(keeper.wished(.set(two), now: start) == false)
        #expect(keeper.nextStep(now: start + .seconds(10_000)) == nil)
        // Back to what runs: nothing to do, and nothing is refused any more.
        #expect(keeper.wished(.set(one), now: start) == true)
        #expect(keeper.nextStep(now: start) == nil && keeper.report == RuleSetReport(running: running(one)))
    }

    @Test mutating func troubleIsTriedAgainMoreAndMoreSeldom() {
        var keeper = keeper()
        _ = keeper.wished(.set(one), now: start)
        var (now, waits) = (start, [Duration]())
        for _ in 0..<14 {
            #expect(keeper.nextStep(now: now) == .take(one))
            keeper.ended(.failed(["no way"]), now: now, using: &random)
            #expect(keeper.report.refused?.willRetry == true && keeper.report.running == nil)
            guard let due = keeper.deadline else {
                Issue.record("it was given up")
                return
            }
            waits.append(due - now)
            #expect(keeper.nextStep(now: now) == nil)
            now = due
        }
        #expect(waits[0] >= RuleSetKeeper.firstPause / 2 && waits[0] <= RuleSetKeeper.firstPause)
        #expect(waits[13] >= RuleSetKeeper.longestPause / 2 && waits[13] <= RuleSetKeeper.longestPause)
        _ = keeper.nextStep(now: now)
        keeper.ended(.runs(running(one)), now: now, using: &random)
        #expect(keeper.report == RuleSetReport(running: running(one)) && keeper.deadline == nil)
    }

    @Test mutating func anotherWishOvertakesTheStepThatRuns() {
        var keeper = keeper()
        _ = keeper.wished(.set(one), now: start)
        #expect(keeper.nextStep(now: start) == .take(one))
        _ = keeper.wished(.set(two), now: start)
        #expect(keeper.nextStep(now: start) == .take(two))
        keeper.ended(.runs(running(two)), now: start, using: &random)
        #expect(keeper.report.running == running(two))
    }

    @Test mutating func anInterruptedStepIsDoneAgain() {
        var keeper = keeper()
        _ = keeper.wished(.set(one), now: start)
        _ = keeper.nextStep(now: start)
        keeper.ended(.interrupted, now: start, using: &random)
        #expect(keeper.nextStep(now: start) == .take(one))
    }

    @Test mutating func aWithdrawnSetEndsAndWithoutOneThereIsNothingToDo() {
        var keeper = keeper(running: one)
        _ = keeper.wished(.none, now: start)
        #expect(keeper.nextStep(now: start) == .withdraw)
        keeper.ended(.failed(["the disk is full"]), now: start, using: &random)
        #expect(keeper.report.running == running(one) && keeper.report.refused?.willRetry == true)
        #expect(keeper.nextStep(now: keeper.deadline ?? start) == .withdraw)
        keeper.ended(.runs(nil), now: start, using: &random)
        #expect(keeper.report == RuleSetReport())
        var other = self.keeper()
        _ = other.wished(.none, now: start)
        #expect(other.nextStep(now: start) == nil)
    }

    @Test func anUnreadableWishIsRefused() {
        var keeper = keeper(running: one)
        _ = keeper.wished(.unreadable(version: "x", problems: ["rules.url: expected"]), now: start)
        #expect(keeper.nextStep(now: start) == nil && keeper.report.running == running(one))
        #expect(keeper.report.refused?.problems == ["rules.url: expected"])
    }
}

@Suite struct KeptRuleSetTests {
    private func digest(_ bytes: [UInt8]) -> [UInt8] {
        var seed = SeededRandom(seed: bytes.reduce(7) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
        return (0..<32).map { _ in UInt8(truncatingIfNeeded: seed.next()) }
    }

    @Test func whatIsKeptIsReadBackAndWhatIsDamagedIsNot() throws {
        let text = Array("[[rule]]\nname = \"a\"\n".utf8)
        let kept = KeptRuleSet(
            reference: .init(version: "7", address: "https://a/b", sha256: Hex.encode(digest(text))),
            since: WallInstant(milliseconds: 1_700_000_000_250), text: text)
        #expect(KeptRuleSet(kept.bytes, sha256: digest) == kept)
        for length in 0..<kept.bytes.count {
            #expect(KeptRuleSet(Array(kept.bytes[..<length]), sha256: digest) == nil)
        }
        var changed = kept.bytes
        changed[changed.count - 3] ^= 1
        #expect(KeptRuleSet(changed, sha256: digest) == nil)
    }
}
