import HubContract
import HubTestSupport
import Primitives
import Registry
import SQLiteHubStore
import Synchronization
import Testing

@Suite struct DeviceRegistryTests {
    let fixture: HubFixture
    var registry: DeviceRegistry { fixture.registry }

    init() async throws { fixture = try await HubFixture() }

    @Test func creationMakesTwoDifferentKeysOf32Bytes() async throws {
        let device = try await fixture.makeDevice("dev-1")
        let primary = try #require(device.primaryKey)
        let secondary = try #require(device.secondaryKey)
        #expect(primary.bytes.count == 32 && secondary.bytes.count == 32)
        #expect(!primary.matches(secondary.bytes))
        #expect(device.status == .enabled && !device.etag.isEmpty && !device.generationID.isEmpty)
    }

    @Test func everythingIsThereAfterARestart() async throws {
        var draft = DeviceDraft(id: try HubFixture.id("dev-1"))
        draft.status = .disabled
        draft.statusReason = "stolen"
        let print = try #require(Thumbprint(String(repeating: "aB", count: 20)))
        draft.authentication = .selfSigned(primary: print, secondary: nil)
        let device = try await registry.create(draft)
        let gateway = try await fixture.makeGateway("gw", children: ["child"])
        try await registry.create(ModuleDraft(device: gateway.id, id: "reader", managedBy: "me"))
        let again = try await fixture.restarted()
        let read = try #require(again.device(device.id))
        #expect(read.status == .disabled && read.statusReason == "stolen" && read.etag == device.etag)
        #expect(read.generationID == device.generationID && read.createdAt == fixture.clock.now)
        #expect(read.authentication.isSame(as: .selfSigned(primary: print, secondary: nil)))
        #expect(again.gateway(of: try HubFixture.id("child")) == gateway.id)
        #expect(again.children(of: gateway.id).map(\.text) == ["child"])
        #expect(again.modules(of: gateway.id)?.map(\.id) == ["$edgeAgent", "$edgeHub", "reader"])
        for policy in ["iothubowner", "service", "device", "registryRead", "registryReadWrite"] {
            let first = try #require(registry.policy(policy))
            let second = try #require(again.policy(policy))
            #expect(first.primary.matches(second.primary.bytes) && first.secondary.matches(second.secondary.bytes))
            #expect(first.rights == second.rights && first.primary.bytes.count == 32)
        }
    }

    @Test func secondCreationIsAConflict() async throws {
        let device = try await fixture.makeDevice("dev-1")
        let error = await #expect(throws: HubError.self) { try await registry.create(DeviceDraft(id: device.id)) }
        #expect(error == HubError(.deviceAlreadyExists, "device dev-1 is registered already"))
    }

    @Test func ofManyCreationsAtOnceOneWins() async throws {
        let id = try HubFixture.id("dev-1")
        let registry = registry
        let wins = await withTaskGroup(of: Bool.self) { tasks in
            for _ in 0..<20 {
                tasks.addTask {
                    do throws(HubError) {
                        try await registry.create(DeviceDraft(id: id))
                        return true
                    } catch { return false }
                }
            }
            return await tasks.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(wins == 1)
    }

    @Test func updateKeepsWhatTheDraftLeavesOut() async throws {
        let device = try await fixture.makeDevice("dev-1")
        var draft = DeviceDraft(id: device.id)
        draft.status = .disabled
        fixture.clock.advance(by: .seconds(5))
        let updated = try await registry.update(draft)
        #expect(updated.authentication.isSame(as: device.authentication))
        #expect(updated.generationID == device.generationID && updated.etag != device.etag)
        #expect(updated.statusUpdatedAt == fixture.clock.now && updated.createdAt == device.createdAt)
    }

    @Test func staleETagIsAFailedPrecondition() async throws {
        let device = try await fixture.makeDevice("dev-1")
        try await registry.update(DeviceDraft(id: device.id), on: .etag(device.etag))
        let error = await #expect(throws: HubError.self) {
            try await registry.update(DeviceDraft(id: device.id), on: .etag(device.etag))
        }
        #expect(error?.code == .preconditionFailed)
        let deletion = await #expect(throws: HubError.self) {
            try await registry.delete(device.id, on: .etag(device.etag))
        }
        #expect(deletion?.code == .preconditionFailed)
        #expect(registry.device(device.id) != nil)
    }

    @Test func whatIsNotThereCannotBeChanged() async throws {
        let id = try HubFixture.id("ghost")
        let update = await #expect(throws: HubError.self) { try await registry.update(DeviceDraft(id: id)) }
        let deletion = await #expect(throws: HubError.self) { try await registry.delete(id) }
        let module = await #expect(throws: HubError.self) {
            try await registry.create(ModuleDraft(device: id, id: "m"))
        }
        for error in [update, deletion, module] {
            #expect(error == HubError(.deviceNotFound, "device ghost is not registered"))
        }
    }

    @Test func recreatedDeviceHasAnotherGeneration() async throws {
        let first = try await fixture.makeDevice("dev-1")
        try await registry.delete(first.id)
        #expect(registry.device(first.id) == nil)
        let second = try await fixture.makeDevice("dev-1")
        #expect(second.generationID != first.generationID)
    }

    @Test func gatewayHasAScopeAndChildrenCarryIt() async throws {
        let gateway = try await fixture.makeGateway("gw", children: ["c-2", "c-1"])
        let scope = try #require(gateway.deviceScope)
        #expect(scope.hasPrefix("ms-azure-iot-edge://gw-"))
        let child = try #require(registry.device(try HubFixture.id("c-1")))
        #expect(child.deviceScope == scope && child.parentScopes == [scope])
        #expect(registry.children(of: gateway.id).map(\.text) == ["c-1", "c-2"])
        #expect(registry.gateway(of: child.id) == gateway.id)
        #expect(registry.gateway(of: gateway.id) == nil)
        let updated = try await registry.update(DeviceDraft(id: gateway.id, isGateway: true))
        #expect(updated.deviceScope == scope)
    }

    @Test func childMovesToAnotherGatewayAndLosesADeletedOne() async throws {
        let first = try await fixture.makeGateway("gw-1", children: ["c"])
        let second = try await fixture.makeGateway("gw-2")
        let child = try HubFixture.id("c")
        try await registry.update(DeviceDraft(id: child, parent: second))
        #expect(registry.children(of: first.id).isEmpty)
        #expect(registry.gateway(of: child) == second.id)
        try await registry.delete(second.id)
        #expect(registry.gateway(of: child) == nil)
    }

    @Test func scopeOfNobodyIsRefusedByName() async throws {
        var draft = DeviceDraft(id: try HubFixture.id("c"))
        draft.deviceScope = "ms-azure-iot-edge://nobody-1"
        let orphan = draft
        let error = await #expect(throws: HubError.self) { try await registry.create(orphan) }
        #expect(
            error
                == HubError(
                    .argumentInvalid,
                    "no gateway has the scope 'ms-azure-iot-edge://nobody-1'; create the gateway first and copy its "
                        + "deviceScope"))
    }

    @Test func lossOfAccessIsTold() async throws {
        let told = Told()
        registry.onAccessLost { identity, loss in told.add("\(identity) \(loss)") }
        let device = try await fixture.makeDevice("dev-1")
        try await registry.create(ModuleDraft(device: device.id, id: "m"))
        var draft = DeviceDraft(id: device.id)
        draft.status = .disabled
        try await registry.update(draft)
        draft.status = .enabled
        draft.authentication = .sas(primary: Secret(Array(repeating: 7, count: 32)), secondary: nil)
        try await registry.update(draft)
        try await registry.deleteModule("m", of: device.id)
        try await registry.delete(device.id)
        #expect(
            told.all == [
                "dev-1 disabled", "dev-1/m disabled", "dev-1 credentialsChanged", "dev-1/m removed", "dev-1 removed",
            ])
    }

    @Test func moduleLimitIsFifty() async throws {
        let device = try await fixture.makeDevice("dev-1")
        for number in 0..<50 { try await registry.create(ModuleDraft(device: device.id, id: "m\(number)")) }
        let error = await #expect(throws: HubError.self) {
            try await registry.create(ModuleDraft(device: device.id, id: "m50"))
        }
        #expect(error == HubError(.iotHubQuotaExceeded, "device dev-1 has 50 modules, which is the limit"))
    }

    @Test func bulkReportsEachFailureAndDoesTheRest() async throws {
        try await _ = fixture.makeDevice("there")
        let ids = try ["a", "there", "b", "ghost"].map(HubFixture.id)
        let failures = try await registry.bulk([
            .create(DeviceDraft(id: ids[0])), .create(DeviceDraft(id: ids[1])),
            .createOrUpdate(DeviceDraft(id: ids[2])),
            .delete(ids[3], .exists),
        ])
        #expect(failures.map(\.position) == [1, 3])
        #expect(failures.map(\.error.code) == [.deviceAlreadyExists, .deviceNotFound])
        #expect(registry.list().map(\.id.text) == ["a", "b", "there"])
    }

    @Test func bulkOver100OrWithOneDeviceTwiceDoesNothing() async throws {
        let many = try (0...100).map { BulkOperation.create(DeviceDraft(id: try HubFixture.id("d\($0)"))) }
        let tooMany = await #expect(throws: HubError.self) { try await registry.bulk(many) }
        #expect(tooMany?.code == .tooManyDevices)
        let twice = await #expect(throws: HubError.self) { try await registry.bulk([many[0], many[0]]) }
        #expect(twice?.code == .deviceDefinedMultipleTimes)
        #expect(registry.list().isEmpty)
        #expect(try await registry.bulk(Array(many.prefix(100))).isEmpty)
        #expect(registry.statistics == RegistryStatistics(total: 100, disabled: 0))
        #expect(registry.list(most: 3).map(\.id.text) == ["d0", "d1", "d10"])
        #expect(registry.list(most: 2, after: try HubFixture.id("d98")).map(\.id.text) == ["d99"])
    }

    @Test func failedStoreLeavesTheRegistryAsItWas() async throws {
        let device = try await fixture.makeDevice("dev-1")
        try fixture.database.close()
        let error = await #expect(throws: HubError.self) { try await registry.delete(device.id) }
        #expect(error?.code == .serviceUnavailable)
        #expect(registry.device(device.id) != nil)
    }
}

final class Told: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
}
