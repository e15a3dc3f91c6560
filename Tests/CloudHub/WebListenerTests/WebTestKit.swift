import EventLog
import Foundation
import HubContract
import HubHarness
import HubTestSupport
import Hummingbird
import Listeners
import Logging
import MQTTCodec
import NIOCore
import Primitives
import SQLiteHubStore
import Testing

@testable import WebListener

/// A hub with both ports, and clients for them.
struct WebFixture {
    let folder: TemporaryFolder
    let hub: BareHub
    let web: WebListener
    let port: Int
    /// What `/wait` waits for.
    let gate = Gate()
    static let host = "hub.example"

    init(
        hub change: (inout BareHub.Options) -> Void = { _ in },
        web configure: (inout WebListener.Configuration) -> Void = { _ in }
    ) async throws {
        folder = try TemporaryFolder()
        var options = BareHub.Options()
        options.log.partitionCount = 2
        options.log.reserveBytes = 0
        change(&options)
        hub = try await BareHub(folder: folder.path, tls: Self.tlsFolder, options: options)
        var configuration = WebListener.Configuration()
        configuration.port = 0
        configure(&configuration)
        let router = Router(context: WebRequestContext.self)
        router.get("/hello") { _, _ in "hello" }
        router.post("/echo") { request, _ in
            let body = try await request.body.collect(upTo: 1 << 20)
            return String(buffer: body)
        }
        router.get("/wait") { [gate] _, _ in
            await gate.opened()
            return "waited"
        }
        router.get("/me") { _, context in
            "\(context.peer.address ?? "") \(context.peer.certificate?.chain.count ?? 0)"
        }
        web = WebListener(
            configuration: configuration, security: .tls(hub.tls, hub.admission, mqtt: hub.listener.connections),
            responder: router.buildResponder(),
            runtime: .init(group: hub.group, logger: options.logger, now: { WallInstant(milliseconds: 0) }))
        port = try await web.start()
    }

    private static var tlsFolder: String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Golden/tls").path
    }

    func stop() async throws {
        await web.stop()
        try await hub.stop()
    }

    // MARK: - MQTT

    func connect(_ device: String, keepAlive: UInt16 = 60) throws -> [UInt8] {
        let id = try #require(DeviceID(device))
        let token = hub.authority.token(
            for: id, host: Self.host, expiry: Int64(Date().timeIntervalSince1970) + 3600)
        let connect = Connect(
            clientID: device, isCleanSession: true, keepAliveSeconds: keepAlive,
            credentials: ("\(Self.host)/\(device)/?api-version=2021-04-12", Secret(Array(token.utf8))))
        return Packet.connect(connect).bytes
    }

    func bodies() throws -> [String] {
        try (0..<hub.log.partitionCount).flatMap {
            try hub.log.read(partition: $0, from: 0, eventsMax: .max, bytesMax: .max)
        }.map { String(decoding: $0.body, as: UTF8.self) }
    }

    // MARK: - WebSocket

    static let accepted =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        + "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: mqtt\r\n"
        // For devices without a clock.
        + "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"

    static func upgrade(_ change: (inout [String: String]) -> Void = { _ in }, query: String = "") -> String {
        var headers = [
            "Host": host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt",
        ]
        change(&headers)
        let lines = headers.map { "\($0): \($1)\r\n" }.joined()
        return "GET /$iothub/websocket\(query) HTTP/1.1\r\n\(lines)\r\n"
    }

    /// A WebSocket that is open; nothing but the answer to its request was received.
    func webSocket(query: String = "") async throws -> RawClient {
        let client = try await RawClient.connect(port: port)
        client.send(Self.upgrade(query: query))
        let answer = try await client.bytes(endingWith: "\r\n\r\n")
        #expect(String(decoding: answer, as: UTF8.self) == Self.accepted)
        return client
    }

    /// A device that is connected by WebSocket.
    func device(_ name: String) async throws -> WebDevice {
        let client = try await webSocket()
        client.send(frame(0x82, try connect(name)))
        let device = WebDevice(client: client)
        #expect(try await device.received(6) == [0x82, 4, 0x20, 2, 0, 0])
        return device
    }
}

/// Opens once.
actor Gate {
    private var isOpen = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    /// How many have come so far.
    private(set) var arrivals = 0

    func open() {
        isOpen = true
        for continuation in waiting { continuation.resume() }
        waiting = []
    }

    func opened() async {
        arrivals += 1
        guard !isOpen else { return }
        await withCheckedContinuation { waiting.append($0) }
    }
}

/// A client by WebSocket: what it received counts from the end of its upgrade.
struct WebDevice {
    let client: RawClient
    static let skipped = WebFixture.accepted.utf8.count

    /// Waits until so many bytes have come since the upgrade.
    func received(_ count: Int) async throws -> [UInt8] {
        Array(try await client.bytes(atLeast: Self.skipped + count).dropFirst(Self.skipped))
    }

    func untilClosed() async throws -> [UInt8] {
        Array(try await client.bytesUntilClosed().dropFirst(Self.skipped))
    }
}

/// A masked frame whose payload has fewer than 65,536 bytes.
func frame(_ first: UInt8, _ payload: [UInt8]) -> [UInt8] {
    let key: [UInt8] = [1, 2, 3, 4]
    let count = payload.count
    let length: [UInt8] =
        count < 126 ? [0x80 | UInt8(count)] : [0x80 | 126, UInt8(count >> 8), UInt8(count & 0xFF)]
    return [first] + length + key + payload.enumerated().map { $1 ^ key[$0 % 4] }
}

extension Packet {
    var bytes: [UInt8] {
        var buffer = ByteBuffer()
        encode(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    static func message(_ device: String, _ payload: String, id: UInt16) throws -> [UInt8] {
        let id = try #require(PacketID(id))
        let publish = try #require(
            Publish(
                topicName: "devices/\(device)/messages/events/", payload: ByteBuffer(string: payload),
                delivery: .atLeastOnce(id)))
        return Packet.publish(publish).bytes
    }
}
