import Devices
import HubContract
import HubTestSupport
import Primitives
import Registry
import Sessions
import Testing

/// A delivery is counted when a message goes out, and at no other time: the count decides when it is given up.
@Suite(.timeLimit(.minutes(2))) struct DeliveryCountTests {
    let fixture: DeviceHubFixture
    var hub: DeviceHub { fixture.hub }

    init() async throws { fixture = try await DeviceHubFixture() }

    private func send(_ id: String, to who: HubIdentity) async throws {
        try await hub.sendCloudToDevice(who, message: C2DMessage(id: id, payload: Array(id.utf8), wantsOutcome: true))
    }

    /// Acknowledges the deliveries, and returns what was counted for each.
    private func counts(_ deliveries: [C2DDelivery], of who: HubIdentity) async -> [Int] {
        for delivery in deliveries { hub.cloudToDeviceCompleted(who, lockToken: delivery.lockToken) }
        return await fixture.outcomes.first(deliveries.count).map(\.deliveries)
    }

    @Test func askingAgainForWhatIsUnderWayNeitherCountsNorGivesItUp() async throws {
        let who = try await fixture.device("dev-1")
        try await send("waited", to: who)
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        _ = await link.messages(1)
        for _ in 0..<3 * DeviceHub.deliveriesMax { hub.cloudToDeviceReady(who) }
        try await send("next", to: who)
        let deliveries = await link.messages(2)
        #expect(fixture.outcomes.all.isEmpty)
        #expect(await counts(deliveries, of: who) == [1, 1])
        #expect(link.received.all.count == 2)
    }

    @Test func askingTwiceAtTheSameMomentCountsOnce() async throws {
        let who = try await fixture.device("dev-1")
        for id in ["a", "b"] { try await send(id, to: who) }
        let link = fixture.connect(who)
        for _ in 0..<5 { hub.cloudToDeviceReady(who) }
        #expect(await counts(await link.messages(2), of: who) == [1, 1])
    }

    @Test func aMessageThatGoesOutWhileItsQueueIsAskedForIsCountedOnce() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        let most = 40
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<most {
                group.addTask { try await send("\(number)", to: who) }
                group.addTask { hub.cloudToDeviceReady(who) }
            }
            try await group.waitForAll()
        }
        #expect(await counts(await link.messages(most), of: who) == Array(repeating: 1, count: most))
    }

    @Test func aGatewayThatLeavesRecountsNothingOnTheOwnConnectionOfAChild() async throws {
        try await fixture.base.makeGateway("gw", children: ["child"])
        let child = try fixture.identity("child")
        let gateway = fixture.connect(try fixture.identity("gw"), [.cloudToDevice], scope: .everyChild)
        let link = fixture.connect(child)
        hub.cloudToDeviceReady(child)
        try await send("a", to: child)
        _ = await link.messages(1)
        fixture.disconnect(gateway)
        try await send("b", to: child)
        #expect(await counts(await link.messages(2), of: child) == [1, 1])
    }

    @Test func aMessageWhoseTopicIsTooLongForMQTTIsRefused() async throws {
        try await fixture.base.makeGateway("gw", children: ["child"])
        let child = try fixture.identity("child")
        func properties(_ count: Int) -> PropertyBag {
            var bag = PropertyBag()
            bag.append("p", String(repeating: "x", count: count))
            return bag
        }
        // What stands in the topic beside the property's value, on a gateway's connection.
        let rest =
            "$fieldline/child/devices/child/messages/devicebound/%24.to=%2Fdevices%2Fchild%2Fmessages%2FdeviceBound&%24.mid=m"
            + "&%24.exp=2026-11-21T10%3A00%3A00Z&p="
        let most = 65_535 - rest.utf8.count
        let error = await #expect(throws: HubError.self) {
            try await hub.sendCloudToDevice(child, message: C2DMessage(id: "m", properties: properties(most + 1)))
        }
        #expect(
            error
                == HubError(
                    .messageTooLarge,
                    "the message's properties make its MQTT topic 65536 bytes long; a topic has at most 65535, so shorten the "
                        + "properties or put what they say into the body"))
        try await hub.sendCloudToDevice(child, message: C2DMessage(id: "m", properties: properties(most)))
        #expect(hub.cloudToDeviceCount(of: child.device) == 1)
    }
}
