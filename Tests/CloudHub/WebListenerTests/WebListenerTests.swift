import Foundation
import HubHarness
import Listeners
import MQTTCodec
import Primitives
import Testing

@testable import WebListener

private func pubAck(_ id: UInt8) -> [UInt8] { [0x40, 2, 0, id] }

@Suite struct MQTTOverWebSocketTests {
    @Test(arguments: ["", "?iothub-no-client-cert=true"]) func telemetryIsDurableWhenItsPubAckComes(
        query: String
    ) async throws {
        let fixture = try await WebFixture()
        let client = try await fixture.webSocket(query: query)
        client.send(frame(0x82, try fixture.connect("d")))
        let device = WebDevice(client: client)
        #expect(try await device.received(6) == [0x82, 4, 0x20, 2, 0, 0])
        client.send(frame(0x82, try Packet.message("d", "hello", id: 7)))
        #expect(try await device.received(12).suffix(6) == [0x82, 4] + pubAck(7))
        #expect(try fixture.bodies() == ["hello"])
        #expect(fixture.hub.listener.counts.connectsAccepted == 1)
        try await fixture.stop()
    }

    @Test func theAcknowledgementsOfAGroupAreOneFrame() async throws {
        let fixture = try await WebFixture()
        let device = try await fixture.device("d")
        let packets = try (1...50).flatMap { try Packet.message("d", "m\($0)", id: UInt16($0)) }
        device.client.send(frame(0x82, packets))
        let answer = try await device.received(6 + 4 + 200).dropFirst(6)
        #expect(Array(answer.prefix(4)) == [0x82, 126, 0, 200])
        #expect(Array(answer.dropFirst(4)) == (1...50).flatMap { pubAck(UInt8($0)) })
        try await fixture.stop()
    }

    @Test func aPacketMayBeCutIntoFramesAndFragmentsInAnyWay() async throws {
        let fixture = try await WebFixture()
        let device = try await fixture.device("d")
        let packet = try Packet.message("d", "in pieces", id: 1)
        device.client.send(packet.flatMap { frame(0x82, [$0]) })
        #expect(try await device.received(12).suffix(4) == pubAck(1))
        let half = packet.count / 2
        device.client.send(frame(0x02, Array(packet.prefix(half))))
        device.client.send(frame(0x89, [42]))
        #expect(try await device.received(15).suffix(3) == [0x8A, 1, 42], "the ping is answered in between")
        device.client.send(frame(0x80, Array(packet.dropFirst(half))))
        #expect(try await device.received(21).suffix(4) == pubAck(1))
        #expect(try fixture.bodies() == ["in pieces", "in pieces"])
        try await fixture.stop()
    }

    @Test func framesThatComeWithTheRequestAreNotLost() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send(
            Array(WebFixture.upgrade().utf8) + frame(0x82, try fixture.connect("d"))
                + frame(0x82, try Packet.message("d", "early", id: 3)))
        #expect(try await WebDevice(client: client).received(12) == [0x82, 4, 0x20, 2, 0, 0, 0x82, 4] + pubAck(3))
        try await fixture.stop()
    }

    @Test func theLargestMessageComesThrough() async throws {
        let fixture = try await WebFixture()
        let device = try await fixture.device("d")
        let packet = try Packet.message("d", String(repeating: "x", count: 262_144), id: 1)
        for start in stride(from: 0, to: packet.count, by: 60_000) {
            let piece = Array(packet[start..<min(start + 60_000, packet.count)])
            let isLast = start + 60_000 >= packet.count
            device.client.send(frame((start == 0 ? 0x02 : 0x00) | (isLast ? 0x80 : 0), piece))
        }
        #expect(try await device.received(12).suffix(4) == pubAck(1))
        try await fixture.stop()
    }

    @Test func aConnectionByTheOtherPortTakesOver() async throws {
        let fixture = try await WebFixture()
        let old = try await fixture.device("d")
        let new = try await RawClient.connect(port: fixture.hub.port)
        new.send(try fixture.connect("d"))
        #expect(try await new.bytes(atLeast: 4) == [0x20, 2, 0, 0])
        #expect(try await old.untilClosed().dropFirst(6).elementsEqual([0x88, 2, 0x03, 0xE8]), "it is told 1000")
        try await fixture.stop()
    }

    @Test func aCloseIsAnsweredAndEndsTheConnection() async throws {
        let fixture = try await WebFixture()
        let device = try await fixture.device("d")
        device.client.send(frame(0x88, [0x03, 0xE9]))
        #expect(try await device.untilClosed().dropFirst(6).elementsEqual([0x88, 2, 0x03, 0xE9]))
        try await fixture.stop()
    }

    @Test func stoppingTheHubClosesWebSocketsToo() async throws {
        let fixture = try await WebFixture()
        let device = try await fixture.device("d")
        await fixture.hub.listener.stop()
        #expect(try await device.untilClosed().dropFirst(6).elementsEqual([0x88, 2, 0x03, 0xE8]))
        try await fixture.stop()
    }

    struct Bad: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let bytes: [UInt8]
        let code: UInt16

        init(_ what: String, _ bytes: [UInt8], _ code: UInt16) {
            (testDescription, self.bytes, self.code) = (what, bytes, code)
        }
    }

    static let bad: [Bad] = [
        Bad("text", frame(0x81, [1]), 1003), Bad("no mask", [0x82, 1, 0], 1002),
        Bad("reserved bits", frame(0xC2, [1]), 1002), Bad("a continuation of nothing", frame(0x80, [1]), 1002),
        Bad("longer than the longest packet", [0x82, 0xFF, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4], 1009),
        Bad("a close code that may not be sent", frame(0x88, [0x03, 0xED]), 1002),
        Bad("malformed MQTT", frame(0x82, [0, 0]), 1000),
    ]

    @Test(arguments: bad) func badFramesCloseTheirConnectionWithACodeAndNoOther(_ bad: Bad) async throws {
        let fixture = try await WebFixture()
        let other = try await fixture.device("other")
        let device = try await fixture.device("d")
        device.client.send(bad.bytes)
        let close = [0x88, 2, UInt8(bad.code >> 8), UInt8(bad.code & 0xFF)]
        #expect(try await device.untilClosed().dropFirst(6).elementsEqual(close))
        other.client.send(frame(0x82, try Packet.message("other", "still here", id: 9)))
        #expect(try await other.received(12).suffix(4) == pubAck(9))
        try await fixture.stop()
    }

    @Test func silenceAfterTheUpgradeEndsAtTheConnectTimeout() async throws {
        let fixture = try await WebFixture(hub: { $0.listener.connectTimeout = .seconds(1) })
        let client = try await fixture.webSocket()
        #expect(try await WebDevice(client: client).untilClosed() == [0x88, 2, 0x03, 0xE8])
        try await fixture.stop()
    }
}

@Suite struct WebPortTests {
    private static let hello = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test(arguments: [[], ["http/1.1"], ["h2", "http/1.1"], ["x-amzn-mqtt-ca"]]) func everythingElseIsHTTP(
        protocols: [String]
    ) async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port, protocols: protocols)
        for round in 1...2 {
            client.send(Self.hello)
            let answer = text(try await client.bytes(atLeast: round * 100))
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
        }
        client.close()
        try await fixture.stop()
    }

    @Test func plainMQTTIsSpokenWhenTheClientOffersIt() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port, protocols: ["http/1.1", "mqtt"])
        client.send(try fixture.connect("d"))
        #expect(try await client.bytes(atLeast: 4) == [0x20, 2, 0, 0])
        client.send(try Packet.message("d", "plain", id: 2))
        #expect(try await client.bytes(atLeast: 8).suffix(4) == pubAck(2))
        #expect(try fixture.bodies() == ["plain"])
        try await fixture.stop()
    }

    @Test func anAnswerCarriesDateAndServer() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        let answer = text(try await client.bytesUntilClosed()).lowercased()
        #expect(answer.contains("date: thu, 01 jan 1970 00:00:00 gmt\r\n") && answer.contains("server: fieldline\r\n"))
        #expect(answer.hasSuffix("\r\n\r\nhello"))
        try await fixture.stop()
    }

    @Test func bodiesReachTheRoutes() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab")
        client.send("cde")
        #expect(text(try await client.bytesUntilClosed()).hasSuffix("\r\n\r\nabcde"))
        try await fixture.stop()
    }

    static let refusals: [(request: String, status: String)] = [
        (WebFixture.upgrade { $0["Sec-WebSocket-Version"] = "8" }, "426 Upgrade Required"),
        (WebFixture.upgrade { $0["Upgrade"] = "x" }, "426 Upgrade Required"),
        (WebFixture.upgrade { $0["Sec-WebSocket-Key"] = "?" }, "400 Bad Request"),
        (WebFixture.upgrade { $0["Sec-WebSocket-Protocol"] = "soap" }, "400 Bad Request"),
        (WebFixture.upgrade { $0["X"] = String(repeating: "x", count: 40_000) }, "431 Request Header Fields Too Large"),
        ("GET /$iothub/websocket nonsense\r\n\r\n", "400 Bad Request"),
        (
            "GET /hello HTTP/1.1\r\nX: \(String(repeating: "x", count: 40_000))\r\n\r\n",
            "431 Request Header Fields Too Large"
        ),
        (
            "GET /hello HTTP/1.1\r\n" + String(repeating: "x: y\r\n", count: 200) + "\r\n",
            "431 Request Header Fields Too Large"
        ),
        ("GET /\(String(repeating: "x", count: 40_000)) HTTP/1.1\r\n\r\n", "431 Request Header Fields Too Large"),
        ("\u{0}\u{1}\u{2}garbage\r\n\r\n", "400 Bad Request"),
    ]

    @Test(arguments: refusals) func badRequestsAreAnsweredAndTheConnectionCloses(
        request: String, status: String
    ) async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send(request)
        let answer = text(try await client.bytesUntilClosed())
        #expect(answer.hasPrefix("HTTP/1.1 \(status)\r\n"), "\(answer.prefix(200))")
        #expect(answer.components(separatedBy: "HTTP/1.1 ").count == 2, "one answer and no more")
        try await fixture.stop()
    }

    /// Each sends a byte now and then, never enough.
    @Test(arguments: ["", "GET /$iothub/web", "GET /$iothub/websocket HTTP/1.1\r\nX: ", "GET /hello HTTP/1.1\r\nX: "])
    func aSlowPeerIsClosedAtTheDeadline(start: String) async throws {
        let fixture = try await WebFixture(web: { $0.requestTimeout = .seconds(2) })
        let client = try await RawClient.connect(port: fixture.port)
        client.send(start)
        let drip = Task {
            while !Task.isCancelled {
                if !start.isEmpty, !start.hasSuffix("web") { client.send("x") }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let answer = text(try await client.bytesUntilClosed())
        drip.cancel()
        #expect(start.isEmpty ? answer.isEmpty : answer.hasPrefix("HTTP/1.1 408 Request Timeout\r\n"))
        try await fixture.stop()
    }

    @Test func anIdleConnectionIsClosed() async throws {
        let fixture = try await WebFixture(web: { $0.idleTimeout = .seconds(1) })
        let client = try await RawClient.connect(port: fixture.port)
        client.send(Self.hello)
        let answer = text(try await client.bytesUntilClosed())
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n") && answer.hasSuffix("hello"))
        try await fixture.stop()
    }

    @Test(arguments: [[], [0x16, 3, 1, 2, 0]] as [[UInt8]]) func aHandshakeHeldOpenIsClosedAtTheDeadline(
        start: [UInt8]
    ) async throws {
        let fixture = try await WebFixture(web: { $0.requestTimeout = .seconds(1) })
        let client = try await RawClient.connectPlainly(port: fixture.port)
        client.send(start)
        #expect(try await client.bytesUntilClosed() == [])
        try await fixture.stop()
    }

    @Test func moreConnectionsThanTheLimitAreClosedAndRoomIsGivenBack() async throws {
        let fixture = try await WebFixture(web: { $0.connectionsMax = 2 })
        let first = try await fixture.device("a")
        _ = try await fixture.device("b")
        let third = try await RawClient.connectPlainly(port: fixture.port)
        #expect(try await third.bytesUntilClosed() == [])
        first.client.close()
        let end = ContinuousClock.now + .seconds(20)
        while true {
            let again = try await RawClient.connect(port: fixture.port)
            again.send(Self.hello)
            if try await again.bytes(atLeast: 17).starts(with: "HTTP/1.1 200 OK\r\n".utf8) { break }
            try #require(ContinuousClock.now < end, "the room of the one that left is free")
        }
        try await fixture.stop()
    }
}
