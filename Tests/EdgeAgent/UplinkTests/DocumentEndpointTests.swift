import HubTransport
import Primitives
import Testing
import Tunnels

@testable import Uplink

/// Who gets the gateway's credentials with the question for a document.
@Suite struct DocumentEndpointTests {
    private func settings(_ credentials: UplinkSettings.Credentials) throws -> UplinkSettings {
        var settings = UplinkSettings(
            hubHost: "hub.example", gateway: try #require(DeviceID("gw-1")), credentials: credentials,
            caFile: "/hub.pem")
        settings.httpsPort = 8443
        return settings
    }

    private func endpoint(_ settings: UplinkSettings, _ address: String) -> HubEndpoint? {
        settings.documentEndpoint(address, bytesMax: 10, foreignCAFile: "/other.pem", present: 1_795_000_000)
    }

    @Test(arguments: [
        ("/devices/gw-1/rulesets/0f", true), ("https://hub.example:8443/a", true), ("https://HUB.example:8443/a", true),
        ("https://hub.example/a", false), ("https://hub.example:443/a", false), ("https://other.example:8443/a", false),
        ("https://hub.example.evil:8443/a", false), ("https://127.0.0.1:8443/a", false),
    ])
    func onlyTheHubItselfIsShownWhoAsks(address: String, isHub: Bool) throws {
        let withKey = try #require(endpoint(try settings(.sharedAccessKey(Secret([1, 2, 3]))), address))
        let request = try #require(withKey.request)
        #expect((request.authorization != nil) == isHub && withKey.certificate == nil)
        #expect(withKey.caFile == (isHub ? "/hub.pem" : "/other.pem"))
        #expect(request.host == withKey.host && request.port == withKey.port)
        let certificate = ClientCertificate(file: "/gw.pem", key: .file("/gw.key"))
        let withCertificate = try #require(endpoint(try settings(.certificate(certificate)), address))
        #expect((withCertificate.certificate != nil) == isHub)
        #expect(withCertificate.request?.authorization == nil)
    }

    @Test(arguments: [
        "//other.example/a", "http://hub.example:8443/a", "ftp://x/a", "", "a", "https://u@hub.example:8443/",
    ])
    func whatIsNoAddressIsNotAsked(address: String) throws {
        #expect(endpoint(try settings(.sharedAccessKey(Secret([1]))), address) == nil)
    }

    @Test func theTokenIsTheGatewaysAndEnds() throws {
        let found = try #require(endpoint(try settings(.sharedAccessKey(Secret([1, 2, 3]))), "/a"))
        let token = String(decoding: try #require(found.request?.authorization).bytes, as: UTF8.self)
        #expect(token.hasPrefix("SharedAccessSignature sr=hub.example%2Fdevices%2Fgw-1&sig="))
        #expect(token.hasSuffix("&se=1795003600"))
    }
}
