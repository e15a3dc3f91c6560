import HubContract
import HubTestSupport
import JSON
import Primitives
import RuleLibrary
import RuleSets
import SQLiteHubStore
import Testing

@Suite struct RuleLibraryTests {
    private let fixture: HubFixture
    private let store: SQLiteRuleSetStore
    private let library: RuleLibrary
    private static let text = "[[rule]]\nname = \"overheat\"\nmetric = \"temperature\"\nwhen = \"> 70\"\n"
    private static let caseText = "[[rule.case]]\nname = \"c\"\ninput = [\"1s 71\"]\nexpect = [\"1s raised\"]\n"

    init() async throws {
        fixture = try await HubFixture()
        store = SQLiteRuleSetStore(fixture.database)
        let clock = fixture.clock
        library = RuleLibrary(store) { clock.now }
    }

    private func refusal(_ text: String, version: String = "1") async -> RuleLibraryError? {
        do {
            _ = try await library.publish(Array(text.utf8), version: version)
            return nil
        } catch {
            return error as? RuleLibraryError
        }
    }

    @Test func aPublishedSetIsFoundByItsVersionAndItsHash() async throws {
        let (set, left) = try await library.publish(Array((Self.text + Self.caseText).utf8), version: "1")
        #expect((set.ruleCount, set.caseCount, left) == (1, 1, 0))
        #expect(try await library.text(version: "1").text == Array((Self.text + Self.caseText).utf8))
        #expect(try await library.text(sha256: set.sha256) == Array((Self.text + Self.caseText).utf8))
        #expect(try await library.text(sha256: String(repeating: "0", count: 64)) == nil)
        #expect(try await library.published() == [set])
        // After a restart too.
        #expect(try await RuleLibrary(SQLiteRuleSetStore(fixture.database)) { .never }.published() == [set])
        let gateway = try HubFixture.id("gw 1".replacing(" ", with: "#"))
        #expect(
            set.reference(for: gateway)
                == RuleSetReference(
                    version: "1", address: "/devices/gw%231/rulesets/\(set.sha256)", sha256: set.sha256))
    }

    @Test func theHashIsTheOneOfTheText() async throws {
        // The SHA-256 of these bytes, by sha256sum.
        let (set, _) = try await library.publish(Array(Self.text.utf8), version: "1")
        #expect(set.sha256 == "408e36e01fe588d17697b27582914dd33f98d3a4022353dcb9e79c25d093b6e7")
    }

    @Test func aVersionNeverChanges() async throws {
        let (first, _) = try await library.publish(Array(Self.text.utf8), version: "1")
        #expect(try await library.publish(Array(Self.text.utf8), version: "1").set == first)
        #expect(await refusal(Self.text + "# x") == .otherText(version: "1"))
        #expect(try await library.published() == [first])
    }

    @Test func whatIsWrongIsNotKept() async throws {
        guard case .refused(let problems)? = await refusal("[[rule]]\nname = \"a b\"\nwhen = \"above\"\n[x]\n") else {
            Issue.record("it was published")
            return
        }
        #expect(problems.count >= 2)
        guard case .refused(let failed)? = await refusal(Self.text + Self.caseText.replacing("1s 71", with: "1s 1"))
        else {
            Issue.record("a failing case was published")
            return
        }
        #expect(failed.count == 1 && failed[0].contains("rule[1].case"))
        for version in ["", "a b", String(repeating: "a", count: 101)] {
            #expect(await refusal(Self.text, version: version) == .wrongVersion(version))
        }
        #expect(try await library.published().isEmpty)
    }

    @Test func casesInTheGatewaysOwnTimeZoneAreLeftToIt() async throws {
        let schedule = "active = [\"mon-fri 08:00-18:00\"]\n"
        let failing = Self.caseText.replacing("1s 71", with: "1s 1")
        #expect(try await library.publish(Array((Self.text + schedule + failing).utf8), version: "1").leftCount == 1)
        #expect(await refusal(Self.text + schedule + "time_zone = \"utc\"\n" + failing, version: "2") != nil)
    }

    @Test func aZoneThatNobodyKnowsIsAProblemOfTheSetWithCasesOrWithout() async throws {
        let clock = fixture.clock
        let library = RuleLibrary(
            store, clock: { clock.now },
            zoneOffset: { _, _ in nil },
            zoneProblem: { $0 == "Europe/Berlin" ? nil : "no such zone \($0)" })
        let active = "active = [\"mon-fri 08:00-18:00\"]\n"
        let second = Self.text.replacing("overheat", with: "second") + active + "time_zone = \"Europe/Atlantis\"\n"
        for cases in ["", Self.caseText] {
            let text = Self.text + active + "time_zone = \"Europe/Berlin\"\n" + second + cases
            await #expect(throws: RuleLibraryError.refused(["rule[2].time_zone: no such zone Europe/Atlantis"])) {
                try await library.publish(Array(text.utf8), version: "1")
            }
        }
        #expect(try await library.published().isEmpty)
        // Without a database of zones, none is known.
        #expect(await refusal(second) != nil)
    }

    @Test func aHubHoldsSoManyAndNotMore() async throws {
        let set = try await library.publish(Array(Self.text.utf8), version: "1").set
        let other = PublishedRuleSet(
            version: "2", sha256: set.sha256, byteCount: 1, ruleCount: 1, caseCount: 0, publishedAt: set.publishedAt)
        await #expect(throws: RuleLibraryError.full(setsMax: 1)) {
            try await store.publish(other, text: [1], setsMax: 1)
        }
        try await library.withdraw(version: "1")
        _ = try await store.publish(other, text: [1], setsMax: 1)
        await #expect(throws: RuleLibraryError.unknown(version: "1")) { try await library.withdraw(version: "1") }
        await #expect(throws: RuleLibraryError.unknown(version: "1")) { try await library.text(version: "1") }
    }

    @Test func usersAreFoundByTheirTwins() async throws {
        let device = SQLiteDeviceStore(fixture.database)
        let running = RuleSetReport(
            running: .init(version: "1", sha256: "x", since: WallInstant(milliseconds: 0), ruleCount: 1))
        let reference = RuleSetReference(version: "2", address: "/a", sha256: String(repeating: "0f", count: 32))
        for (name, wish, report) in [
            ("gw-1", reference.json, running.json), ("gw-2", .null, RuleSetReport().json), ("gw-3", "x", .null),
            ("gw-4", .null, running.json),
        ] as [(String, JSONValue, JSONValue)] {
            try await fixture.makeGateway(name)
            var twin = TwinDocument(at: fixture.clock.now)
            _ = try twin.patch(["properties": ["desired": ["rules": wish]]], at: fixture.clock.now)
            try twin.applyReported(["rules": report], at: fixture.clock.now)
            let document = twin
            let id = HubIdentity(try HubFixture.id(name))
            try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
                device.changeTwin(of: id, decide: { _ in (document, ()) }) { done.resume(with: $0) }
            }
        }
        let users = try await library.users()
        #expect(users.map(\.gateway.text) == ["gw-1", "gw-3", "gw-4"])
        #expect(users[0].wish == .set(reference) && users[0].report == running)
        #expect(users[2].wish == .none && users[2].report == running)
        #expect(try await store.users(countMax: 1).count == 1)
    }
}
