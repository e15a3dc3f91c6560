import Devices
import HubContract
import HubTestSupport
import JSON
import Primitives
import Registry
import Sessions
import Testing

/// A disabled child is not reached through its gateway, as a disabled device is not reached at all.
@Suite(.timeLimit(.minutes(2))) struct DisabledChildTests {
    let fixture: DeviceHubFixture
    let gateway: DeviceRecord
    let link: TestLink
    let child: HubIdentity
    var hub: DeviceHub { fixture.hub }

    init() async throws {
        fixture = try await DeviceHubFixture()
        gateway = try await fixture.base.makeGateway("gw", children: ["child", "other"])
        child = try fixture.identity("child")
        link = fixture.connect(try fixture.identity("gw"), DeviceSubscription.allCases, scope: .everyChild)
        hub.cloudToDeviceReady(try fixture.identity("gw"))
    }

    private func set(_ status: DeviceStatus) async throws {
        var draft = DeviceDraft(id: child.device, parent: gateway)
        draft.status = status
        try await fixture.base.registry.update(draft)
    }

    private func send(_ id: String, to who: HubIdentity) async throws {
        try await hub.sendCloudToDevice(who, message: C2DMessage(id: id, payload: Array(id.utf8), wantsOutcome: true))
    }

    @Test func itIsNotThere() async throws {
        #expect(hub.isOnline(child) && hub.takesMethods(child))
        try await set(.disabled)
        #expect(!hub.isOnline(child) && !hub.takesMethods(child))
        let error = await #expect(throws: HubError.self) {
            try await hub.invokeMethod(child, name: "Reset", payload: .null)
        }
        #expect(error?.code == .deviceNotOnline)
        try await hub.patchTwin(child, ["properties": ["desired": ["a": 1]]])
        try await hub.patchTwin(try fixture.identity("other"), ["properties": ["desired": ["b": 2]]])
        #expect(await link.received.first(1).map(\.target.description) == ["other"], "the gateway itself stays")
    }

    @Test func itsMessagesWaitUntilItIsEnabledAndComeInOrder() async throws {
        try await send("before", to: child)
        _ = await link.messages(1)
        try await set(.disabled)
        for id in ["first", "second"] { try await send(id, to: child) }
        #expect(link.received.all.count == 1)
        try await set(.enabled)
        let deliveries = await link.messages(3)
        try await send("after", to: child)
        let all = await link.messages(4)
        #expect(all.map { String(decoding: $0.payload, as: UTF8.self) } == ["before", "first", "second", "after"])
        for delivery in deliveries { hub.cloudToDeviceCompleted(child, lockToken: delivery.lockToken) }
        #expect(await fixture.outcomes.first(3).map(\.deliveries) == [1, 1, 1])
    }
}
