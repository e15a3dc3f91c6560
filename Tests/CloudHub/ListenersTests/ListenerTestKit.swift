import EventLog
import Foundation
import HubContract
import HubHarness
import HubTestSupport
import MQTTCodec
import NIOCore
import Primitives
import SQLiteHubStore
import Testing

/// A hub of listener and log in a folder of its own, and devices for it.
struct ListenerFixture {
    let folder: TemporaryFolder
    let hub: BareHub
    static let host = "hub.example"

    init(_ change: (inout BareHub.Options) -> Void = { _ in }) async throws {
        folder = try TemporaryFolder()
        var options = BareHub.Options()
        options.log.partitionCount = 2
        options.log.reserveBytes = 0
        change(&options)
        hub = try await BareHub(folder: folder.path, tls: Self.tlsFolder, options: options)
    }

    static var tlsFolder: String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Golden/tls").path
    }

    static func id(_ text: String) throws -> DeviceID { try #require(DeviceID(text)) }

    func token(_ device: String, validFor seconds: Int64 = 3600) throws -> String {
        hub.authority.token(
            for: try Self.id(device), host: Self.host, expiry: Int64(Date().timeIntervalSince1970) + seconds)
    }

    func connect(_ device: String, isClean: Bool = true, will: Will? = nil, token: String? = nil) throws -> [UInt8] {
        let secret = Secret(Array((try token ?? self.token(device)).utf8))
        let connect = Connect(
            clientID: device, isCleanSession: isClean, keepAliveSeconds: 60, will: will,
            credentials: ("\(Self.host)/\(device)/?api-version=2021-04-12", secret))
        return Packet.connect(connect).bytes
    }

    /// A connected client; what it received so far is the CONNACK.
    func client(_ device: String, isClean: Bool = true, will: Will? = nil) async throws -> RawClient {
        let client = try await RawClient.connect(port: hub.port)
        client.send(try connect(device, isClean: isClean, will: will))
        let answer = try await client.bytes(atLeast: 4)
        #expect(answer.starts(with: [0x20, 2]) && answer.count == 4 && answer[3] == 0, "CONNACK was \(answer)")
        return client
    }

    func events() throws -> [StoredEvent] {
        try (0..<hub.log.partitionCount).flatMap {
            try hub.log.read(partition: $0, from: 0, eventsMax: .max, bytesMax: .max)
        }
    }

    /// Waits for the condition; the hub has no other way to tell a test about it.
    func eventually(_ what: Comment, _ condition: () throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(20)
        while try !condition() {
            try #require(ContinuousClock.now < end, what)
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}

extension Packet {
    var bytes: [UInt8] {
        var buffer = ByteBuffer()
        encode(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    static func message(
        _ topic: String, _ payload: [UInt8], id: UInt16 = 1, isRetained: Bool = false
    ) throws -> [UInt8] {
        let id = try #require(PacketID(id))
        let publish = try #require(
            Publish(
                topicName: topic, payload: ByteBuffer(bytes: payload), delivery: .atLeastOnce(id),
                isRetained: isRetained))
        return Packet.publish(publish).bytes
    }

    static func message(_ topic: String, _ payload: String, id: UInt16 = 1) throws -> [UInt8] {
        try message(topic, Array(payload.utf8), id: id)
    }
}

func pubAck(_ id: UInt8) -> [UInt8] { [0x40, 2, 0, id] }
