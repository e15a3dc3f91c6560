import Devices
import HubContract
import HubTestSupport
import JSON
import Primitives
import Registry
import SQLiteHubStore
import Sessions
import Testing

@Suite struct TwinTests {
    let fixture: DeviceHubFixture
    var hub: DeviceHub { fixture.hub }

    init() async throws { fixture = try await DeviceHubFixture() }

    private func get(_ who: HubIdentity) async -> TwinAnswer {
        await withCheckedContinuation { continuation in hub.twinRequested(who) { continuation.resume(returning: $0) } }
    }

    private func report(_ who: HubIdentity, _ patch: String, ifVersion: Int64? = nil) async -> TwinAnswer {
        await withCheckedContinuation { continuation in
            hub.reportedPatched(who, patch: Array(patch.utf8), ifVersion: ifVersion) {
                continuation.resume(returning: $0)
            }
        }
    }

    private func text(_ answer: TwinAnswer) -> String { String(decoding: answer.body, as: UTF8.self) }

    @Test func freshTwinHasVersionOneOnBothSides() async throws {
        let answer = await get(try await fixture.device("dev-1"))
        #expect(answer.status == 200 && answer.version == nil)
        #expect(text(answer) == #"{"desired":{"$version":1},"reported":{"$version":1}}"#)
    }

    @Test func reportedPatchMergesAndCountsUp() async throws {
        let who = try await fixture.device("dev-1")
        #expect(await report(who, #"{"a":1,"b":{"c":2}}"#) == TwinAnswer(status: 204, version: 2))
        #expect(await report(who, #"{"a":null,"b":{"d":3}}"#, ifVersion: 2) == TwinAnswer(status: 204, version: 3))
        #expect(
            text(await get(who)) == #"{"desired":{"$version":1},"reported":{"b":{"c":2,"d":3},"$version":3}}"#)
    }

    @Test func wrongPatchesAreRefusedAndChangeNothing() async throws {
        let who = try await fixture.device("dev-1")
        #expect(await report(who, "{broken").status == 400)
        #expect(await report(who, #"{"a b":1}"#).status == 400)
        #expect(await report(who, #"{"a":1}"#, ifVersion: 7).status == 412)
        #expect(await report(try fixture.identity("ghost"), "{}").status == 404)
        #expect(await get(try fixture.identity("dev-1/ghost")).status == 404)
        #expect(text(await get(who)) == #"{"desired":{"$version":1},"reported":{"$version":1}}"#)
    }

    @Test func desiredPatchesArePushedInTheOrderOfTheirVersions() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        let hub = hub
        await withTaskGroup(of: Void.self) { tasks in
            for number in 0..<30 {
                tasks.addTask {
                    _ = try? await hub.patchTwin(who, ["properties": ["desired": ["n": .number(JSONNumber(number))]]])
                }
            }
        }
        let versions = await link.received.first(30).map { received in
            if case .desiredChanged(let version, _) = received.message { version } else { Int64(0) }
        }
        #expect(versions == Array(2...31))
    }

    @Test func desiredPatchGoesToTheDeviceAsTheServiceWroteIt() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        let twin = try await hub.patchTwin(
            who, ["tags": ["x": 1], "properties": ["desired": ["color": "red", "gone": nil]]])
        #expect(twin.desiredVersion == 2)
        guard case .desiredChanged(2, let patch) = await link.received.first(1)[0].message else {
            Issue.record("no push")
            return
        }
        #expect(String(decoding: patch, as: UTF8.self) == #"{"color":"red","gone":null,"$version":2}"#)
    }

    @Test func tagsAloneAreNoBusinessOfTheDevice() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        try await hub.patchTwin(who, ["tags": ["site": "north"]])
        try await hub.replaceTwin(who, with: ["properties": ["desired": ["a": 1]]])
        guard case .desiredChanged(2, _) = await link.received.first(1)[0].message else {
            Issue.record("the replacement was not the first push")
            return
        }
        #expect(try await hub.twin(who).tags.isEmpty)
    }

    @Test func staleETagIsAFailedPrecondition() async throws {
        let who = try await fixture.device("dev-1")
        let etag = try await hub.patchTwin(who, ["tags": ["a": 1]]).etag
        try await hub.patchTwin(who, ["tags": ["a": 2]], ifMatch: .exactly(etag))
        let error = await #expect(throws: HubError.self) {
            try await hub.patchTwin(who, ["tags": ["a": 3]], ifMatch: .exactly(etag))
        }
        #expect(error?.code == .preconditionFailed)
    }

    @Test func childsDesiredPropertiesGoThroughItsGatewaysLink() async throws {
        try await fixture.base.makeGateway("gw", children: ["child"])
        let link = fixture.connect(try fixture.identity("gw"), [.desiredChanges], scope: .everyChild)
        let child = try fixture.identity("child")
        try await hub.patchTwin(child, ["properties": ["desired": ["a": 1]]])
        let received = await link.received.first(1)[0]
        #expect(received.target == child)
        #expect(hub.isOnline(child))
    }

    @Test func twinOutlivesARestartAndGoesWithItsDevice() async throws {
        let who = try await fixture.device("dev-1")
        _ = await report(who, #"{"a":1}"#)
        let again = try await fixture.restarted().hub
        #expect(try await again.twin(who).reportedVersion == 2)
        try await fixture.base.registry.delete(who.device)
        _ = try await fixture.device("dev-1")
        #expect(try await hub.twin(who).reportedVersion == 1)
    }

    @Test func fullStoreAnswers503() async throws {
        let who = try await fixture.device("dev-1")
        try fixture.base.database.close()
        #expect(await report(who, #"{"a":1}"#).status == 503)
    }
}
