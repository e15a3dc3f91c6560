import Crypto
import HubContract
import Primitives
import Testing

func hmacSHA256(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
    Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
}

@Suite("Credentials")
struct CredentialTests {
    static let keyText = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

    /// Signatures made with Python's hmac over `sr + "\n1893456000"`.
    static let vectors: [(producer: String, resource: String, signature: String, isKeyText: Bool)] = [
        ("device SDK", "hub.example.com%2Fdevices%2Fdev-1", "B2wKhAnPzSfqHQ5IGfZ4VwqC7CNVMHQ2ic4PFTOlk1Q=", false),
        (
            "module", "hub.example.com%2Fdevices%2FDev_A%2Fmodules%2Fm1",
            "LAYOthVdynt1/fbxXoicLr07mEG6bp+nhoDhqeW2rQo=", false
        ),
        ("service REST", "hub.example.com", "0ybjWqb2iuIYsT9aRPtEu4TBAzr3z9wrj+xyQjojGYc=", false),
        ("service REST with port", "hub.example.com%3A8443", "ipMW09+QZDyr4g9EjnQD6MP27v+xXAOMuNLOEBthxf8=", false),
        ("service AMQP, raw", "hub.example.com:8443", "HL4XE1XIajInjNmWYNsqlPCg8c0wphi7nib7UDHX9qk=", false),
        ("lower-case hex", "hub.example.com%2fdevices%2fdev-1", "Z6CQ4FUbgiUkNzw1mNNW+uaxZ9MgTYV1A93DvNkRnuM=", false),
        ("raw slashes", "hub.example.com/devices/dev-1", "tbvbMKiZ6gmJQMUcKbQ4HUNBWn0Ktr/ds6KZ0l0MMC0=", false),
        (
            "Event Hubs, key text", "sb%3A%2F%2Fhub.example.com%2Fentity",
            "hQp2Sd1GH00DVZyvNyvIkDedJRUxH2+2xpshr1j2pfw=", true
        ),
    ]

    @Test("a signature over the raw resource text verifies, and no other does", arguments: vectors)
    func signatures(producer: String, resource: String, signature: String, isKeyText: Bool) throws {
        let key = isKeyText ? Array(Self.keyText.utf8) : try #require(Base64.decode(Self.keyText))
        let text = "SharedAccessSignature sr=\(resource)&sig=\(PercentEncoding.encode(signature))&se=1893456000"
        let token = try SASToken(parsing: text)
        #expect(token.resource == resource)
        #expect(token.isSigned(by: key, hmacSHA256: hmacSHA256), "\(producer)")
        #expect(!token.isSigned(by: key + [1], hmacSHA256: hmacSHA256))
        let later = try SASToken(parsing: text.replacing("se=1893456000", with: "se=1893456001"))
        #expect(!later.isSigned(by: key, hmacSHA256: hmacSHA256))
        #expect(SASToken.build(resource: resource, key: key, expiry: 1_893_456_000, hmacSHA256: hmacSHA256) == text)
        let recoded = try SASToken(parsing: text.replacing("hub.example", with: "HUB.example"))
        #expect(!recoded.isSigned(by: key, hmacSHA256: hmacSHA256))
    }

    @Test("fields come in any order, the signature encoded or not, the policy decoded")
    func order() throws {
        let token = try SASToken(
            parsing: "SharedAccessSignature se=5&skn=a%20b&sig=tbvbMKiZ6gmJQMUcKbQ4HUNBWn0Ktr/ds6KZ0l0MMC0=&sr=h")
        #expect(token.policy == "a b")
        #expect(token.expiry == 5)
        #expect(token.signature.count == 32)
        #expect(try SASToken(parsing: "SharedAccessSignature sr=h&sig=AAAA&se=5&skn=").policy == nil)
    }

    @Test(
        "a broken token is refused by kind",
        arguments: [
            ("", .notASignature), ("Basic x", .notASignature), ("SharedAccessSignature", .notASignature),
            ("SharedAccessSignature sig=AAAA&se=1", .missingField("sr")),
            ("SharedAccessSignature sr=h&se=1", .missingField("sig")),
            ("SharedAccessSignature sr=h&sig=AAAA", .missingField("se")),
            ("SharedAccessSignature sr=h&sig=AAA&se=1", .badField("sig")),
            ("SharedAccessSignature sr=h&sig=%4&se=1", .badField("sig")),
            ("SharedAccessSignature sr=h&sig=AAAA&se=-1", .badField("se")),
            ("SharedAccessSignature sr=h&sig=AAAA&se=99999999999999999999", .badField("se")),
            ("SharedAccessSignature sr=h&sr=h&sig=AAAA&se=1", .repeatedField("sr")),
            ("SharedAccessSignature sr", .badField("sr")),
            ("SharedAccessSignature sr=" + String(repeating: "a", count: 3000), .tooLong),
        ] as [(String, SASError.Problem)])
    func brokenTokens(text: String, problem: SASError.Problem) {
        let error = #expect(throws: SASError.self) { try SASToken(parsing: text) }
        #expect(error?.problem == problem)
    }

    @Test(
        "a resource covers itself and whole segments below it",
        arguments: [
            ("H%2Fdevices%2Fa", ["devices", "a"], true), ("H%2Fdevices%2Fa", ["devices", "a", "modules", "m"], true),
            ("H%2Fdevices%2Fa", ["devices", "ab"], false), ("H%2Fdevices%2Fa", ["devices"], false),
            ("H%2Fdevices%2Fa", ["devices", "A"], false), ("h", ["devices", "a"], true), ("H", [], true),
            ("H%3A8443", ["x"], true), ("H:8443", ["x"], true), ("h%2fdevices%2fa", ["devices", "a"], true),
            ("H/devices/a/", ["devices", "a"], true), ("sb%3A%2F%2Fh%2Fentity", ["entity"], true),
            ("other", ["x"], false), ("Hx", ["x"], false), ("", ["x"], false),
            ("%2Fdevices%2Fa", ["devices", "a"], false),
            ("H%2Fdevices%2Fa%252Fb", ["devices", "a%2Fb"], true), ("H/devices/50%", ["devices", "50%"], true),
            ("H%2Fdevices%2F100%25", ["devices", "100%"], true),
        ] as [(String, [String], Bool)])
    func covers(resource: String, path: [String], expected: Bool) throws {
        guard !resource.isEmpty else { return }
        let token = try SASToken(parsing: "SharedAccessSignature sr=\(resource)&sig=AAAA&se=5")
        #expect(token.covers(host: "h", path: path) == expected)
        #expect(token.covers(host: "H:8883", path: path) == expected)
    }

    @Test("a token is over at its second, and a far one never overflows")
    func expiry() throws {
        let token = try SASToken(parsing: "SharedAccessSignature sr=h&sig=AAAA&se=5")
        #expect(!token.isExpired(at: WallInstant(milliseconds: 4999)))
        #expect(token.isExpired(at: WallInstant(milliseconds: 5000)))
        let far = try SASToken(parsing: "SharedAccessSignature sr=h&sig=AAAA&se=9223372036854775807")
        #expect(!far.isExpired(at: WallInstant(milliseconds: .max - 1)))
    }

    @Test("the provisioning service's derived key comes out as documented")
    func derivedKey() throws {
        let groupKey = try #require(
            Base64.decode("8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="))
        let derived = hmacSHA256(groupKey, Array("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6".utf8))
        #expect(Base64.encode(derived) == "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=")
    }

    @Test("a resource for an identity is encoded whole")
    func resource() throws {
        let identity = try #require(HubIdentity("Dev A".replacing(" ", with: "_") + "/m$1"))
        #expect(
            SASToken.resource(host: "h.example", path: identity.resourcePath)
                == "h.example%2Fdevices%2FDev_A%2Fmodules%2Fm%241")
    }

    @Test(
        "every kind of connection string reads and writes back",
        arguments: [
            "HostName=h.example;DeviceId=d1;SharedAccessKey=AAAA",
            "HostName=h;DeviceId=d1;ModuleId=m;SharedAccessKey=AAA=",
            "HostName=h;DeviceId=d1;SharedAccessKey=AAAA;GatewayHostName=g", "HostName=h;DeviceId=d1;x509=true",
            "HostName=h:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA",
        ])
    func connectionStrings(text: String) throws {
        let parsed = try ConnectionString(parsing: text)
        #expect(parsed.text(revealingKey: true) == text)
        #expect(!parsed.text(revealingKey: false).contains("AAA"))
        #expect(!"\(parsed)".contains("AAA"))
        let shuffled = text.split(separator: ";").reversed().joined(separator: ";") + ";\n"
        #expect(try ConnectionString(parsing: shuffled).text(revealingKey: true) == text)
    }

    @Test(
        "a broken connection string is refused by kind, and never shows a value",
        arguments: [
            ("", .missing(["HostName"])), ("HostName=h", .missing(["DeviceId", "SharedAccessKeyName"])),
            ("HostName=h;DeviceId=d", .missing(["SharedAccessKey", "x509"])),
            ("HostName=h;SharedAccessKeyName=p", .missing(["SharedAccessKey"])),
            ("HostName=h;DeviceId=d;SharedAccessKey=S3cret;Hostname=h;Foo=1", .unknown(["Hostname", "Foo"])),
            ("HostName=h;HostName=h;DeviceId=d;x509=true", .repeated("HostName")),
            ("HostName=h;S3cret", .notAPair(part: 2)),
            ("HostName=h;DeviceId=d;SharedAccessKey=S3cret", .badValue("SharedAccessKey")),
            ("HostName=h;DeviceId=d d;SharedAccessKey=AAAA", .notAPair(part: 3)),
            ("HostName=h;DeviceId=d/d;SharedAccessKey=AAAA", .badValue("DeviceId")),
            ("HostName=https://h;DeviceId=d;SharedAccessKey=AAAA", .badValue("HostName")),
            ("HostName=h;DeviceId=d;SharedAccessKey=AAAA;x509=true", .keyAndCertificate),
            ("HostName=h;DeviceId=d;x509=yes", .badValue("x509")),
            ("HostName=h;ModuleId=m;x509=true", .missing(["DeviceId"])),
            ("HostName=h;DeviceId=;x509=true", .badValue("DeviceId")), ("HostName=h;x509=true", .missing(["DeviceId"])),
        ] as [(String, ConnectionStringError.Problem)])
    func brokenConnectionStrings(text: String, problem: ConnectionStringError.Problem) {
        let error = #expect(throws: ConnectionStringError.self) { try ConnectionString(parsing: text) }
        #expect(error?.problem == problem)
        #expect(error?.description.contains("S3cret") == false)
    }

    @Test(
        "every form of user name reads",
        arguments: [
            ("H/D", "D", nil, nil), ("H/D/", "D", nil, nil), ("H/D/M", "D/M", nil, nil), ("H/D/M/", "D/M", nil, nil),
            (
                "H/D/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%28x%29ACME%2F1%20x",
                "D", "2019-10-01", nil
            ),
            ("H/D/M/?api-version=2019-10-01", "D/M", "2019-10-01", nil),
            ("H/D/api-version=2016-11-14", "D", "2016-11-14", nil),
            ("H/D/M/api-version=2016-11-14", "D/M", "2016-11-14", nil),
            ("H/D/?api-version=2021-04-12", "D", "2021-04-12", nil),
            (
                "H/D/?api-version=2020-09-30&DeviceClientType=c%2f1&model-id=dtmi%3Aacme%3Athing%3B1", "D",
                "2020-09-30", "dtmi:acme:thing;1"
            ),
            ("H/D/?api-version=2021-04-12&DeviceClientType=a/b", "D", "2021-04-12", nil),
            ("H/D?x/?api-version=1", "D?x", "1", nil),
        ] as [(String, String, String?, String?)])
    func userNames(text: String, identity: String, version: String?, model: String?) throws {
        let name = try ConnectUserName(parsing: text)
        #expect(name.host == "H")
        #expect(name.identity.description == identity)
        #expect(name.apiVersion == version)
        #expect(name.modelID == model)
        let again = try ConnectUserName(parsing: name.text)
        #expect(again == name)
    }

    @Test(
        "a user name that names nobody is refused by kind",
        arguments: [
            ("", .wrongShape), ("H", .wrongShape), ("H/D/M/x", .wrongShape), ("/D", .noHost), ("H//", .badDeviceID),
            ("H/a b", .badDeviceID), ("H/D/m m", .badModuleID),
            ("0ne000/registrations/rid/api-version=2019-03-31&ClientVersion=x", .belongsToProvisioning),
        ] as [(String, ConnectUserNameError.Problem)])
    func badUserNames(text: String, problem: ConnectUserNameError.Problem) {
        let error = #expect(throws: ConnectUserNameError.self) { try ConnectUserName(parsing: text) }
        #expect(error?.problem == problem)
    }

    @Test("hosts compare without case and port")
    func hosts() {
        #expect(HostName.same("Hub.Example:443", "hub.example"))
        #expect(!HostName.same("hub.example", "hub.example.org"))
        #expect(HostName.withoutPort("[::1]:443") == "[::1]")
        #expect(HostName.withoutPort("::1") == "::1")
    }
}
