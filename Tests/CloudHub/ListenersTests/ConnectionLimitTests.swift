import EventLog
import HubContract
import HubHarness
import Listeners
import MQTTCodec
import NIOCore
import Primitives
import SQLiteHubStore
import Sessions
import Testing

/// What one connection can make the hub do: bounded, and only for itself and its own children.
@Suite(.timeLimit(.minutes(2))) struct ConnectionLimitTests {
    private func subscribe(_ client: RawClient, _ filters: [String]) async throws -> [UInt8] {
        let before = client.received.count
        let requests = filters.map { Subscribe.Request(topicFilter: $0, qosMax: .atLeastOnce) }
        client.send(Packet.subscribe(Subscribe(packetID: .first, requests: requests)).bytes)
        return Array(try await client.bytes(atLeast: before + 4 + filters.count).dropFirst(before))
    }

    @Test func onlyAGatewayOfItsOwnOpensTheQueueOfAChild() async throws {
        let child = try ListenerFixture.id("thermostat-1")
        let gateway = try ListenerFixture.id("gateway")
        let fixture = try await ListenerFixture { $0.gateways = [child: gateway] }
        let filters = ["$fieldline/thermostat-1/devices/thermostat-1/messages/devicebound/#"]
        let stranger = try await fixture.client("stranger")
        #expect(try await subscribe(stranger, filters) == [0x90, 3, 0, 1, 1], "it may become its gateway later")
        let mine = try await fixture.client("gateway")
        _ = try await subscribe(mine, filters)
        func asked() -> Int { fixture.hub.services.calls.count { $0 == .cloudToDeviceReady(HubIdentity(child)) } }
        try await fixture.eventually("its own gateway opens it") { asked() > 0 }
        #expect(asked() == 1, "the stranger asked before")
        try await fixture.hub.stop()
    }

    @Test func aDisabledChildIsRefusedThroughItsGatewayAndTheOthersGoOn() async throws {
        let off = try ListenerFixture.id("off")
        let gateway = try ListenerFixture.id("gateway")
        let fixture = try await ListenerFixture { options in
            options.gateways = [off: gateway]
            options.disabled = [off]
        }
        let client = try await fixture.client("gateway")
        _ = try await subscribe(client, ["$fieldline/off/devices/off/messages/devicebound/#"])
        let before = client.received.count
        let asked = [
            "$fieldline/off/devices/off/messages/events/", "$fieldline/off/$iothub/methods/res/200/?$rid=1",
            "devices/gateway/messages/events/", "$fieldline/off/$iothub/twin/PATCH/properties/reported/?$rid=2",
        ]
        for (place, topic) in asked.enumerated() {
            client.send(try Packet.message(topic, #"{"a":1}"#, id: UInt16(place) + 10))
        }
        let answer = "$fieldline/off/$iothub/twin/res/401/?$rid=2"
        let bytes = try await client.bytes(atLeast: before + 16 + 4 + answer.utf8.count).dropFirst(before)
        #expect(String(decoding: bytes, as: UTF8.self).contains(answer))
        #expect(try fixture.events().map(\.header.device) == [gateway])
        let kept = try fixture.hub.log.quarantine(gateway: nil, countMax: 9).map(\.record)
        #expect(kept.map(\.code) == ["deviceDisabled"])
        #expect(
            kept.map(\.reason) == [
                "'off' is disabled in the hub's registry; enable it there, or remove the sensor from the gateway's "
                    + "configuration"
            ])
        #expect(fixture.hub.services.calls == [.connected(HubIdentity(gateway))], "no room behind was asked anything")
        try await fixture.hub.stop()
    }

    @Test func twinRequestsWithoutAnAcknowledgementHoldReadingUntilTheyAreAnswered() async throws {
        let fixture = try await ListenerFixture { $0.threads = 1 }
        let client = try await fixture.client("d")
        fixture.hub.services.holdPatches()
        let patch = try #require(
            Publish(
                topicName: "$iothub/twin/PATCH/properties/reported/?$rid=r",
                payload: ByteBuffer(bytes: Array(#"{"a":1}"#.utf8)), delivery: .atMostOnce))
        let count = 40_000
        let packet = Packet.publish(patch).bytes
        client.send([[UInt8]](repeating: packet, count: count).flatMap(\.self))
        client.send(try Packet.message("devices/d/messages/events/", "after", id: 2))
        func asked() -> Int { fixture.hub.services.calls.count }
        try await fixture.eventually("requests came") { asked() >= 64 }
        // Each answer to another client of the same loop ends a turn in which the first would have been read.
        let other = try await fixture.client("e")
        for turn in 1...100 {
            other.send(Packet.pingReq.bytes)
            _ = try await other.bytes(atLeast: 4 + 2 * turn)
        }
        #expect(asked() < count / 4, "what one read brought is taken, no more")
        #expect(try fixture.events().isEmpty)
        fixture.hub.services.releasePatches()
        try await fixture.eventually("all is read once they are answered") { try fixture.events().count == 1 }
        try await fixture.hub.stop()
    }

    @Test func aMessageThatCannotBeWrittenTakesNoRoomFromTheNext() async throws {
        let fixture = try await ListenerFixture()
        let d = HubIdentity(try ListenerFixture.id("d"))
        let client = try await fixture.client("d")
        _ = try await subscribe(client, ["devices/d/messages/devicebound/#"])
        let link = try #require(fixture.hub.connected.link(for: d, subscribed: .cloudToDevice))
        let before = client.received.count
        func deliver(_ number: UInt64, _ bag: String) {
            link.deliver(
                .cloudToDevice(C2DDelivery(lockToken: UniqueID(high: 7, low: number), bagText: bag, payload: [])), to: d
            )
        }
        for number in 0..<200 { deliver(UInt64(number), "p=" + String(repeating: "x", count: 66_000)) }
        deliver(1000, "%24.mid=good")
        let topic = "devices/d/messages/devicebound/%24.mid=good"
        let bytes = Array(try await client.bytes(atLeast: before + 6 + topic.utf8.count).dropFirst(before))
        #expect(bytes.first == 0x32 && String(decoding: bytes, as: UTF8.self).contains(topic))
        #expect(!fixture.hub.services.calls.contains { if case .cloudToDeviceCompleted = $0 { true } else { false } })
        try await fixture.hub.stop()
    }
}
