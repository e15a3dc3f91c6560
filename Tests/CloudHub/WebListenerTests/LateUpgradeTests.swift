import Foundation
import HubHarness
import Listeners
import MQTTCodec
import Testing

@testable import WebListener

/// A WebSocket on a connection that spoke HTTP before.
@Suite struct LateUpgradeTests {
    private static let hello = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
    private static let connAck: [UInt8] = [0x82, 4, 0x20, 2, 0, 0]
    private static let goodbye: [UInt8] = [0x88, 2, 0x03, 0xE8]

    private func pubAck(_ id: UInt8) -> [UInt8] { [0x82, 4, 0x40, 2, 0, id] }

    /// What follows the only 101, and the answers before it.
    private func parts(_ bytes: [UInt8]) throws -> (before: String, after: [UInt8]) {
        let found = bytes.firstRange(of: Array(WebFixture.accepted.utf8))
        let range = try #require(found, "no 101 in \(String(decoding: bytes, as: UTF8.self))")
        return (String(decoding: bytes[..<range.lowerBound], as: UTF8.self), Array(bytes[range.upperBound...]))
    }

    private func answers(_ text: String) -> Int { text.components(separatedBy: "HTTP/1.1 200 OK\r\n").count - 1 }

    @Test(arguments: [false, true]) func anUpgradeMayBeTheThirdRequest(isAllAtOnce: Bool) async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        let frames =
            frame(0x82, try fixture.connect("d")) + frame(0x82, try Packet.message("d", "late", id: 3))
        if isAllAtOnce {
            client.send(Array((Self.hello + Self.hello + WebFixture.upgrade()).utf8) + frames)
        } else {
            for _ in 0..<2 {
                client.send(Self.hello)
                _ = try await client.bytes(endingWith: "hello")
            }
            client.send(WebFixture.upgrade())
            _ = try await client.bytes(endingWith: "\r\n\r\n")
            client.send(frames)
        }
        let expected = Self.connAck + pubAck(3)
        let all = try await client.bytes { $0.suffix(expected.count).elementsEqual(expected) }
        let (before, after) = try parts(all)
        #expect(answers(before) == 2 && before.hasSuffix("hello") && after == expected)
        #expect(try fixture.bodies() == ["late"])
        try await fixture.stop()
    }

    @Test func anUpgradeThatComesByteByByteIsGranted() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        for byte in Array((Self.hello + WebFixture.upgrade()).utf8) + frame(0x82, try fixture.connect("d")) {
            client.send([byte])
        }
        let all = try await client.bytes { $0.suffix(6).elementsEqual(Self.connAck) }
        #expect(answers(try parts(all).before) == 1)
        try await fixture.stop()
    }

    @Test func anUpgradeWaitsForTheAnswersBeforeIt() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send(
            Array(("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n" + Self.hello + WebFixture.upgrade()).utf8)
                + frame(0x82, try fixture.connect("d")))
        while await fixture.gate.arrivals == 0 { await Task.yield() }
        #expect(client.received == [])
        await fixture.gate.open()
        let all = try await client.bytes { $0.suffix(6).elementsEqual(Self.connAck) }
        let (before, after) = try parts(all)
        #expect(answers(before) == 2 && before.contains("waited") && before.hasSuffix("hello") && after == Self.connAck)
        try await fixture.stop()
    }

    /// What is a body stays one, whatever it looks like.
    @Test func anUpgradeInsideABodyIsNone() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        let body = WebFixture.upgrade()
        client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.utf8.count)\r\n\r\n")
        for piece in [body.prefix(20), body.dropFirst(20)] { client.send(String(piece)) }
        let answer = String(decoding: try await client.bytes(endingWith: body), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
        client.send(Self.hello)
        _ = try await client.bytes(endingWith: "hello")
        try await fixture.stop()
    }

    static let refused: [(request: String, status: String)] = [
        (WebFixture.upgrade { $0["Sec-WebSocket-Version"] = "8" }, "426 Upgrade Required"),
        (WebFixture.upgrade { $0["Sec-WebSocket-Protocol"] = "soap" }, "400 Bad Request"),
        (WebFixture.upgrade { $0["Content-Length"] = "4" } + "body", "400 Bad Request"),
        (WebFixture.upgrade { $0["Transfer-Encoding"] = "chunked" } + "0\r\n\r\n", "400 Bad Request"),
        ("GET /$iothub/websocket HTTP/1.1\r\nHost: h\r\n\r\n", "426 Upgrade Required"),
    ]

    @Test(arguments: refused) func aBadUpgradeIsAnsweredAfterTheRestAndTheConnectionCloses(
        request: String, status: String
    ) async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send(Self.hello + request + Self.hello)
        let answer = String(decoding: try await client.bytesUntilClosed(), as: UTF8.self)
        #expect(answers(answer) == 1 && answer.contains("helloHTTP/1.1 \(status)\r\n"), "\(answer)")
        try await fixture.stop()
    }

    @Test func aRequestBehindAnUpgradeIsABrokenFrame() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send(Self.hello + WebFixture.upgrade() + Self.hello)
        let (before, after) = try parts(try await client.bytesUntilClosed())
        #expect(answers(before) == 1 && after == [0x88, 2, 0x03, 0xEA], "it is told 1002 and nothing else")
        try await fixture.stop()
    }

    @Test func nothingIsGrantedBehindARequestThatEndsTheConnection() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + WebFixture.upgrade())
        let answer = String(decoding: try await client.bytesUntilClosed(), as: UTF8.self)
        #expect(answers(answer) == 1 && !answer.contains(" 101 "))
        try await fixture.stop()
    }

    /// The decoder reads no request behind one for another protocol, so the client must not wait for its answer.
    @Test func anUpgradeOnAnotherPathIsIgnoredAndEndsTheConnection() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + Self.hello)
        let answer = String(decoding: try await client.bytesUntilClosed(), as: UTF8.self)
        #expect(answers(answer) == 1 && answer.hasSuffix("hello"))
        try await fixture.stop()
    }

    @Test func whoLeavesWhileItsUpgradeWaitsLeavesNothingBehind() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n" + WebFixture.upgrade())
        while await fixture.gate.arrivals == 0 { await Task.yield() }
        client.close()
        await fixture.gate.open()
        let other = try await RawClient.connect(port: fixture.port)
        other.send(Self.hello)
        _ = try await other.bytes(endingWith: "hello")
        #expect(fixture.hub.listener.counts.connectionsOpened == 0)
        try await fixture.stop()
    }

    /// The time-out of HTTP is not that of the device, which is let go by its keep-alive.
    @Test func theDeadlinesOfHTTPEndWithIt() async throws {
        let fixture = try await WebFixture(web: { $0.idleTimeout = .milliseconds(300) })
        let client = try await RawClient.connect(port: fixture.port)
        client.send(
            Array((Self.hello + WebFixture.upgrade()).utf8) + frame(0x82, try fixture.connect("d", keepAlive: 1)))
        _ = try await client.bytes { $0.suffix(6).elementsEqual(Self.connAck) }
        let start = ContinuousClock.now
        let (_, after) = try parts(try await client.bytesUntilClosed())
        #expect(after == Self.connAck + Self.goodbye && ContinuousClock.now - start > .seconds(1))
        try await fixture.stop()
    }

    @Test func stoppingTheHubClosesItToo() async throws {
        let fixture = try await WebFixture()
        let client = try await RawClient.connect(port: fixture.port)
        client.send(Array((Self.hello + WebFixture.upgrade()).utf8) + frame(0x82, try fixture.connect("d")))
        _ = try await client.bytes { $0.suffix(6).elementsEqual(Self.connAck) }
        await fixture.hub.listener.stop()
        #expect(try parts(try await client.bytesUntilClosed()).after == Self.connAck + Self.goodbye)
        try await fixture.stop()
    }
}
