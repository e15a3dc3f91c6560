import Devices
import HubContract
import HubTestSupport
import JSON
import Primitives
import Registry
import Sessions
import Testing

@Suite struct MethodTests {
    let fixture: DeviceHubFixture
    var hub: DeviceHub { fixture.hub }

    init() async throws { fixture = try await DeviceHubFixture() }

    private func failure(
        _ who: HubIdentity, name: String = "reboot", payload: JSONValue = [:], connect: Duration = .zero,
        response: Duration = .milliseconds(50)
    ) async -> HubError? {
        do throws(HubError) {
            _ = try await hub.invokeMethod(
                who, name: name, payload: payload, connectTimeout: connect, responseTimeout: response)
            return nil
        } catch { return error }
    }

    private func request(_ link: TestLink, _ number: Int = 1) async -> (name: String, rid: String, payload: String)? {
        guard
            case .methodRequest(let name, let rid, let payload) = await link.received.first(number)[number - 1].message
        else { return nil }
        return (name, rid, String(decoding: payload, as: UTF8.self))
    }

    @Test func answerComesBackWithItsStatus() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        async let result = hub.invokeMethod(who, name: "reboot", payload: ["x": 1])
        let request = try #require(await request(link))
        #expect(request.name == "reboot" && request.payload == #"{"x":1}"#)
        hub.methodAnswered(who, rid: request.rid, status: -7, payload: Array(#"{"ok":true}"#.utf8))
        #expect(try await result == MethodResult(status: -7, payload: ["ok": true]))
    }

    @Test func emptyAnswerIsNull() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        async let result = hub.invokeMethod(who, name: "reboot", payload: nil)
        hub.methodAnswered(who, rid: try #require(await request(link)).rid, status: 200, payload: [])
        #expect(try await result == MethodResult(status: 200, payload: nil))
    }

    @Test func absentDeviceIsNotOnline() async throws {
        let who = try await fixture.device("dev-1")
        let expected = HubError(.deviceNotOnline, "Timed out waiting for device to connect.")
        #expect(await failure(who) == expected)
        #expect(await failure(who, connect: .milliseconds(20)) == expected)
        _ = fixture.connect(who, [.cloudToDevice])
        #expect(await failure(who) == expected)
    }

    @Test func callWaitsForTheDeviceToComeOnline() async throws {
        let who = try await fixture.device("dev-1")
        async let result = hub.invokeMethod(who, name: "reboot", payload: nil, connectTimeout: .seconds(60))
        let link = fixture.connect(who)
        hub.methodAnswered(who, rid: try #require(await request(link)).rid, status: 200, payload: Array("1".utf8))
        #expect(try await result.payload == 1)
    }

    @Test func silentDeviceIsAGatewayTimeoutAndItsLateAnswerIsDropped() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        #expect(
            await failure(who) == HubError(.gatewayTimeout, "Timed out waiting for the response from device."))
        let late = try #require(await request(link))
        hub.methodAnswered(who, rid: late.rid, status: 200, payload: [])
        async let result = hub.invokeMethod(who, name: "reboot", payload: nil)
        let second = try #require(await request(link, 2))
        #expect(second.rid != late.rid)
        hub.methodAnswered(who, rid: second.rid, status: 201, payload: [])
        #expect(try await result.status == 201)
    }

    @Test func answerOfAnotherDeviceIsDropped() async throws {
        let who = try await fixture.device("dev-1")
        let other = try await fixture.device("dev-2")
        let link = fixture.connect(who)
        async let result = hub.invokeMethod(who, name: "reboot", payload: nil)
        let rid = try #require(await request(link)).rid
        hub.methodAnswered(other, rid: rid, status: 500, payload: [])
        hub.methodAnswered(who, rid: rid, status: 200, payload: [])
        hub.methodAnswered(who, rid: rid, status: 400, payload: [])
        #expect(try await result.status == 200)
    }

    @Test func manyCallsAtOnceEachGetTheirOwnAnswer() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        let hub = hub
        let sum = try await withThrowingTaskGroup(of: Int64.self) { tasks in
            for number in 0..<100 {
                tasks.addTask {
                    try await hub.invokeMethod(who, name: "echo", payload: .number(JSONNumber(number))).payload
                        .int64Value ?? 0
                }
            }
            for received in await link.received.first(100).reversed() {
                guard case .methodRequest(_, let rid, let payload) = received.message else { continue }
                hub.methodAnswered(who, rid: rid, status: 200, payload: payload)
            }
            return try await tasks.reduce(0, +)
        }
        #expect(sum == 4950)
    }

    @Test func badCallsAreRefusedBeforeTheyLeave() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        #expect(await failure(try fixture.identity("ghost"))?.code == .deviceNotFound)
        #expect(await failure(try fixture.identity("dev-1/ghost"))?.code == .moduleNotFound)
        for name in ["", "a/b", "a b", "a+", "#", "q?", String(repeating: "x", count: 129)] {
            #expect(await failure(who, name: name)?.code == .argumentInvalid, "\(name)")
        }
        let large = JSONValue.string(String(repeating: "x", count: DeviceHub.methodPayloadMax - 1))
        #expect(await failure(who, payload: large)?.code == .messageTooLarge)
        #expect(link.received.all.isEmpty)
    }

    @Test func answersThatCannotBePassedOnAreErrors() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        async let broken = failure(who, response: .seconds(60))
        hub.methodAnswered(who, rid: try #require(await request(link)).rid, status: 200, payload: Array("no json".utf8))
        #expect(await broken?.code == .iotHubFormatError)
        async let large = failure(who, response: .seconds(60))
        let rid = try #require(await request(link, 2)).rid
        hub.methodAnswered(
            who, rid: rid, status: 200, payload: Array(repeating: 32, count: DeviceHub.methodPayloadMax + 1))
        #expect(await large?.code == .messageTooLarge)
    }

    @Test func childIsCalledThroughItsGateway() async throws {
        try await fixture.base.makeGateway("gw", children: ["child"])
        let child = try fixture.identity("child")
        #expect(await failure(child)?.code == .deviceNotOnline)
        let link = fixture.connect(try fixture.identity("gw"), [.methods], scope: .everyChild)
        async let result = hub.invokeMethod(child, name: "Reset", payload: nil)
        #expect(await link.received.first(1)[0].target == child)
        hub.methodAnswered(child, rid: try #require(await request(link)).rid, status: 200, payload: [])
        #expect(try await result.status == 200)
    }
}
