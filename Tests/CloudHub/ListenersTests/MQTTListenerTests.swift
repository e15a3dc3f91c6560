import EventLog
import Foundation
import HubContract
import HubHarness
import HubTestSupport
import Logging
import MQTTCodec
import Primitives
import SQLiteHubStore
import Sessions
import Telemetry
import Testing

@Suite(.timeLimit(.minutes(2))) struct MQTTListenerTests {
    @Test func mosquittoPublishIsAcknowledgedAndInTheLog() async throws {
        let fixture = try await ListenerFixture()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/mosquitto_pub")
        process.arguments = [
            "-h", "localhost", "-p", "\(fixture.hub.port)", "--cafile",
            ListenerFixture.tlsFolder + "/localhost-cert.pem",
            "-q", "1", "-i", "thermostat-1", "-u", "\(ListenerFixture.host)/thermostat-1/?api-version=2021-04-12",
            "-P", try fixture.token("thermostat-1"), "-t", "devices/thermostat-1/messages/events/kind=test",
            "-m", #"{"temperature":21.5}"#,
        ]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let event = try #require(try fixture.events().first)
        #expect(event.header.device.text == "thermostat-1" && event.header.bag == "kind=test")
        #expect(String(decoding: event.body, as: UTF8.self) == #"{"temperature":21.5}"#)
        #expect(event.header.origin.authType == "sas" && !event.header.isBatch)
        try await fixture.hub.stop()
    }

    @Test func acknowledgementsComeInOrderForACutUpStream() async throws {
        let fixture = try await ListenerFixture()
        let client = try await fixture.client("d")
        var stream: [UInt8] = []
        for id in 1...100 { stream += try Packet.message("devices/d/messages/events/", "m\(id)", id: UInt16(id)) }
        var random = SeededRandom(seed: 3)
        var rest = stream[...]
        while !rest.isEmpty {
            let cut = Int.random(in: 1...min(97, rest.count), using: &random)
            client.send(Array(rest.prefix(cut)))
            rest = rest.dropFirst(cut)
        }
        let answer = try await client.bytes(atLeast: 4 + 400)
        #expect(Array(answer.dropFirst(4)) == (1...100).flatMap { pubAck(UInt8($0)) })
        #expect(try fixture.events().map { String(decoding: $0.body, as: UTF8.self) } == (1...100).map { "m\($0)" })
        try await fixture.hub.stop()
    }

    struct Bad: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let bytes: [UInt8]

        init(_ description: String, _ bytes: [UInt8]) {
            testDescription = description
            self.bytes = bytes
        }
    }

    static let bad: [Bad] = [
        Bad("malformed packet", [0x00, 0x00]),
        Bad("second CONNECT", [0x10, 12, 0, 4, 0x4D, 0x51, 0x54, 0x54, 4, 2, 0, 0, 0, 0]),
        Bad("QoS 2", [0x34, 8, 0, 3, 0x61, 0x2F, 0x62, 0, 1, 0x78]),
        Bad("unknown topic", (try? Packet.message("telemetry/up", "x")) ?? []),
        Bad("topic of another device", (try? Packet.message("devices/other/messages/events/", "x")) ?? []),
        Bad(
            "oversize payload",
            (try? Packet.message("devices/d/messages/events/", [UInt8](repeating: 32, count: 262_145))) ?? []),
        Bad("packet larger than the limit", [0x32, 0xFF, 0xFF, 0xFF, 0x7F]),
    ]

    @Test(arguments: bad) func badInputClosesItsConnectionAndNoOther(_ bad: Bad) async throws {
        let fixture = try await ListenerFixture()
        let other = try await fixture.client("other")
        let client = try await fixture.client("d")
        client.send(try Packet.message("devices/d/messages/events/", "good", id: 7))
        _ = try await client.bytes(atLeast: 8)
        client.send(bad.bytes)
        let all = try await client.bytesUntilClosed()
        #expect(Array(all.dropFirst(4)) == pubAck(7), "nothing bad is acknowledged")
        other.send(try Packet.message("devices/other/messages/events/", "still here", id: 9))
        #expect(try await other.bytes(atLeast: 8).dropFirst(4).elementsEqual(pubAck(9)))
        let again = try await fixture.client("d")
        again.send(try Packet.message("devices/d/messages/events/", "next", id: 8))
        #expect(try await again.bytes(atLeast: 8).dropFirst(4).elementsEqual(pubAck(8)))
        #expect(
            try Set(fixture.events().map { String(decoding: $0.body, as: UTF8.self) }) == [
                "good", "still here", "next",
            ])
        try await fixture.hub.stop()
    }

    @Test func theLargestMessageIsTaken() async throws {
        let fixture = try await ListenerFixture()
        let client = try await fixture.client("d")
        client.send(try Packet.message("devices/d/messages/events/", [UInt8](repeating: 32, count: 262_144)))
        #expect(try await client.bytes(atLeast: 8).dropFirst(4).elementsEqual(pubAck(1)))
        #expect(try fixture.events().first?.body.count == 262_144)
        try await fixture.hub.stop()
    }

    @Test(arguments: ["wrong key", "another device", "expired", "no user name", "other client id"])
    func badCredentialsAreAnsweredWithFive(_ what: String) async throws {
        let fixture = try await ListenerFixture()
        let client = try await RawClient.connect(port: fixture.hub.port)
        let stranger = HarnessAuthority(key: Array("another key".utf8))
        let d = try ListenerFixture.id("d")
        let far: Int64 = 99_999_999_999
        switch what {
        case "wrong key":
            client.send(
                try fixture.connect("d", token: stranger.token(for: d, host: ListenerFixture.host, expiry: far)))
        case "another device": client.send(try fixture.connect("d", token: try fixture.token("e")))
        case "expired": client.send(try fixture.connect("d", token: try fixture.token("d", validFor: -60)))
        case "no user name":
            client.send(Packet.connect(Connect(clientID: "d", isCleanSession: true, keepAliveSeconds: 60)).bytes)
        default:
            let token = Secret(Array(try fixture.token("d").utf8))
            client.send(
                Packet.connect(
                    Connect(
                        clientID: "somebody", isCleanSession: true, keepAliveSeconds: 60,
                        credentials: ("\(ListenerFixture.host)/d/?api-version=2021-04-12", token))
                ).bytes)
        }
        #expect(try await client.bytesUntilClosed() == [0x20, 2, 0, 5])
        try await fixture.hub.stop()
    }

    @Test func aNewerConnectionTakesOver() async throws {
        let fixture = try await ListenerFixture()
        let old = try await fixture.client("d")
        let new = try await fixture.client("d")
        #expect(try await old.bytesUntilClosed().count == 4)
        new.send(try Packet.message("devices/d/messages/events/", "x"))
        #expect(try await new.bytes(atLeast: 8).dropFirst(4).elementsEqual(pubAck(1)))
        let identity = HubIdentity(try ListenerFixture.id("d"))
        #expect(fixture.hub.connected.link(for: identity) != nil)
        #expect(!fixture.hub.services.calls.contains(.disconnected(identity, .takenOver)), "the identity never left")
        try await fixture.hub.stop()
    }

    @Test func theConnectionEndsWithItsToken() async throws {
        let fixture = try await ListenerFixture()
        let client = try await RawClient.connect(port: fixture.hub.port)
        client.send(try fixture.connect("d", token: try fixture.token("d", validFor: 2)))
        let start = ContinuousClock.now
        #expect(try await client.bytesUntilClosed().count == 4)
        #expect(ContinuousClock.now - start < .seconds(10))
        try await fixture.eventually("the hub says why") {
            fixture.hub.services.calls.contains(.disconnected(HubIdentity(try ListenerFixture.id("d")), .tokenExpired))
        }
        try await fixture.hub.stop()
    }

    @Test func aWillIsTelemetryAndOnlyWithoutDisconnect() async throws {
        let fixture = try await ListenerFixture()
        let will = Will(topicName: "devices/d/messages/events/a=b", payload: Array("gone".utf8), qos: .atLeastOnce)
        let polite = try await fixture.client("d", will: will)
        polite.send(Packet.disconnect.bytes)
        _ = try await polite.bytesUntilClosed()
        let lost = try await fixture.client("d", will: will)
        lost.close()
        try await fixture.eventually("the will is in the log") { try !fixture.events().isEmpty }
        let event = try #require(try fixture.events().first)
        #expect(event.header.source == .will && event.header.bag == "a=b&iothub-MessageType=Will")
        try await fixture.hub.stop()
    }

    @Test func aRetainedMessageGetsTheProperty() async throws {
        let fixture = try await ListenerFixture()
        let client = try await fixture.client("d")
        client.send(try Packet.message("devices/d/messages/events/a=b", [1], isRetained: true))
        _ = try await client.bytes(atLeast: 8)
        #expect(try fixture.events().map(\.header.bag) == ["a=b&mqtt-retain=true"])
        try await fixture.hub.stop()
    }

    @Test func stoppingTheHubFlushesWhatIsAcknowledged() async throws {
        let fixture = try await ListenerFixture()
        let client = try await fixture.client("d")
        for id in 1...50 { client.send(try Packet.message("devices/d/messages/events/", "m\(id)", id: UInt16(id))) }
        _ = try await client.bytes(atLeast: 8)
        try await fixture.hub.stop()
        let acknowledged = (try await client.bytesUntilClosed().count - 4) / 4
        let log = try SQLiteEventLog(
            path: fixture.folder.file("log.sqlite"), logger: .init(label: "test"),
            now: { WallInstant(milliseconds: 0) })
        let stored = (0..<log.partitionCount).reduce(0) { $0 + log.nextOffset(partition: $1) }
        #expect(stored >= acknowledged)
        log.close()
    }
}
