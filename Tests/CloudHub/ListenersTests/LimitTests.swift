import Foundation
import HubHarness
import HubTestSupport
import Journal
import MQTTCodec
import Primitives
import Sessions
import Testing
import Throttles

/// What a device may do how often, on its connection.
@Suite struct LimitTests {
    private func limits(device: [ThrottledKind: String] = [:], hub: [ThrottledKind: String] = [:]) -> ThrottleLimits {
        ThrottleLimits(device: device.compactMapValues { Rate($0) }, hub: hub.compactMapValues { Rate($0) })
    }

    /// Publishes all at once, however busy the machine is, and waits until all are acknowledged.
    private func send(_ count: Int, from client: RawClient, as device: String) async throws {
        let before = client.received.count
        let packets = try (1...count).flatMap { number in
            try Packet.message("devices/\(device)/messages/events/", Array("\(number)".utf8), id: UInt16(number))
        }
        client.send(packets)
        _ = try await client.bytes(atLeast: before + 4 * count)
    }

    @Test(arguments: [true, false])
    func tooMuchTelemetryIsAcknowledgedLateAndAllOfItIsStored(isOfDevice: Bool) async throws {
        let rates: [ThrottledKind: String] = [.telemetry: "20/s"]
        let fixture = try await ListenerFixture {
            $0.throttles = isOfDevice ? limits(device: rates) : limits(hub: rates)
        }
        let client = try await fixture.client("dev-1")
        // What came in one read is taken, on credit; then the device is not heard until the credit is paid back.
        let start = ContinuousClock.now
        try await send(40, from: client, as: "dev-1")
        try await send(1, from: client, as: "dev-1")
        #expect(ContinuousClock.now - start >= .milliseconds(900))
        #expect(try fixture.events().count == 41)
        let entries = fixture.hub.journal.entries(of: try ListenerFixture.id("dev-1"))
        #expect(entries.contains { $0.kind == .throttled && $0.address == "127.0.0.1" })
        try await fixture.hub.stop()
    }

    @Test func anotherDeviceIsNotHeldByTheFirstOnesLimit() async throws {
        let fixture = try await ListenerFixture { $0.throttles = limits(device: [.telemetry: "1/h"]) }
        let first = try await fixture.client("dev-1")
        let second = try await fixture.client("dev-2")
        for client in [first, second] {
            let device = client === first ? "dev-1" : "dev-2"
            try await send(1, from: client, as: device)
        }
        #expect(try fixture.events().count == 2)
        try await fixture.hub.stop()
    }

    @Test func aReconnectGivesNoNewAllowance() async throws {
        let fixture = try await ListenerFixture { $0.throttles = limits(device: [.telemetry: "10/s"]) }
        let start = ContinuousClock.now
        for _ in 0..<5 {
            let client = try await fixture.client("dev-1")
            try await send(5, from: client, as: "dev-1")
            client.close()
            try await fixture.eventually("the end of the connection") { fixture.hub.connected.count == 0 }
        }
        #expect(ContinuousClock.now - start >= .milliseconds(800))
        try await fixture.hub.stop()
    }

    @Test func whoConnectsTooOftenGetsReturnCode3() async throws {
        let fixture = try await ListenerFixture { $0.throttles = limits(device: [.connections: "2/h"]) }
        for _ in 0..<2 { try await fixture.client("dev-1").close() }
        let client = try await RawClient.connect(port: fixture.hub.port)
        client.send(try fixture.connect("dev-1"))
        #expect(try await client.bytes(atLeast: 4) == [0x20, 2, 0, 3])
        let last = fixture.hub.journal.entries(of: try ListenerFixture.id("dev-1")).last { $0.kind == .throttled }
        #expect(
            last?.sentence
                == "one device may do 2/h connections; send less often, or raise [throttles] device_connections")
        _ = try await fixture.client("dev-2")
        try await fixture.hub.stop()
    }
}
