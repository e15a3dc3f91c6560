import DeviceAPI
import Devices
import EventLog
import HTTPTypes
import HubContract
import HubTestSupport
import Hummingbird
import HummingbirdTesting
import Ingest
import JSON
import Journal
import Logging
import NIOCore
import Primitives
import Registry
import SQLiteHubStore
import Sessions
import Testing
import Throttles

/// The registry as the authority, as the hub composes it.
struct TestAuthority: ConnectAuthority {
    let registry: DeviceRegistry

    func authenticate(_ request: ConnectRequest, now: WallInstant) -> ConnectVerdict {
        let attempt = ConnectAttempt(
            host: request.userName.host, identity: request.userName.identity, password: request.password,
            leafSHA1: request.leafSHA1, leafSHA256: request.leafSHA256)
        switch registry.authenticate(attempt, now: now) {
        case .refused(let reason): return .refused(reason.sentence)
        case .chainUnchecked: return .chainUnchecked
        case .accepted(let principal):
            return .accepted(
                ConnectGrant(
                    generationID: principal.generationID, authScope: principal.scope.rawValue,
                    authType: principal.authType.rawValue, expiresAt: principal.expiresAt))
        }
    }

    func checkChain(
        of request: ConnectRequest, now: WallInstant, done: @escaping @Sendable (ConnectVerdict) -> Void
    ) {
        done(authenticate(request, now: now))
    }
}

/// A hub without sockets: registry, queues and event log on real files, and the device API before them.
final class DeviceAPIFixture: Sendable {
    struct Answer {
        let status: Int
        let headers: HTTPFields
        let body: String

        subscript(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
        var json: JSONValue? { try? JSONValue(parsing: Array(body.utf8)) }
    }

    let base: HubFixture
    let hub: DeviceHub
    let log: SQLiteEventLog
    let journal: DeviceJournal
    private let application: any ApplicationProtocol

    init(_ limits: ThrottleLimits = ThrottleLimits(), peer: DevicePeer = DevicePeer(address: "192.0.2.7")) async throws
    {
        base = try await HubFixture()
        let (registry, clock) = (base.registry, base.clock)
        let connected = ConnectedDevices(gatewayOf: { registry.gateway(of: $0) })
        let throttles = Throttles(limits) { MonotonicInstant(nanoseconds: clock.now.milliseconds * 1_000_000) }
        journal = DeviceJournal(clock: { clock.now }, isRegistered: { registry.device($0) != nil })
        hub = try await DeviceHub(
            registry: registry, connected: connected, store: SQLiteDeviceStore(base.database), throttles: throttles,
            journal: journal, clock: { clock.now }, logger: Logger(label: "test"))
        log = try SQLiteEventLog(
            path: base.folder.file("log.sqlite"), options: SQLiteEventLog.Options(), logger: Logger(label: "test"),
            now: { clock.now })
        let api = DeviceAPI(
            rooms: .init(
                authority: TestAuthority(registry: registry), devices: hub, eventLog: log,
                intake: TelemetryIntake { registry.parentage(of: $0) }, throttles: throttles, journal: journal),
            hostName: HubFixture.hostName, waitingBytesMax: 1 << 20, clock: { clock.now })
        let router = Router()
        api.addRoutes(to: router, peer: { (_: BasicRequestContext) in peer })
        application = Application(router: router)
    }

    deinit { log.close() }

    func token(of device: String, policy: String? = nil, expiry: Int64 = 60) throws -> String {
        let id = try HubFixture.id(device)
        let key =
            try policy.map { try #require(base.registry.policy($0)).primary }
            ?? #require(base.registry.device(id)?.primaryKey)
        return HubFixture.token(
            key: key, path: policy == nil ? ["devices", device] : [], expiry: base.clock.now.unixSeconds + expiry,
            policy: policy)
    }

    func call(
        _ method: HTTPRequest.Method, _ path: String, _ body: [UInt8] = [], headers: [(String, String)] = [],
        token: String? = nil
    ) async throws -> Answer {
        var fields = HTTPFields()
        fields[.authorization] = token
        for (name, value) in headers { fields.append(HTTPField(name: try #require(.init(name)), value: value)) }
        let sent = fields
        let uri = path.contains("?") ? path : path + "?api-version=2016-11-14"
        return try await application.test(.router) { client in
            try await client.execute(uri: uri, method: method, headers: sent, body: ByteBuffer(bytes: body)) {
                response in
                Answer(
                    status: response.status.code, headers: response.headers, body: String(buffer: response.body))
            }
        }
    }

    var events: [StoredEvent] {
        get throws {
            try (0..<log.partitionCount).flatMap {
                try log.read(partition: $0, from: 0, eventsMax: 1000, bytesMax: 1 << 24)
            }
        }
    }
}

@Suite struct DeviceAPITests {
    let fixture: DeviceAPIFixture
    let events = "/devices/dev-1/messages/events"
    let bound = "/devices/dev-1/messages/deviceBound"

    init() async throws {
        fixture = try await DeviceAPIFixture()
        try await fixture.base.makeDevice("dev-1")
    }

    private var token: String { get throws { try fixture.token(of: "dev-1") } }

    private func send(_ id: String, _ entries: [(String, String)] = []) async throws {
        try await fixture.hub.sendCloudToDevice(
            HubIdentity(try HubFixture.id("dev-1")),
            message: C2DMessage(
                id: id, properties: PropertyBag(entries.map { PropertyBag.Entry($0.0, $0.1) }), payload: Array(id.utf8))
        )
    }

    // MARK: - Events

    @Test func eventIsDurableWithItsPropertiesWhenItIsAnswered() async throws {
        let answer = try await fixture.call(
            .post, events, Array(#"{"t":1}"#.utf8),
            headers: [
                ("IoTHub-CorrelationId", "c 1"), ("IoTHub-MessageId", "m-1"), ("iothub-app-Colour", "dark red"),
                ("iothub-contenttype", "application/json"), ("iothub-contentencoding", "utf-8"), ("IoTHub-UserId", "u"),
                ("Content-Type", "text/plain"), ("iothub-app-$.mid", "x"),
            ], token: try token)
        #expect(answer.status == 204 && answer.body.isEmpty)
        let event = try #require(try fixture.events.first)
        #expect(
            event.header.bag
                == "%24.mid=m-1&%24.mid=x&%24.cid=c%201&%24.uid=u&%24.ct=application%2Fjson&%24.ce=utf-8&Colour=dark%20red"
        )
        #expect(event.body == Array(#"{"t":1}"#.utf8) && event.header.source == .telemetry)
        let origin = event.header.origin
        #expect(origin.device.text == "dev-1" && origin.module == nil)
        #expect(origin.authScope == "device" && origin.authType == "sas")
        #expect(origin.authGeneration == fixture.base.registry.device(origin.device)?.generationID)
        #expect(fixture.hub.activity(of: HubIdentity(origin.device)).lastActivityAt == fixture.base.clock.now)
    }

    @Test func batchIsOneEventForEachOfItsMessages() async throws {
        let batch = """
            [{"body":"\(Base64.encode(Array("one".utf8)))","properties":{"iothub-app-n":"1","iothub-messageid":"m-1","loose":2}},
             {"body":"two","base64Encoded":false}]
            """
        let answer = try await fixture.call(
            .post, events, Array(batch.utf8),
            headers: [("Content-Type", "application/vnd.microsoft.iothub.json; charset=utf-8")],
            token: try token)
        #expect(answer.status == 204)
        let stored = try fixture.events
        #expect(stored.map { String(decoding: $0.body, as: UTF8.self) } == ["one", "two"])
        #expect(stored.map(\.header.bag) == ["%24.mid=m-1&n=1&loose=2", ""])
    }

    @Test(arguments: [
        "", "{}", "[]", #"[{"body":1}]"#, #"[{"body":"%%%"}]"#, #"[{"body":"eA==","properties":[]}]"#,
        "[" + String(repeating: #"{"body":"eA=="},"#, count: 500) + #"{"body":"eA=="}]"#,
    ])
    func brokenBatchIsRefusedAsAWhole(_ text: String) async throws {
        let answer = try await fixture.call(
            .post, events, Array(text.utf8), headers: [("Content-Type", "application/vnd.microsoft.iothub.json")],
            token: try token)
        #expect(answer.status == 400 && answer["iothub-errorcode"] == "IotHubFormatError")
        #expect(try fixture.events.isEmpty)
    }

    @Test func messageOverTheLimitIs413() async throws {
        let most = SessionDispatch.messageBytesMax
        let whole = try await fixture.call(.post, events, Array(repeating: 0, count: most), token: try token)
        #expect(whole.status == 204)
        let body = try await fixture.call(.post, events, Array(repeating: 0, count: most + 1), token: try token)
        #expect(body.status == 413 && body["iothub-errorcode"] == "MessageTooLarge")
        let withProperties = try await fixture.call(
            .post, events, Array(repeating: 0, count: most - 2), headers: [("iothub-app-a", "1")], token: try token)
        #expect(withProperties.status == 413)
        #expect(try fixture.events.count == 1)
    }

    @Test func aBatchThatCannotBeReadIsRefusedAndNotQuarantined() async throws {
        let answer = try await fixture.call(
            .post, events, Array("nonsense".utf8),
            headers: [("iothub-contenttype", "application/vnd.fieldline.batch+json")], token: try token)
        #expect(answer.status == 400 && answer["iothub-errorcode"] == "IotHubFormatError")
        #expect(try fixture.log.quarantine(gateway: nil, countMax: 1).isEmpty)
    }

    // MARK: - Who calls

    struct Proof: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let isLetIn: Bool
        let token: @Sendable (DeviceAPIFixture) throws -> String?
        let reason: String

        init(
            _ what: String, _ isLetIn: Bool, _ reason: String = "",
            _ token: @escaping @Sendable (DeviceAPIFixture) throws -> String?
        ) {
            testDescription = what
            self.isLetIn = isLetIn
            self.reason = reason
            self.token = token
        }
    }

    static let proofs = [
        Proof("the device's key", true) { try $0.token(of: "dev-1") },
        Proof("the policy device", true) { try $0.token(of: "dev-1", policy: "device") },
        Proof("the policy service", false, "has no DeviceConnect right") {
            try $0.token(of: "dev-1", policy: "service")
        },
        Proof("another device's key", false, "signed with neither") { try $0.token(of: "dev-2") },
        Proof("an old token", false, "expired 5 s before the hub's clock") { try $0.token(of: "dev-1", expiry: -5) },
        Proof("nothing", false, "neither a token nor a client certificate") { _ in nil },
        Proof("nonsense", false, "is no SAS token") { _ in "Basic abc" },
    ]

    @Test(arguments: proofs)
    func everyRequestNeedsAProof(_ proof: Proof) async throws {
        try await fixture.base.makeDevice("dev-2")
        for (method, path) in [(HTTPRequest.Method.post, events), (.get, bound)] {
            let answer = try await fixture.call(method, path, token: try proof.token(fixture))
            #expect(answer.status == (proof.isLetIn ? 204 : 401))
            guard !proof.isLetIn else { continue }
            #expect(answer["iothub-errorcode"] == "IotHubUnauthorizedAccess")
            #expect(answer.json?["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized")
            let entry = try #require(fixture.journal.entries(of: try HubFixture.id("dev-1")).last)
            #expect(entry.kind == .refused && entry.address == "192.0.2.7")
            #expect(entry.sentence.contains(proof.reason), "\(entry.sentence)")
        }
        #expect(try fixture.events.count == (proof.isLetIn ? 1 : 0))
    }

    @Test func unknownAndDisabledDevicesLearnNothingButTheJournalSays() async throws {
        let token = try token
        let unknown = try await fixture.call(.post, "/devices/ghost/messages/events", token: token)
        #expect(unknown.status == 401)
        #expect(
            fixture.journal.entries(of: try HubFixture.id("ghost")).map(\.sentence)
                == ["device ghost is not registered; create it with 'cloud-hub device create'"])
        var draft = DeviceDraft(id: try HubFixture.id("dev-1"))
        draft.status = .disabled
        _ = try await fixture.base.registry.update(draft, on: .exists)
        #expect(try await fixture.call(.get, bound, token: token).status == 401)
        #expect(
            fixture.journal.entries(of: try HubFixture.id("dev-1")).map(\.sentence)
                == ["device dev-1 is disabled; enable it in the registry"])
    }

    @Test func clientCertificateIsTakenByItsThumbprint() async throws {
        let thumbprint = String(repeating: "ab", count: 32)
        let fixture = try await DeviceAPIFixture(peer: DevicePeer(leafSHA256: thumbprint))
        var draft = DeviceDraft(id: try HubFixture.id("dev-1"))
        draft.authentication = .selfSigned(primary: Thumbprint(thumbprint), secondary: nil)
        try await fixture.base.registry.create(draft)
        #expect(try await fixture.call(.post, events).status == 204)
        #expect(try fixture.events.first?.header.origin.authType == "x509Certificate")
    }

    // MARK: - Messages to the device

    @Test func messageIsReceivedWithItsHeadersAndCompleted() async throws {
        #expect(try await fixture.call(.get, bound, token: try token).status == 204)
        try await send(
            "m-1", [("$.cid", "c-1"), ("$.ct", "text/plain"), ("colour", "dark red"), ("iothub-ack", "full")])
        let answer = try await fixture.call(.get, "/devices/dev-1/messages/devicebound", token: try token)
        #expect(answer.status == 200 && answer.body == "m-1")
        let etag = try #require(answer["ETag"])
        #expect(etag.hasPrefix("\"") && etag.hasSuffix("\"") && etag.count == 38)
        let expected = [
            "iothub-messageid": "m-1", "iothub-correlationid": "c-1", "iothub-contenttype": "text/plain",
            "iothub-app-colour": "dark red", "iothub-ack": "full", "iothub-deliverycount": "0",
            "iothub-sequencenumber": "1", "iothub-to": "/devices/dev-1/messages/deviceBound",
            "iothub-enqueuedtime": "2026-11-21T09:00:00Z", "iothub-expiry": "2026-11-21T10:00:00Z",
        ]
        for (name, value) in expected { #expect(answer[name] == value, "\(name)") }
        let lock = etag.filter { $0 != "\"" }
        #expect(try await fixture.call(.delete, "\(bound)/\(lock)", token: try token).status == 204)
        let again = try await fixture.call(.delete, "\(bound)/\(lock)", token: try token)
        #expect(again.status == 412 && again["iothub-errorcode"] == "DeviceMessageLockLost")
        #expect(fixture.hub.cloudToDeviceCount(of: try HubFixture.id("dev-1")) == 0)
    }

    @Test func abandonedMessageComesAgainAndRejectedOneNever() async throws {
        try await send("m-1", [("iothub-ack", "full")])
        let first = try await fixture.call(.get, bound, token: try token)
        let lock = try #require(first["ETag"]).filter { $0 != "\"" }
        #expect(try await fixture.call(.post, "\(bound)/\(lock)/abandon", token: try token).status == 204)
        #expect(try await fixture.call(.delete, "\(bound)/\(lock)", token: try token).status == 412)
        let second = try await fixture.call(.get, bound, token: try token)
        #expect(second["iothub-deliverycount"] == "1")
        let quoted = PercentEncoding.encode(try #require(second["ETag"]))
        let rejected = try await fixture.call(
            .delete, "\(bound)/\(quoted)?reject&api-version=2016-11-14", token: try token)
        #expect(rejected.status == 204)
        #expect(try await fixture.call(.get, bound, token: try token).status == 204)
        let feedback = try await fixture.hub.feedback(of: nil, most: 10)
        #expect(feedback.map(\.kind.statusCode) == ["Rejected"])
    }

    // MARK: - What is refused

    @Test(arguments: [
        (HTTPRequest.Method.get, "/devices/dev-1/messages/events", 400, "InvalidOperation"),
        (.put, "/devices/dev-1/messages/deviceBound", 400, "InvalidOperation"),
        (.post, "/devices/dev-1/messages/other", 400, "InvalidOperation"),
        (.post, "/devices/two%20words/messages/events", 400, "ArgumentInvalid"),
        (.post, "/devices/%ff/messages/events", 400, "ArgumentInvalid"),
        (.post, "/devices/dev-1/messages/events?x=1", 400, "InvalidProtocolVersion"),
        (.delete, "/devices/dev-1/messages/deviceBound/none", 412, "DeviceMessageLockLost"),
    ])
    func wrongRequestsGetIoTHubsErrors(
        _ method: HTTPRequest.Method, _ path: String, _ status: Int, _ code: String
    ) async throws {
        let answer = try await fixture.call(method, path, token: try token)
        #expect(answer.status == status && answer["iothub-errorcode"] == code)
        #expect(answer.json?["ExceptionMessage"]?.stringValue?.hasPrefix("Tracking ID:") == true)
    }

    @Test func tooManyEventsAre429WithATimeToTryAgain() async throws {
        var limits = ThrottleLimits()
        limits.device[.telemetry] = Rate("2/min")
        let fixture = try await DeviceAPIFixture(limits)
        try await fixture.base.makeDevice("dev-1")
        try await fixture.base.makeDevice("dev-2")
        for _ in 0..<2 {
            #expect(try await fixture.call(.post, events, token: fixture.token(of: "dev-1")).status == 204)
        }
        let answer = try await fixture.call(.post, events, token: fixture.token(of: "dev-1"))
        #expect(answer.status == 429 && answer["iothub-errorcode"] == "ThrottlingException")
        #expect(answer["Retry-After"] == "30")
        let sentence =
            "one device may do 2/min telemetry messages; send less often, or raise [throttles] device_telemetry"
        #expect(answer.json?["Message"] == .string("ErrorCode:ThrottlingException;" + sentence))
        #expect(fixture.journal.entries(of: try HubFixture.id("dev-1")).last?.sentence == sentence)
        let other = try await fixture.call(
            .post, "/devices/dev-2/messages/events", token: fixture.token(of: "dev-2"))
        #expect(other.status == 204)
        fixture.base.clock.advance(by: .seconds(30))
        #expect(try await fixture.call(.post, events, token: fixture.token(of: "dev-1")).status == 204)
        #expect(try fixture.events.count == 4)
    }
}
