import EventLog
import HubContract
import HubHarness
import Listeners
import MQTTCodec
import NIOCore
import Primitives
import SQLiteHubStore
import Sessions
import Telemetry
import Testing

/// Batches, and everything that is not telemetry.
@Suite(.timeLimit(.minutes(2))) struct SessionTrafficTests {
    static let batchBag = "%24.ct=application%2Fvnd.fieldline.batch%2Bjson&%24.ce=utf-8"

    private func reading(_ sequence: UInt64, _ device: String) throws -> SequencedRecord {
        SequencedRecord(
            sequence: sequence,
            record: .reading(
                Reading(
                    device: try ListenerFixture.id(device), metric: "temperature",
                    value: .number(try #require(DecimalText("21.5"))), unit: "Cel",
                    time: WallInstant(milliseconds: 1_795_251_600_000), quality: .good, clock: .synchronised)))
    }

    private func gateway(_ change: (inout BareHub.Options) -> Void = { _ in }) async throws -> ListenerFixture {
        let child = try ListenerFixture.id("thermostat-1")
        let gateway = try ListenerFixture.id("gateway")
        return try await ListenerFixture { options in
            options.gateways = [child: gateway]
            change(&options)
        }
    }

    private func subscribe(_ client: RawClient, _ filters: [String]) async throws -> [UInt8] {
        let before = client.received.count
        let requests = filters.map { Subscribe.Request(topicFilter: $0, qosMax: .atLeastOnce) }
        client.send(Packet.subscribe(Subscribe(packetID: .first, requests: requests)).bytes)
        return Array(try await client.bytes(atLeast: before + 4 + filters.count).dropFirst(before))
    }

    @Test func foreignRecordsAreQuarantinedWithAReceipt() async throws {
        let fixture = try await gateway()
        let client = try await fixture.client("gateway")
        #expect(try await subscribe(client, ["$fieldline/receipts"]) == [0x90, 3, 0, 1, 1])
        let epoch = Epoch(value: 5)
        let batch = Batch(
            epoch: epoch,
            records: [try reading(1, "thermostat-1"), try reading(2, "stranger"), try reading(3, "gateway")])
        let before = client.received.count
        client.send(try Packet.message("devices/gateway/messages/events/" + Self.batchBag, batch.encoded(), id: 4))
        try await fixture.eventually("PUBACK and receipt came") { client.received.count > before + 4 }
        let event = try #require(try fixture.events().first)
        #expect(event.header.isBatch)
        #expect(try Batch(parsing: event.body).records.map(\.sequence) == [1, 3])
        let kept = try fixture.hub.log.quarantine(gateway: nil, countMax: 10)
        #expect(kept.map(\.record.sequence) == [2] && kept.first?.record.code == "childNotInScope")
        let (receipt, ack) = try receiptAndRest(Array(client.received.dropFirst(before)))
        #expect(ack == pubAck(4))
        #expect(receipt.epoch == epoch && receipt.entries.map(\.run) == [Run(start: 2, count: 1)])
        #expect(receipt.entries.first?.reason.contains("'stranger' is no child of gateway 'gateway'") == true)
        #expect(receipt.entries.first?.first?.device.text == "stranger")
        try await fixture.hub.stop()
    }

    @Test func anUnreadableBatchIsQuarantinedWholeAndAcknowledged() async throws {
        let fixture = try await gateway()
        let client = try await fixture.client("gateway")
        _ = try await subscribe(client, ["$fieldline/receipts"])
        let before = client.received.count
        let topic = "devices/gateway/messages/events/" + Self.batchBag
        client.send(try Packet.message(topic, "{not json", id: 4))
        try await fixture.eventually("PUBACK and receipt came") { client.received.count > before + 4 }
        let (receipt, ack) = try receiptAndRest(Array(client.received.dropFirst(before)))
        #expect(ack == pubAck(4) && receipt.epoch == nil && receipt.entries.map(\.code) == [.malformedBatch])
        #expect(try fixture.events().isEmpty)
        #expect(
            try fixture.hub.log.quarantine(gateway: nil, countMax: 9).map(\.record.body) == [Array("{not json".utf8)])
        client.send(
            try Packet.message(topic, Batch(epoch: Epoch(value: 1), records: [try reading(1, "gateway")]).encoded()))
        try await fixture.eventually("the next good batch passes") { try fixture.events().count == 1 }
        try await fixture.hub.stop()
    }

    @Test func aBatchSentAgainIsStoredOnce() async throws {
        let fixture = try await gateway()
        let client = try await fixture.client("gateway")
        let topic = "devices/gateway/messages/events/" + Self.batchBag
        let first = Batch(epoch: Epoch(value: 5), records: [try reading(1, "gateway"), try reading(2, "gateway")])
        let second = Batch(epoch: Epoch(value: 5), records: [try reading(2, "gateway"), try reading(3, "gateway")])
        for (id, batch) in [(1, first), (2, first), (3, second)] {
            client.send(try Packet.message(topic, batch.encoded(), id: UInt16(id)))
        }
        let answer = try await client.bytes(atLeast: 16)
        #expect(Array(answer.dropFirst(4)) == pubAck(1) + pubAck(2) + pubAck(3))
        #expect(try fixture.events().map { try Batch(parsing: $0.body).records.map(\.sequence) } == [[1, 2], [3]])
        try await fixture.hub.stop()
    }

    @Test func aChildsTelemetryIsTheChilds() async throws {
        let fixture = try await gateway()
        let client = try await fixture.client("gateway")
        client.send(try Packet.message("$fieldline/thermostat-1/devices/thermostat-1/messages/events/a=b", "x", id: 1))
        client.send(try Packet.message("$fieldline/stranger/devices/stranger/messages/events/", "y", id: 2))
        client.send(try Packet.message("devices/gateway/messages/events/", "z", id: 3))
        _ = try await client.bytes(atLeast: 16)
        #expect(try fixture.events().map(\.header.device.text) == ["thermostat-1", "gateway"])
        #expect(try fixture.hub.log.quarantine(gateway: nil, countMax: 9).map(\.record.code) == ["childNotInScope"])
        try await fixture.hub.stop()
    }

    @Test func twinRequestsAreAnsweredAndThenAcknowledged() async throws {
        let fixture = try await ListenerFixture()
        let client = try await fixture.client("d")
        client.send(try Packet.message("$iothub/twin/GET/?$rid=r1", " ", id: 1))
        let answer = try await client.bytes(atLeast: 20)
        #expect(Array(answer[4..<8]) == pubAck(1))
        #expect(String(decoding: answer[12...], as: UTF8.self).hasPrefix("$iothub/twin/res/200/?$rid=r1{"))
        client.send(try Packet.message("$iothub/twin/PATCH/properties/reported/?$rid=r2", #"{"a":1}"#, id: 2))
        let more = try await client.bytes(atLeast: answer.count + 40)
        #expect(String(decoding: more, as: UTF8.self).hasSuffix("$iothub/twin/res/204/?$rid=r2&$version=2"))
        try await fixture.hub.stop()
    }

    @Test func telemetryThatIsStoredDoesNotAcknowledgeAPatchThatIsNot() async throws {
        let fixture = try await ListenerFixture { $0.threads = 1 }
        let client = try await fixture.client("d")
        fixture.hub.services.holdPatches()
        client.send(try Packet.message("devices/d/messages/events/", "x", id: 1))
        client.send(try Packet.message("$iothub/twin/PATCH/properties/reported/?$rid=r", #"{"a":1}"#, id: 2))
        client.send(try Packet.message("devices/d/messages/events/", "y", id: 3))
        try await fixture.eventually("both events are stored") { try fixture.events().count == 2 }
        // On one loop a later group's answer follows that of the group with 3; the twin's answer then follows both.
        let other = try await fixture.client("e")
        other.send(try Packet.message("devices/e/messages/events/", "z", id: 9))
        _ = try await other.bytes(atLeast: 8)
        let get = try #require(
            Publish(topicName: "$iothub/twin/GET/?$rid=g", payload: ByteBuffer(), delivery: .atMostOnce))
        client.send(Packet.publish(get).bytes)
        let early = try await client.bytes(atLeast: 12)
        #expect(Array(early[4..<8]) == pubAck(1) && early[8] == 0x30, "2 is not durable: neither 2 nor 3 is answered")
        let before = early.count
        fixture.hub.services.releasePatches()
        let all = try await client.bytes(atLeast: before + 8)
        #expect(Array(all.dropFirst(before).prefix(8)) == pubAck(2) + pubAck(3))
        try await fixture.hub.stop()
    }

    @Test func aConnectionIsReadAgainWhenItsOperationsAreSettled() async throws {
        let fixture = try await ListenerFixture { $0.threads = 1 }
        let client = try await fixture.client("d")
        fixture.hub.services.holdPatches()
        for id in UInt16(1)...1100 {
            client.send(try Packet.message("$iothub/twin/PATCH/properties/reported/?$rid=r", #"{"a":1}"#, id: id))
        }
        try await fixture.eventually("reading is held") { fixture.hub.services.calls.count >= 64 }
        client.send(try Packet.message("devices/d/messages/events/", "after", id: 2000))
        fixture.hub.services.releasePatches()
        try await fixture.eventually("what came after is read") { try fixture.events().count == 1 }
        try await fixture.hub.stop()
    }

    @Test func quarantinedPublishesGiveTheirRoomBack() async throws {
        let fixture = try await gateway { options in
            options.threads = 1
            options.listener.waitingBytesMax = 4096
        }
        let client = try await fixture.client("gateway")
        let bad = String(repeating: "{", count: 1000)
        for id in UInt8(1)...20 {
            client.send(try Packet.message("devices/gateway/messages/events/" + Self.batchBag, bad, id: UInt16(id)))
            #expect(try await client.bytes(atLeast: 4 + 4 * Int(id)).suffix(4) == pubAck(id)[...])
        }
        client.send(try Packet.message("devices/gateway/messages/events/", "good", id: 21))
        #expect(try await client.bytes(atLeast: 88).suffix(4) == pubAck(21)[...])
        try await fixture.hub.stop()
    }

    @Test func subscriptionsOutliveAConnectionAndMethodsReachChildren() async throws {
        let fixture = try await gateway()
        let gateway = HubIdentity(try ListenerFixture.id("gateway"))
        let child = HubIdentity(try ListenerFixture.id("thermostat-1"))
        let first = try await fixture.client("gateway", isClean: false)
        let answer = try await subscribe(
            first, ["$fieldline/+/$iothub/methods/POST/#", "devices/x/messages/devicebound/#"])
        #expect(answer == [0x90, 4, 0, 1, 1, 0x80], "a foreign filter is refused, the other granted")
        first.send(Packet.disconnect.bytes)
        _ = try await first.bytesUntilClosed()
        try await fixture.eventually("the gateway has left") { fixture.hub.connected.link(for: gateway) == nil }

        let second = try await RawClient.connect(port: fixture.hub.port)
        second.send(try fixture.connect("gateway", isClean: false))
        #expect(try await second.bytes(atLeast: 4) == [0x20, 2, 1, 0], "the session is present")
        try await fixture.eventually("the gateway is entered") {
            fixture.hub.connected.isSubscribed(child, .methods)
        }
        let link = try #require(fixture.hub.connected.link(for: child, subscribed: .methods))
        link.deliver(.methodRequest(name: "Reset", rid: "7", payload: []), to: child)
        let request = try await second.bytes(atLeast: 10)
        #expect(
            String(decoding: request.dropFirst(8), as: UTF8.self)
                == "$fieldline/thermostat-1/$iothub/methods/POST/Reset/?$rid=7")
        second.send(try Packet.message("$fieldline/thermostat-1/$iothub/methods/res/200/?$rid=7", "{}", id: 3))
        try await fixture.eventually("the answer came") {
            fixture.hub.services.calls.contains(
                .methodAnswered(child, rid: "7", status: 200, payload: Array("{}".utf8)))
        }
        try await fixture.hub.stop()
    }

    @Test func aCloudToDeviceMessageIsCompletedByItsAcknowledgement() async throws {
        let fixture = try await ListenerFixture()
        let d = HubIdentity(try ListenerFixture.id("d"))
        let client = try await fixture.client("d")
        #expect(try await subscribe(client, ["devices/d/messages/devicebound/#"]) == [0x90, 3, 0, 1, 1])
        try await fixture.eventually("its queue is asked for") {
            fixture.hub.services.calls.contains(.cloudToDeviceReady(d))
        }
        let token = UniqueID(high: 1, low: 2)
        let link = try #require(fixture.hub.connected.link(for: d, subscribed: .cloudToDevice))
        let message = C2DDelivery(lockToken: token, bagText: "%24.mid=1", payload: Array("hello".utf8))
        let before = client.received.count
        link.deliver(.cloudToDevice(message), to: d)
        link.deliver(.cloudToDevice(message), to: d)
        let bytes = Array(try await client.bytes(atLeast: before + 10).dropFirst(before))
        #expect(
            bytes[0] == 0x32
                && String(decoding: bytes, as: UTF8.self).contains("devices/d/messages/devicebound/%24.mid=1"))
        #expect(!fixture.hub.services.calls.contains(.cloudToDeviceCompleted(d, token)))
        client.send(pubAck(1))
        try await fixture.eventually("it is completed") {
            fixture.hub.services.calls.contains(.cloudToDeviceCompleted(d, token))
        }
        // Its queue may have been read before the acknowledgement came.
        link.deliver(.cloudToDevice(message), to: d)
        client.send(Packet.pingReq.bytes)
        let all = try await client.bytes(atLeast: before + bytes.count + 2)
        #expect(Array(all.dropFirst(before)) == bytes + [0xD0, 0], "offered three times, sent once")
        try await fixture.hub.stop()
    }

    /// Takes the PUBLISH out of the bytes; the rest is the acknowledgement, before or behind it.
    private func receiptAndRest(_ bytes: [UInt8]) throws -> (Receipt, [UInt8]) {
        var buffer = ByteBuffer(bytes: bytes)
        var decoder = PacketDecoder()
        var receipt: Receipt?
        var rest: [UInt8] = []
        while let packet = try decoder.next(from: &buffer) {
            if case .publish(let publish) = packet {
                #expect(publish.topicName == "$fieldline/receipts")
                receipt = Receipt(parsing: Array(publish.payload.readableBytesView))
            } else {
                rest += packet.bytes
            }
        }
        return (try #require(receipt), rest)
    }
}
