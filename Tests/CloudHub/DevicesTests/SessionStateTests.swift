import Devices
import HubContract
import HubTestSupport
import Primitives
import Registry
import SQLiteHubStore
import Sessions
import Testing

@Suite struct SessionStateTests {
    let fixture: DeviceHubFixture
    var hub: DeviceHub { fixture.hub }

    init() async throws { fixture = try await DeviceHubFixture() }

    private func store(_ subscriptions: Set<StoredSubscription>, of who: HubIdentity) async -> Bool {
        await withCheckedContinuation { continuation in
            hub.subscriptionsChanged(who, to: subscriptions) { continuation.resume(returning: $0) }
        }
    }

    @Test func subscriptionsOutliveARestart() async throws {
        let who = try await fixture.device("dev-1")
        let child = try HubFixture.id("c=1;$x")
        let all: Set<StoredSubscription> = [
            StoredSubscription(subscription: .methods, grantedQoS: 0),
            StoredSubscription(scope: .everyChild, subscription: .desiredChanges),
            StoredSubscription(scope: .child(child), subscription: .cloudToDevice),
        ]
        #expect(await store(all, of: who))
        #expect(hub.storedSubscriptions(of: who) == all)
        #expect(try await fixture.restarted().hub.storedSubscriptions(of: who) == all)
        #expect(await store([], of: who))
        #expect(try await fixture.restarted().hub.storedSubscriptions(of: who).isEmpty)
    }

    @Test func unchangedSubscriptionsAreNotWrittenAgain() async throws {
        let who = try await fixture.device("dev-1")
        let all: Set<StoredSubscription> = [StoredSubscription(subscription: .methods)]
        #expect(await store(all, of: who))
        try fixture.base.database.close()
        #expect(await store(all, of: who))
        #expect(await !store([], of: who))
        #expect(hub.storedSubscriptions(of: who) == all)
    }

    @Test func whoLosesAccessIsCutWithTheReason() async throws {
        let who = try await fixture.device("dev-1")
        #expect(await store([StoredSubscription(subscription: .methods)], of: who))
        let link = fixture.connect(who)
        var draft = DeviceDraft(id: who.device)
        draft.status = .disabled
        try await fixture.base.registry.update(draft)
        try await fixture.base.registry.delete(who.device)
        let told = await link.received.first(2).map(\.message)
        #expect(told == [.close(reason: .deviceDisabled), .close(reason: .deviceRemoved)])
        #expect(hub.storedSubscriptions(of: who).isEmpty)
    }

    @Test func removedChildDoesNotCutItsGateway() async throws {
        try await fixture.base.makeGateway("gw", children: ["child"])
        let link = fixture.connect(try fixture.identity("gw"), DeviceSubscription.allCases, scope: .everyChild)
        try await fixture.base.registry.delete(try HubFixture.id("child"))
        try await fixture.base.registry.delete(try HubFixture.id("gw"))
        #expect(await link.received.first(1).map(\.message) == [.close(reason: .deviceRemoved)])
        #expect(link.received.all.count == 1)
    }

    @Test func lastActivityIsWrittenWhenUpkeepEnds() async throws {
        let who = try await fixture.device("dev-1")
        #expect(hub.activity(of: who) == DeviceActivity())
        let link = fixture.connect(who)
        fixture.base.clock.advance(by: .seconds(60))
        fixture.disconnect(link)
        fixture.base.clock.advance(by: .seconds(60))
        hub.active(who, at: fixture.base.clock.now)
        let upkeep = Task { [hub] in await hub.run() }
        upkeep.cancel()
        await upkeep.value
        let read = try await fixture.restarted().hub.activity(of: who)
        #expect(read.lastActivityAt == fixture.base.clock.now)
        #expect(read.connectionChangedAt == fixture.base.clock.now + .seconds(-60))
    }
}
