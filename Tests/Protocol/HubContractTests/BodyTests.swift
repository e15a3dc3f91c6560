import HubContract
import JSON
import Primitives
import Testing

@Suite("REST bodies and errors")
struct BodyTests {
    static let now = WallInstant(milliseconds: 1_700_000_000_250)

    @Test("an error's body is what SDKs read")
    func errorBody() {
        let error = HubError(.deviceNotFound, "device 'd' is not registered")
        #expect(error.httpStatus == 404)
        #expect(
            error.body(trackingID: "abc", at: Self.now).text
                == #"{"Message":"ErrorCode:DeviceNotFound;device 'd' is not registered","ExceptionMessage":"Tracking ID:abc-G:0-TimeStamp:11/14/2023 22:13:20"}"#
        )
        let offline = HubError(.deviceNotOnline, "Timed out waiting for device to connect.")
        let nested = offline.body(trackingID: "abc", at: Self.now)["Message"]?.stringValue ?? ""
        #expect((try? JSONValue(parsing: nested))?["errorCode"]?.int64Value == 404_103)
    }

    @Test("every code has the status that its number begins with, and a name", arguments: HubErrorCode.allCases)
    func codes(code: HubErrorCode) {
        #expect((400...504).contains(code.httpStatus))
        #expect(code.name.first?.isUppercase == true)
    }

    @Test("a device reads from what the SDK sends and shows all of its fields")
    func device() throws {
        let identity = try #require(HubIdentity("dev-1"))
        let body = try DeviceBody(
            parsing: JSONValue(
                parsing:
                    #"{"deviceId":"dev-1","status":"disabled","statusReason":"r","authentication":{"symmetricKey":{"primaryKey":"AAECAwQFBgcICQoLDA0ODw==","secondaryKey":""},"type":"sas"},"capabilities":{"iotEdge":true}}"#
            ), for: identity)
        #expect(!body.isEnabled)
        #expect(body.isEdge)
        guard case .sas(let primary, let secondary)? = body.authentication else { return #expect(Bool(false), "sas") }
        #expect(primary?.bytes == Array(0...15))
        #expect(secondary == nil)
        let shown = body.json()
        #expect(shown["authentication"]?["symmetricKey"]?["primaryKey"] == "AAECAwQFBgcICQoLDA0ODw==")
        #expect(shown["lastActivityTime"] == "0001-01-01T00:00:00Z")
        #expect(shown["connectionState"] == "Disconnected")
        #expect(
            shown.objectValue?.keys == [
                "deviceId", "generationId", "etag", "connectionState", "status", "statusReason",
                "connectionStateUpdatedTime",
                "statusUpdatedTime", "lastActivityTime", "cloudToDeviceMessageCount", "authentication", "capabilities",
                "parentScopes",
            ])
    }

    @Test("a device is taken back as it was shown", arguments: [nil, "in the workshop"])
    func shownDevice(reason: String?) throws {
        let identity = try #require(HubIdentity("dev-1"))
        var body = DeviceBody(identity: identity)
        body.statusReason = reason
        let shown = try JSONValue(parsing: body.json().text)
        #expect(try DeviceBody(parsing: shown, for: identity).statusReason == reason)
    }

    @Test(
        "a wrong device body is refused with what to do",
        arguments: [
            ("[]", "the device is not a JSON object"),
            (#"{"deviceId":"x"}"#, "'deviceId' is 'x' in the body but 'dev-1' in the path"),
            (#"{"status":"on"}"#, "status is neither 'enabled' nor 'disabled'"),
            (#"{"status":1}"#, "'status' of the device is not a text"),
            (
                #"{"authentication":{"type":"tpm"}}"#,
                "authentication.type is 'tpm'; use sas, selfSigned, certificateAuthority or none"
            ),
            (
                #"{"authentication":{"symmetricKey":{"primaryKey":"abc"}}}"#,
                "primaryKey is not base64 of 16 to 64 bytes; leave it out to have one made"
            ),
            (
                #"{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"ab"}}}"#,
                "primaryThumbprint is neither a SHA-1 (40 hex digits) nor a SHA-256 (64 hex digits) thumbprint"
            ),
            (#"{"capabilities":{"iotEdge":"yes"}}"#, "'iotEdge' of 'capabilities' is not true or false"),
            (#"{"parentScopes":[1]}"#, "'parentScopes' of the device is not a list of at most 100 texts"),
        ])
    func badDevice(text: String, message: String) throws {
        let identity = try #require(HubIdentity("dev-1"))
        let error = #expect(throws: HubError.self) { try DeviceBody(parsing: JSONValue(parsing: text), for: identity) }
        #expect(error?.message == message)
    }

    @Test("a twin is shown with what the registry knows of the device")
    func twin() throws {
        var device = DeviceBody(identity: try #require(HubIdentity("dev-1")))
        device.authentication = .selfSigned(primary: "AB", secondary: nil)
        device.etag = "e1"
        let shown = device.twinJSON(TwinDocument(at: Self.now))
        #expect(shown["authenticationType"] == "selfSigned")
        #expect(shown["x509Thumbprint"]?["primaryThumbprint"] == "AB")
        #expect(shown["deviceEtag"] == "e1")
        #expect(shown["etag"] == "AAAAAAAAAAE=")
        #expect(shown["properties"]?["desired"]?["$version"] == 1)
        #expect(shown["properties"]?["desired"]?["$metadata"]?["$lastUpdatedVersion"] == 1)
    }

    @Test("a bulk call reads its items, and a broken one is named")
    func bulk() throws {
        let items = try BulkDeviceBody.list(
            parsing: JSONValue(
                parsing:
                    #"[{"id":"a","importMode":"create","tags":{"x":1}},{"id":"b","moduleId":"m","importMode":"deleteIfMatchETag","eTag":"e"},{"id":"c"}]"#
            ))
        #expect(items.map(\.mode) == [.create, .deleteIfMatchETag, .createOrUpdate])
        #expect(items[0].twin == ["tags": ["x": 1]])
        #expect(items[1].device.identity.description == "b/m")
        #expect(items[1].device.etag == "e")
        let error = #expect(throws: HubError.self) { try BulkDeviceBody.list(parsing: [["id": "a"], ["id": ""]]) }
        #expect(error?.message == "item 2: 'id' is missing or no device id")
        let many = #expect(throws: HubError.self) {
            try BulkDeviceBody.list(parsing: .array([JSONValue](repeating: ["id": "a"], count: 101)))
        }
        #expect(many?.code == .tooManyDevices)
    }

    @Test("a bulk answer is 200 when all went well and 400 with the failures otherwise")
    func bulkResult() throws {
        #expect(BulkResultBody(failures: []).json().text == #"{"isSuccessful":true,"errors":[],"warnings":[]}"#)
        let failed = BulkResultBody(failures: [
            .init(
                identity: try #require(HubIdentity("a")), error: HubError(.deviceAlreadyExists, "it is there already"))
        ])
        #expect(failed.httpStatus == 400)
        #expect(
            failed.json()["errors"]?.text
                == #"[{"deviceId":"a","errorCode":"DeviceAlreadyExists","errorStatus":"it is there already"}]"#)
    }

    @Test("a method request reads with its default times")
    func method() throws {
        let body = try MethodBody(parsing: ["methodName": "reboot", "payload": ["x": 1]])
        #expect(body.responseTimeout == .seconds(30))
        #expect(body.connectTimeout == .zero)
        #expect(try MethodBody(parsing: ["methodName": "a", "payload": ""]).payload == "")
        #expect(try MethodBody(parsing: ["methodName": "a"]).payload == .null)
    }

    @Test(
        "a wrong method request is refused with the range",
        arguments: [
            (["payload": 1], "methodName is missing, or not 1 to 64 characters without '/', '+' and '#'"),
            (["methodName": "a/b"], "methodName is missing, or not 1 to 64 characters without '/', '+' and '#'"),
            (
                ["methodName": "a", "responseTimeoutInSeconds": 4],
                "responseTimeoutInSeconds is not a whole number from 5 to 300"
            ),
            (
                ["methodName": "a", "connectTimeoutInSeconds": 301],
                "connectTimeoutInSeconds is not a whole number from 0 to 300"
            ),
            (
                ["methodName": "a", "payload": .string(String(repeating: "x", count: 131_072))],
                "the payload has 131074 bytes; at most 131072 are taken"
            ),
        ] as [(JSONValue, String)])
    func badMethod(body: JSONValue, message: String) {
        let error = #expect(throws: HubError.self) { try MethodBody(parsing: body) }
        #expect(error?.message == message)
    }

    @Test(
        "If-Match reads quoted, bare and starred",
        arguments: [("\"*\"", true), ("*", true), ("\"e\"", true), ("e", true), ("W/\"e\"", true), ("\"f\"", false)])
    func ifMatch(header: String, matches: Bool) {
        #expect(ETagCondition(header: header)?.matches("e") == matches)
        #expect(ETagCondition(header: nil) == nil)
        #expect(ETagCondition(header: "") == nil)
    }
}
