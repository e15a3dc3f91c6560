import Devices
import HTTPTypes
import HubContract
import HubTestSupport
import Hummingbird
import HummingbirdTesting
import JSON
import Logging
import NIOCore
import Primitives
import Registry
import SQLiteHubStore
import ServiceAPI
import Sessions
import Testing

@Suite struct ServiceAPITests {
    let fixture: HubFixture
    let hub: DeviceHub
    let connected: ConnectedDevices
    let application: any ApplicationProtocol

    init() async throws {
        fixture = try await HubFixture()
        let registry = fixture.registry
        let clock = fixture.clock
        connected = ConnectedDevices(gatewayOf: { registry.reachingGateway(of: $0) })
        hub = try await DeviceHub(
            registry: registry, connected: connected, store: SQLiteDeviceStore(fixture.database), clock: { clock.now },
            logger: Logger(label: "test"))
        let router = Router()
        ServiceAPI(registry: registry, devices: hub, clock: { clock.now }).addRoutes(to: router)
        application = Application(router: router)
    }

    struct Answer {
        let status: Int
        let json: JSONValue
        let errorCode: String?
        let etag: String?
    }

    private func token(_ policy: String, host: String = HubFixture.hostName) throws -> String {
        HubFixture.token(
            key: try #require(fixture.registry.policy(policy)).primary, path: [],
            expiry: fixture.clock.now.unixSeconds + 60, host: host, policy: policy)
    }

    private func call(
        _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil, policy: String = "iothubowner",
        ifMatch: String? = nil, authorization: String? = nil
    ) async throws -> Answer {
        var headers: HTTPFields = [.authorization: try authorization ?? token(policy)]
        headers[.ifMatch] = ifMatch
        let version = path.contains("?") ? path : path + "?api-version=2021-04-12"
        let sent = headers
        return try await application.test(.router) { client in
            try await client.execute(
                uri: version, method: method, headers: sent, body: body.map { ByteBuffer(string: $0) }
            ) { response in
                let bytes = Array(response.body.readableBytesView)
                return Answer(
                    status: response.status.code, json: bytes.isEmpty ? .null : try JSONValue(parsing: bytes),
                    errorCode: response.headers[.init("iothub-errorcode") ?? .eTag], etag: response.headers[.eTag])
            }
        }
    }

    @Test func deviceIsCreatedReadListedAndDeleted() async throws {
        let body =
            #"{"deviceId":"dev-1","status":"enabled","authentication":{"type":"sas"},"capabilities":{"iotEdge":false}}"#
        let created = try await call(.put, "/devices/dev-1", body)
        #expect(created.status == 200)
        #expect(created.json["deviceId"] == "dev-1" && created.json["connectionState"] == "Disconnected")
        let key = created.json["authentication"]?["symmetricKey"]?["primaryKey"]?.stringValue
        #expect(key.flatMap { Base64.decode($0) }?.count == 32)
        #expect(created.json["lastActivityTime"] == "0001-01-01T00:00:00Z")
        let etag = try #require(created.json["etag"]?.stringValue)
        #expect(created.etag == "\"\(etag)\"")
        let read = try await call(.get, "/devices/dev-1")
        #expect(read.status == 200 && read.json == created.json)
        let list = try await call(.get, "/devices?top=1&api-version=2021-04-12")
        #expect(list.json.arrayValue?.count == 1)
        let deleted = try await call(.delete, "/devices/dev-1", ifMatch: "\"\(etag)\"")
        #expect(deleted.status == 204 && deleted.json == .null)
        #expect(try await call(.get, "/devices/dev-1").errorCode == "DeviceNotFound")
    }

    @Test func secondCreationIs409AndUpdateNeedsIfMatch() async throws {
        _ = try await call(.put, "/devices/dev-1", #"{"deviceId":"dev-1"}"#)
        let again = try await call(.put, "/devices/dev-1", #"{"deviceId":"dev-1"}"#)
        #expect(again.status == 409 && again.errorCode == "DeviceAlreadyExists")
        #expect(
            again.json["Message"] == "ErrorCode:DeviceAlreadyExists;device dev-1 is registered already")
        let update = try await call(
            .put, "/devices/dev-1", #"{"deviceId":"dev-1","status":"disabled"}"#, ifMatch: "\"*\"")
        #expect(update.status == 200 && update.json["status"] == "disabled")
        let stale = try await call(.put, "/devices/dev-1", #"{"deviceId":"dev-1"}"#, ifMatch: "\"old\"")
        #expect(stale.status == 412 && stale.errorCode == "PreconditionFailed")
    }

    @Test func idsArePercentEncodedSegments() async throws {
        let id = "a%b#c?d$e"
        let created = try await call(.put, "/devices/" + PercentEncoding.encode(id), "{}")
        #expect(created.status == 200 && created.json["deviceId"] == .string(id))
        #expect(try await call(.get, "/twins/" + PercentEncoding.encode(id)).json["deviceId"] == .string(id))
    }

    @Test func gatewayAndChildShareAScope() async throws {
        let gateway = try await call(.put, "/devices/gw", #"{"capabilities":{"iotEdge":true}}"#)
        let scope = try #require(gateway.json["deviceScope"]?.stringValue)
        let child = try await call(.put, "/devices/child", #"{"deviceScope":"\#(scope)"}"#)
        #expect(child.json["deviceScope"] == .string(scope) && child.json["parentScopes"] == [.string(scope)])
        let modules = try await call(.get, "/devices/gw/modules")
        #expect(modules.json.arrayValue?.compactMap { $0["moduleId"]?.stringValue } == ["$edgeAgent", "$edgeHub"])
        #expect(try await call(.get, "/twins/gw/modules/%24edgeAgent").status == 200)
    }

    @Test func modulesAreCreatedReadAndDeleted() async throws {
        _ = try await call(.put, "/devices/dev-1", "{}")
        let created = try await call(.put, "/devices/dev-1/modules/m", #"{"moduleId":"m","managedBy":"me"}"#)
        #expect(created.status == 200 && created.json["managedBy"] == "me")
        #expect(try await call(.get, "/devices/dev-1/modules/m").json == created.json)
        #expect(try await call(.put, "/devices/dev-1/modules/m", "{}").errorCode == "ModuleAlreadyExistsOnDevice")
        #expect(try await call(.delete, "/devices/dev-1/modules/m", ifMatch: "*").status == 204)
        #expect(try await call(.get, "/devices/dev-1/modules/m").errorCode == "ModuleNotFound")
    }

    @Test func bulkAnswers400WithTheFailuresAndDoesTheRest() async throws {
        _ = try await call(.put, "/devices/there", "{}")
        let good = try await call(
            .post, "/devices", #"[{"id":"a","importMode":"create","tags":{"x":1}},{"id":"b","importMode":"create"}]"#)
        #expect(good.status == 200 && good.json["isSuccessful"] == true)
        #expect(try await call(.get, "/twins/a").json["tags"] == ["x": 1])
        let mixed = try await call(
            .post, "/devices",
            #"[{"id":"c","importMode":"create"},{"id":"there","importMode":"create"},{"id":"a","importMode":"delete"}]"#
        )
        #expect(mixed.status == 400 && mixed.json["isSuccessful"] == false)
        #expect(mixed.json["errors"]?.arrayValue?.map { $0["deviceId"] } == ["there"])
        #expect(mixed.json["errors"]?.arrayValue?.map { $0["errorCode"] } == ["DeviceAlreadyExists"])
        #expect(fixture.registry.list().map(\.id.text) == ["b", "c", "there"])
    }

    @Test func createOrUpdateIfMatchETagCreatesWhatIsAbsentAndComparesWhatIsThere() async throws {
        let item = #"[{"id":"a","importMode":"createOrUpdateIfMatchETag","eTag":"AAAA","status":"disabled"}]"#
        let created = try await call(.post, "/devices", item)
        #expect(created.status == 200)
        #expect(try await call(.get, "/devices/a").json["status"] == "disabled")
        let refused = try await call(
            .post, "/devices", item.replacing("disabled", with: "enabled"))
        #expect(refused.status == 400)
        #expect(refused.json["errors"]?.arrayValue?.map { $0["errorCode"] } == ["PreconditionFailed"])
        let etag = try #require(try await call(.get, "/devices/a").json["etag"]?.stringValue)
        let updated = try await call(
            .post, "/devices", item.replacing("disabled", with: "enabled").replacing("AAAA", with: etag))
        #expect(updated.status == 200)
        #expect(try await call(.get, "/devices/a").json["status"] == "enabled")
    }

    @Test func twinIsPatchedReplacedAndGuardedByItsETag() async throws {
        _ = try await call(.put, "/devices/dev-1", "{}")
        let patched = try await call(
            .patch, "/twins/dev-1", #"{"tags":{"x":1},"properties":{"desired":{"color":"red"}}}"#, ifMatch: "\"*\"")
        #expect(patched.status == 200)
        #expect(patched.json["properties"]?["desired"]?["color"] == "red")
        #expect(patched.json["properties"]?["desired"]?["$version"] == 2)
        let etag = try #require(patched.json["etag"]?.stringValue)
        let replaced = try await call(.put, "/twins/dev-1", #"{"tags":{"y":2}}"#, ifMatch: "\"\(etag)\"")
        #expect(replaced.status == 200 && replaced.json["tags"] == ["y": 2])
        #expect(try await call(.put, "/twins/dev-1", "{}", ifMatch: "\"\(etag)\"").errorCode == "PreconditionFailed")
        #expect(try await call(.patch, "/twins/dev-1", "{broken").errorCode == "IotHubFormatError")
        #expect(try await call(.patch, "/twins/dev-1", #"{"tags":{"a.b":1}}"#).errorCode == "ArgumentInvalid")
    }

    @Test func methodGoesToTheDeviceAndBack() async throws {
        _ = try await call(.put, "/devices/dev-1", "{}")
        let who = try #require(HubIdentity("dev-1"))
        let link = EchoLink(who, hub)
        _ = connected.connect(link, subscriptions: [StoredSubscription(subscription: .methods)])
        let answer = try await call(
            .post, "/twins/dev-1/methods",
            #"{"methodName":"reboot","payload":{"x":1},"responseTimeoutInSeconds":5,"connectTimeoutInSeconds":2}"#)
        #expect(answer.status == 200 && answer.json == ["status": 201, "payload": ["x": 1]])
        #expect(try await call(.get, "/devices/dev-1").json["connectionState"] == "Connected")
        #expect(try await call(.get, "/statistics/service").json == ["connectedDeviceCount": 1])
    }

    @Test func absentDeviceIs404103InsideANestedMessage() async throws {
        _ = try await call(.put, "/devices/dev-1", "{}")
        let answer = try await call(.post, "/twins/dev-1/methods", #"{"methodName":"reboot"}"#)
        #expect(answer.status == 404 && answer.errorCode == "DeviceNotOnline")
        let nested = try JSONValue(parsing: try #require(answer.json["Message"]?.stringValue))
        #expect(nested["errorCode"] == 404_103)
        #expect(nested["message"] == "Timed out waiting for device to connect.")
    }

    @Test func queueIsPurged() async throws {
        _ = try await call(.put, "/devices/dev-1", "{}")
        let who = try #require(HubIdentity("dev-1"))
        try await hub.sendCloudToDevice(who, message: C2DMessage(id: "m"))
        #expect(try await call(.get, "/devices/dev-1").json["cloudToDeviceMessageCount"] == 1)
        #expect(try await call(.delete, "/devices/dev-1/commands").json["totalMessagesPurged"] == 1)
        #expect(try await call(.get, "/devices/dev-1").json["cloudToDeviceMessageCount"] == 0)
    }

    @Test func statisticsCountDevices() async throws {
        _ = try await call(.put, "/devices/a", #"{"status":"disabled"}"#)
        _ = try await call(.put, "/devices/b", "{}")
        #expect(
            try await call(.get, "/statistics/devices").json
                == ["totalDeviceCount": 2, "enabledDeviceCount": 1, "disabledDeviceCount": 1])
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let method: HTTPRequest.Method
        let path: String
        var body: String?
        var policy = "iothubowner"
        var authorization: String?
        let status: Int
        let code: String
    }

    static let refusals = [
        Row(
            testDescription: "no api-version", method: .get, path: "/devices?top=5", status: 400,
            code: "InvalidProtocolVersion"),
        Row(
            testDescription: "no token", method: .get, path: "/devices", authorization: "Bearer x", status: 401,
            code: "IotHubUnauthorizedAccess"),
        Row(
            testDescription: "policy without the right", method: .put, path: "/devices/dev-1", body: "{}",
            policy: "registryRead", status: 401, code: "IotHubUnauthorizedAccess"),
        Row(
            testDescription: "service policy reads no registry", method: .get, path: "/devices", policy: "service",
            status: 401, code: "IotHubUnauthorizedAccess"),
        Row(
            testDescription: "device policy is for devices", method: .get, path: "/twins/dev-1", policy: "device",
            status: 401, code: "IotHubUnauthorizedAccess"),
        Row(
            testDescription: "body names another device", method: .put, path: "/devices/dev-1",
            body: #"{"deviceId":"dev-2"}"#, status: 400, code: "ArgumentInvalid"),
        Row(
            testDescription: "no JSON", method: .put, path: "/devices/dev-1", body: "hello", status: 400,
            code: "IotHubFormatError"),
        Row(
            testDescription: "body too large", method: .put, path: "/devices/dev-1",
            body: String(repeating: " ", count: 70_000), status: 413, code: "MessageTooLarge"),
        Row(
            testDescription: "id that is none", method: .put, path: "/devices/a%20b", body: "{}", status: 400,
            code: "ArgumentInvalid"),
        Row(
            testDescription: "top out of range", method: .get, path: "/devices?top=1001&api-version=2021-04-12",
            status: 400, code: "ArgumentInvalid"),
        Row(
            testDescription: "unknown device's twin", method: .get, path: "/twins/ghost", status: 404,
            code: "DeviceNotFound"),
        Row(
            testDescription: "unknown device deleted", method: .delete, path: "/devices/ghost", status: 404,
            code: "DeviceNotFound"),
        Row(
            testDescription: "method without a name", method: .post, path: "/twins/ghost/methods", body: "{}",
            status: 400, code: "ArgumentInvalid"),
        Row(
            testDescription: "verb that the path does not take", method: .patch, path: "/devices/dev-1", body: "{}",
            status: 400, code: "InvalidOperation"),
    ]

    @Test(arguments: refusals) func badCallHasItsStatusAndCode(_ row: Row) async throws {
        let answer = try await call(
            row.method, row.path, row.body, policy: row.policy, authorization: row.authorization)
        #expect(answer.status == row.status)
        #expect(answer.errorCode == row.code)
        #expect(answer.json["Message"]?.stringValue?.hasPrefix("ErrorCode:\(row.code);") == true)
        #expect(
            answer.json["ExceptionMessage"]?.stringValue?.contains(
                /^Tracking ID:[0-9a-f]{32}-G:0-TimeStamp:11\/21\/2026 09:00:00$/) == true)
    }

    @Test func tokenMayCarryThePortOfTheHub() async throws {
        let answer = try await call(
            .get, "/devices", authorization: try token("iothubowner", host: "hub.example:8443"))
        #expect(answer.status == 200)
    }

    @Test func refusedCallerLearnsNothing() async throws {
        let ghost = try await call(.get, "/twins/ghost", policy: "registryRead")
        #expect(ghost.json["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized")
    }

    @Test func feedbackIsReadUnderALockAndCompletedOrGivenBack() async throws {
        let id = try HubFixture.id("dev-1")
        try await fixture.makeDevice("dev-1")
        let path = "/messages/serviceBound/feedback"
        #expect(try await call(.get, path).status == 204)
        let bag = PropertyBag([PropertyBag.Entry("iothub-ack", "full")])
        try await hub.sendCloudToDevice(HubIdentity(id), message: C2DMessage(id: "m-1", properties: bag))
        #expect(try await call(.delete, "/devices/dev-1/commands").json["totalMessagesPurged"] == 1)
        let batch = try await call(.get, path, policy: "service")
        #expect(
            batch.json == [
                [
                    "originalMessageId": "m-1", "enqueuedTimeUtc": .string(fixture.clock.now.description),
                    "statusCode": "Purged", "description": "Purged", "deviceId": "dev-1",
                    "deviceGenerationId": .string(try #require(fixture.registry.device(id)).generationID),
                ]
            ])
        let lock = try #require(batch.etag).filter { $0 != "\"" }
        #expect(try await call(.get, path).status == 204)
        #expect(try await call(.post, "\(path)/\(lock)/abandon").status == 204)
        #expect(try await call(.delete, "\(path)/\(lock)").errorCode == "DeviceMessageLockLost")
        let again = try #require(try await call(.get, path).etag).filter { $0 != "\"" }
        #expect(try await call(.delete, "\(path)/\(again)").status == 204)
        #expect(try await call(.get, path).status == 204)
        #expect(try await call(.get, path, policy: "registryRead").status == 401)
        #expect(try await call(.delete, "\(path)/nonsense").errorCode == "DeviceMessageLockLost")
        #expect(try await call(.put, path).errorCode == "InvalidOperation")
    }
}

/// Answers each method with what it was sent and status 201.
private final class EchoLink: DeviceLink {
    let identity: HubIdentity
    private let hub: DeviceHub

    init(_ identity: HubIdentity, _ hub: DeviceHub) {
        self.identity = identity
        self.hub = hub
    }

    var objection: DisconnectReason? { nil }

    func deliver(_ message: DeviceBound, to target: HubIdentity) {
        guard case .methodRequest(_, let rid, let payload) = message else { return }
        hub.methodAnswered(target, rid: rid, status: 201, payload: payload)
    }
}
