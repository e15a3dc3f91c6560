import Devices
import HubContract
import HubTestSupport
import JSON
import Primitives
import Registry
import Sessions
import Testing

@Suite struct CloudToDeviceTests {
    let fixture: DeviceHubFixture
    var hub: DeviceHub { fixture.hub }
    var clock: TestClock { fixture.base.clock }

    init() async throws { fixture = try await DeviceHubFixture() }

    private func send(_ id: String, to who: HubIdentity, for time: Duration? = nil, wantsOutcome: Bool = false)
        async throws
    {
        try await hub.sendCloudToDevice(
            who,
            message: C2DMessage(
                id: id, payload: Array(id.utf8), expiresAt: time.map { clock.now + $0 }, wantsOutcome: wantsOutcome))
    }

    private func ids(_ deliveries: [C2DDelivery]) -> [String] {
        deliveries.map { String(decoding: $0.payload, as: UTF8.self) }
    }

    @Test func waitingMessagesGoOutInOrderOnceTheDeviceSubscribed() async throws {
        let who = try await fixture.device("dev-1")
        for id in ["a", "b"] { try await send(id, to: who) }
        #expect(hub.cloudToDeviceCount(of: who.device) == 2)
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        try await send("c", to: who)
        #expect(ids(await link.messages(3)) == ["a", "b", "c"])
    }

    @Test func bagNamesReceiverMessageAndExpiryFirst() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        var bag = PropertyBag()
        bag.append("prop", "a b/c")
        bag.append("$.mid", "forged")
        try await hub.sendCloudToDevice(who, message: C2DMessage(id: "m 1", properties: bag))
        #expect(
            await link.messages(1).first?.bagText
                == "%24.to=%2Fdevices%2Fdev-1%2Fmessages%2FdeviceBound&%24.mid=m%201&%24.exp=2026-11-21T10%3A00%3A00Z"
                + "&prop=a%20b%2Fc")
    }

    @Test func acknowledgementCompletesTheMessage() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        try await send("a", to: who)
        let delivery = try #require(await link.messages(1).first)
        hub.cloudToDeviceCompleted(who, lockToken: delivery.lockToken)
        let outcome = await fixture.outcomes.first(1)[0]
        #expect(outcome.messageID == "a" && outcome.kind == .completed && outcome.device == who.device)
        #expect(hub.cloudToDeviceCount(of: who.device) == 0)
        hub.cloudToDeviceCompleted(who, lockToken: delivery.lockToken)
        try await send("b", to: who)
        #expect(ids(await link.messages(2)) == ["a", "b"])
        #expect(fixture.outcomes.all.count == 1)
    }

    @Test func unacknowledgedMessageComesAgainAfterAReconnectButNotBefore() async throws {
        let who = try await fixture.device("dev-1")
        let first = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        try await send("a", to: who)
        hub.cloudToDeviceReady(who)
        try await send("b", to: who)
        #expect(ids(await first.messages(2)) == ["a", "b"])
        fixture.disconnect(first)
        let second = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        #expect(ids(await second.messages(2)) == ["a", "b"])
        #expect(first.received.all.count == 2)
    }

    @Test func queueOutlivesARestart() async throws {
        let who = try await fixture.device("dev-1")
        try await send("a", to: who)
        let (again, connected) = try await fixture.restarted()
        #expect(again.cloudToDeviceCount(of: who.device) == 1)
        let link = TestLink(who)
        _ = connected.connect(link, subscriptions: [StoredSubscription(subscription: .cloudToDevice)])
        again.cloudToDeviceReady(who)
        #expect(ids(await link.messages(1)) == ["a"])
    }

    @Test func fiftyFirstMessageIsRefused() async throws {
        let who = try await fixture.device("dev-1")
        for number in 0..<50 { try await send("\(number)", to: who) }
        let error = await #expect(throws: HubError.self) { try await send("50", to: who) }
        #expect(error == HubError(.deviceMaximumQueueDepthExceeded, "50 messages wait for device dev-1 already"))
        let other = try await fixture.device("dev-2")
        try await send("first", to: other)
    }

    @Test func expiredMessageIsNeverDelivered() async throws {
        let who = try await fixture.device("dev-1")
        try await send("short", to: who, for: .seconds(10))
        try await send("long", to: who, for: .seconds(100))
        clock.advance(by: .seconds(10))
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        #expect(ids(await link.messages(1)) == ["long"])
        let outcome = await fixture.outcomes.first(1)[0]
        #expect(outcome.messageID == "short" && outcome.kind == .expired)
    }

    @Test func expiryIsNoticedWithoutTheDeviceComing() async throws {
        let who = try await fixture.device("dev-1")
        try await send("a", to: who, for: .seconds(10), wantsOutcome: true)
        let upkeep = Task { [hub] in await hub.run() }
        clock.advance(by: .seconds(11))
        let outcome = await fixture.outcomes.first(1)[0]
        upkeep.cancel()
        #expect(outcome.kind == .expired && outcome.isStored)
        #expect(hub.cloudToDeviceCount(of: who.device) == 0)
    }

    @Test func tenthDeliveryWithoutAnswerIsTheLast() async throws {
        let who = try await fixture.device("dev-1")
        try await send("poison", to: who)
        for _ in 0..<DeviceHub.deliveriesMax {
            let link = fixture.connect(who)
            hub.cloudToDeviceReady(who)
            #expect(ids(await link.messages(1)) == ["poison"])
            fixture.disconnect(link)
        }
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        #expect(await fixture.outcomes.first(1)[0].kind == .deliveryCountExceeded)
        #expect(link.received.all.isEmpty)
    }

    @Test func wantedOutcomesStayUntilTheyAreHandled() async throws {
        let who = try await fixture.device("dev-1")
        let gone = try await fixture.device("gone")
        try await send("unasked", to: who)
        try await send("asked", to: who, wantsOutcome: true)
        try await send("lost", to: gone, wantsOutcome: true)
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        for delivery in await link.messages(2) { hub.cloudToDeviceCompleted(who, lockToken: delivery.lockToken) }
        _ = await fixture.outcomes.first(2)
        try await fixture.base.registry.delete(gone.device)
        let again = try await fixture.restarted().hub
        let stored = try await again.storedOutcomes()
        #expect(stored.map(\.messageID) == ["asked", "lost"])
        #expect(stored.map(\.kind) == [.completed, .purged])
        #expect(stored.map(\.deliveries) == [1, 0])
        #expect(try await again.cloudToDeviceFate(of: "asked", for: who.device) == .ended(stored[0]))
        try await again.outcomesHandled(stored.map(\.token))
        #expect(try await again.storedOutcomes().isEmpty)
        #expect(try await again.cloudToDeviceFate(of: "asked", for: who.device) == .unknown)
    }

    /// What is handed over without an acknowledgement may have been obeyed: the outcome must not say otherwise.
    @Test func everyDeliveryIsCountedEvenTheOneThatGoesOutAtOnce() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        try await send("first", to: who, for: .seconds(10), wantsOutcome: true)
        #expect(ids(await link.messages(1)) == ["first"])
        try await send("at once", to: who, for: .seconds(10), wantsOutcome: true)
        #expect(ids(await link.messages(2)) == ["first", "at once"])
        fixture.disconnect(link)
        try await send("never", to: who, for: .seconds(10), wantsOutcome: true)
        #expect(try await hub.cloudToDeviceFate(of: "never", for: who.device) == .waits)
        clock.advance(by: .seconds(10))
        hub.cloudToDeviceReady(who)
        let upkeep = Task { [hub] in await hub.run() }
        let outcomes = await fixture.outcomes.first(3)
        upkeep.cancel()
        #expect(outcomes.map(\.kind) == [.expired, .expired, .expired])
        #expect(outcomes.map { $0.deliveries > 0 } == [true, true, false])
    }

    @Test func childsMessagesGoThroughItsGateway() async throws {
        try await fixture.base.makeGateway("gw", children: ["c-1", "c-2"])
        let child = try fixture.identity("c-1")
        try await send("waited", to: child)
        let gateway = try fixture.identity("gw")
        let link = fixture.connect(gateway, [.cloudToDevice], scope: .everyChild)
        hub.cloudToDeviceReady(gateway)
        #expect(ids(await link.messages(1)) == ["waited"])
        try await send("late", to: try fixture.identity("c-2"))
        #expect(await link.received.first(2).map(\.target.description) == ["c-1", "c-2"])
    }

    @Test func wrongMessagesAreRefused() async throws {
        let who = try await fixture.device("dev-1")
        func code(_ who: HubIdentity, _ message: C2DMessage) async -> HubErrorCode? {
            do throws(HubError) {
                try await hub.sendCloudToDevice(who, message: message)
                return nil
            } catch { return error.code }
        }
        let good = C2DMessage(id: "m")
        #expect(await code(try fixture.identity("ghost"), good) == .deviceNotFound)
        #expect(await code(try fixture.identity("dev-1/m"), good) == .invalidOperation)
        #expect(await code(who, C2DMessage(id: "")) == .argumentInvalid)
        #expect(await code(who, C2DMessage(id: "m", expiresAt: clock.now)) == .argumentInvalid)
        #expect(await code(who, C2DMessage(id: "m", expiresAt: clock.now + .seconds(200_000))) == .argumentInvalid)
        let large = C2DMessage(id: "m", payload: Array(repeating: 0, count: DeviceHub.cloudToDeviceBytesMax))
        #expect(await code(who, large) == .messageTooLarge)
        #expect(hub.cloudToDeviceCount(of: who.device) == 0)
    }

    @Test func purgeEmptiesTheQueue() async throws {
        let who = try await fixture.device("dev-1")
        for id in ["a", "b"] { try await send(id, to: who) }
        #expect(try await hub.purgeCloudToDevice(of: who.device) == 2)
        #expect(fixture.outcomes.all.map(\.kind) == [.purged, .purged])
        #expect(hub.cloudToDeviceCount(of: who.device) == 0)
    }
}
