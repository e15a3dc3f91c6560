import HubContract
import HubTestSupport
import Primitives
import Registry
import Testing

@Suite struct AuthenticationTests {
    let fixture: HubFixture
    let device: DeviceRecord
    let key: Secret
    var registry: DeviceRegistry { fixture.registry }
    var now: WallInstant { fixture.clock.now }
    var later: Int64 { now.unixSeconds + 3600 }

    static let sha1 = String(repeating: "A1", count: 20)
    static let sha256 = String(repeating: "b2", count: 32)

    init() async throws {
        fixture = try await HubFixture()
        device = try await fixture.makeDevice("dev-1")
        key = try #require(device.primaryKey)
    }

    private func identity(_ text: String = "dev-1") throws -> HubIdentity { try #require(HubIdentity(text)) }

    private func outcome(
        _ token: String?, as id: String = "dev-1", host: String = "hub.example", sha1: String? = nil,
        sha256: String? = nil, chain: ChainFinding = .unchecked
    ) throws -> AuthenticationOutcome {
        registry.authenticate(
            ConnectAttempt(
                host: host, identity: try identity(id), password: token.map { Secret($0.utf8) }, leafSHA1: sha1,
                leafSHA256: sha256, chain: chain), now: now)
    }

    private func sentence(_ outcome: AuthenticationOutcome) -> String? {
        if case .refused(let reason) = outcome { reason.sentence } else { nil }
    }

    private func principal(_ outcome: AuthenticationOutcome) throws -> Principal {
        guard case .accepted(let principal) = outcome else {
            throw HubFixture.Failure.badID("refused: \(sentence(outcome) ?? "the chain is unchecked")")
        }
        return principal
    }

    private func token(_ key: Secret, _ path: [String], host: String = "hub.example", policy: String? = nil) -> String {
        HubFixture.token(key: key, path: path, expiry: later, host: host, policy: policy)
    }

    private func policyToken(_ name: String, path: [String] = []) throws -> String {
        token(try #require(registry.policy(name)).primary, path, policy: name)
    }

    @Test func eitherKeyOfTheDeviceLetsItIn() throws {
        for key in [key, try #require(device.secondaryKey)] {
            let principal = try principal(try outcome(token(key, ["devices", "dev-1"])))
            #expect(principal.identity == (try identity()) && principal.generationID == device.generationID)
            #expect(principal.authType == .sas && principal.scope == .device)
            #expect(principal.expiresAt == WallInstant(milliseconds: later * 1000))
        }
    }

    @Test func hostIsComparedWithoutCaseAndPortAndMayBeAnyOfTheHubsNames() throws {
        for host in ["HUB.example", "hub.example:8883", "localhost"] {
            let outcome = try outcome(token(key, ["devices", "dev-1"], host: host), host: host)
            #expect(sentence(outcome) == nil, "\(host)")
        }
    }

    @Test func policyWithDeviceConnectLetsAnyDeviceIn() throws {
        for policy in ["iothubowner", "device"] {
            guard case .accepted(let principal) = try outcome(policyToken(policy)) else {
                Issue.record("refused: \(policy)")
                continue
            }
            #expect(principal.scope == .hub && principal.identity.description == "dev-1")
        }
    }

    @Test func moduleHasItsOwnKeys() async throws {
        let module = try await registry.create(ModuleDraft(device: device.id, id: "reader"))
        guard case .sas(let own, _) = module.authentication else { throw HubFixture.Failure.badID("no key") }
        let path = ["devices", "dev-1", "modules", "reader"]
        guard case .accepted(let principal) = try outcome(token(own, path), as: "dev-1/reader") else {
            Issue.record("refused")
            return
        }
        #expect(principal.scope == .module && principal.generationID == module.generationID)
        #expect(
            sentence(try outcome(token(key, path), as: "dev-1/reader"))?.contains("neither of its two keys") == true)
    }

    @Test func thumbprintsOfBothLengthsInAnyCaseLetTheDeviceIn() async throws {
        var draft = DeviceDraft(id: try HubFixture.id("cert-1"))
        draft.authentication = .selfSigned(primary: Thumbprint(Self.sha1), secondary: Thumbprint(Self.sha256))
        let device = try await registry.create(draft)
        let shown: [(String?, String?)] = [(Self.sha1.lowercased(), nil), (nil, Self.sha256.uppercased())]
        for (sha1, sha256) in shown {
            let principal = try principal(try outcome(nil, as: "cert-1", sha1: sha1, sha256: sha256))
            #expect(principal.identity == (try identity("cert-1")) && principal.generationID == device.generationID)
            #expect(principal.authType == .x509Certificate && principal.scope == .device)
            #expect(principal.expiresAt == nil)
        }
        let stranger = String(repeating: "0f", count: 32)
        #expect(
            sentence(try outcome(nil, as: "cert-1", sha256: stranger))
                == "the certificate of cert-1 has neither registered thumbprint; its SHA-256 is \(stranger.uppercased())"
        )
        #expect(
            sentence(try outcome(token(key, ["devices", "cert-1"]), as: "cert-1"))
                == "cert-1 sent a token, but is registered with certificate thumbprints; give it its certificate or "
                + "change its authentication to sas")
    }

    @Test func expiredTokenNamesTheClockDifference() throws {
        let expiry = now.unixSeconds - 3780
        let token = HubFixture.token(key: key, path: ["devices", "dev-1"], expiry: expiry)
        #expect(
            sentence(try outcome(token))
                == "token of dev-1 expired 1 h 3 min before the hub's clock (2026-11-21T09:00:00Z); check the device's "
                + "clock or renew the token")
    }

    @Test func tokenIsGoodUntilTheSecondOfItsExpiry() throws {
        let path = ["devices", "dev-1"]
        let last = HubFixture.token(key: key, path: path, expiry: now.unixSeconds + 1)
        #expect(sentence(try outcome(last)) == nil)
        let over = HubFixture.token(key: key, path: path, expiry: now.unixSeconds)
        #expect(sentence(try outcome(over))?.hasPrefix("token of dev-1 expired 0 s before") == true)
    }

    @Test func eachRefusalHasItsOwnSentence() async throws {
        var disabled = DeviceDraft(id: try HubFixture.id("off"))
        disabled.status = .disabled
        disabled.statusReason = "stolen"
        try await registry.create(disabled)
        var mute = DeviceDraft(id: try HubFixture.id("mute"))
        mute.authentication = AuthenticationDraft.none
        try await registry.create(mute)
        var chained = DeviceDraft(id: try HubFixture.id("chained"))
        chained.authentication = .certificateAuthority
        try await registry.create(chained)
        let own = ["devices", "dev-1"]
        let wrong = Secret(Array(repeating: 1, count: 32))
        let rows: [(AuthenticationOutcome, String)] = [
            (
                try outcome(token(key, own), host: "other.example"),
                "a device asked for the hub 'other.example', but this hub is 'hub.example'; correct HostName in its "
                    + "connection string"
            ),
            (
                try outcome(token(key, ["devices", "ghost"]), as: "ghost"),
                "device ghost is not registered; create it with 'cloud-hub device create'"
            ),
            (
                try outcome(token(key, own), as: "dev-1/ghost"),
                "module dev-1/ghost is not registered; create it on its device"
            ),
            (
                try outcome(token(key, ["devices", "off"]), as: "off"),
                "device off is disabled (stolen); enable it in the registry"
            ),
            (
                try outcome(nil),
                "dev-1 sent neither a token nor a client certificate; give it its connection string or certificate"
            ),
            (
                try outcome("secret"),
                "the password of dev-1 is no SAS token: the shared access signature cannot be used: the password does "
                    + "not begin with 'SharedAccessSignature '; expected 'SharedAccessSignature sr={resource}&sig={base64}"
                    + "&se={unix seconds}[&skn={policy}]'"
            ),
            (
                try outcome(token(wrong, own)),
                "the token of dev-1 is signed with neither of its two keys; give it the connection string from the registry"
            ),
            (
                try outcome(token(key, own, host: "other.example")),
                "the token of dev-1 was made for another hub than 'hub.example'; correct HostName in its connection string"
            ),
            (
                try outcome(token(key, ["devices", "dev-10"])),
                "the token of dev-1 was made for another device; each device needs a token of its own"
            ),
            (
                try outcome(token(key, [], policy: "nobody")),
                "the token of dev-1 names the policy 'nobody', which this hub does not have"
            ),
            (
                try outcome(policyToken("service")),
                "the token of dev-1 is from the policy 'service', which has no DeviceConnect right; use the policy 'device'"
            ),
            (
                try outcome(token(wrong, [], policy: "device")),
                "the token of dev-1 is signed with neither key of the policy 'device'; copy the key again"
            ),
            (
                try outcome(nil, sha1: Self.sha1),
                "dev-1 sent a certificate and no token, but is registered with symmetric keys; give it its connection "
                    + "string or register the thumbprint"
            ),
            (
                try outcome(token(key, ["devices", "mute"]), as: "mute"),
                "mute is registered without any authentication; give it keys or a thumbprint"
            ),
            (
                try outcome(token(key, ["devices", "chained"]), as: "chained"),
                "chained sent a token, but is registered for certificates of an authority; give it its certificate or "
                    + "change its authentication to sas"
            ),
            (
                try outcome(nil, as: "chained", sha1: Self.sha1, chain: .refused("ended yesterday")),
                "the certificate of chained ended yesterday"
            ),
            (
                try outcome(
                    nil, as: "chained", sha1: Self.sha1, chain: .trusted(commonName: "Chained", endsAt: now)),
                "the certificate of chained has the common name 'Chained'; its authority has to issue one whose common "
                    + "name is 'chained'"
            ),
        ]
        for (outcome, expected) in rows { #expect(sentence(outcome) == expected) }
        #expect(Set(rows.map(\.1)).count == rows.count)
    }

    @Test func chainIsAskedForOnlyWhenTheIdentityIsRegisteredForOne() async throws {
        var draft = DeviceDraft(id: try HubFixture.id("chained"))
        draft.authentication = .certificateAuthority
        try await registry.create(draft)
        guard case .chainUnchecked = try outcome(nil, as: "chained", sha1: Self.sha1) else {
            Issue.record("decided without the chain")
            return
        }
        let end = now + .seconds(60)
        let trusted = ChainFinding.trusted(commonName: "chained", endsAt: end)
        let principal = try principal(try outcome(nil, as: "chained", sha1: Self.sha1, chain: trusted))
        #expect(principal.authType == .x509CertificateAuthority && principal.expiresAt == end)
        let other = try outcome(nil, as: "dev-1", sha1: Self.sha1, chain: trusted)
        #expect(sentence(other)?.hasPrefix("dev-1 sent a certificate and no token") == true)
    }

    @Test func onlyTheProofThatOpenedTheConnectionHasToStayGood() async throws {
        func draft(_ authentication: AuthenticationDraft?) throws -> DeviceDraft {
            var draft = DeviceDraft(id: try HubFixture.id("dev-1"))
            draft.authentication = authentication
            return draft
        }
        let secondary = try #require(device.secondaryKey)
        let byPrimary = try principal(try outcome(token(key, ["devices", "dev-1"])))
        let bySecondary = try principal(try outcome(token(secondary, ["devices", "dev-1"])))
        let byPolicy = try principal(try outcome(policyToken("device")))
        try await registry.update(draft(.sas(primary: secondary, secondary: key)))
        #expect([byPrimary, bySecondary, byPolicy].map(registry.objection) == [nil, nil, nil])
        let fresh = Secret(Array(repeating: 7, count: 32))
        try await registry.update(draft(.sas(primary: secondary, secondary: fresh)))
        #expect([byPrimary, bySecondary, byPolicy].map(registry.objection) == [.credentialsChanged, nil, nil])
        try await registry.update(draft(.selfSigned(primary: Thumbprint(Self.sha1), secondary: nil)))
        #expect([bySecondary, byPolicy].map(registry.objection) == [.credentialsChanged, nil])
        let byThumbprint = try principal(try outcome(nil, sha1: Self.sha1))
        try await registry.update(
            draft(.selfSigned(primary: Thumbprint(Self.sha256), secondary: Thumbprint(Self.sha1))))
        #expect(registry.objection(to: byThumbprint) == nil)
        try await registry.update(draft(.certificateAuthority))
        #expect(registry.objection(to: byThumbprint) == .credentialsChanged)
        var off = try draft(.certificateAuthority)
        off.status = .disabled
        try await registry.update(off)
        #expect(registry.objection(to: byPolicy) == .disabled)
        try await registry.delete(device.id)
        try await fixture.makeDevice("dev-1")
        #expect(registry.objection(to: byPolicy) == .removed, "it is another device of the same name")
    }

    @Test func servicePolicyNeedsTheRightOfTheRoute() throws {
        func refusal(_ header: String?, _ right: AccessRight) -> ServiceRefusal? {
            do throws(ServiceRefusal) {
                try registry.authorize(header, path: ["devices", "dev-1"], needs: right, now: now)
                return nil
            } catch { return error }
        }
        #expect(refusal(try policyToken("iothubowner"), .registryWrite) == nil)
        #expect(refusal(try policyToken("registryReadWrite", path: ["devices"]), .registryWrite) == nil)
        #expect(
            refusal(try policyToken("registryRead"), .registryWrite)
                == .lacksRight(policy: "registryRead", right: .registryWrite))
        #expect(
            refusal(try policyToken("registryRead", path: ["twins"]), .registryRead) == .otherHost(own: "hub.example"))
        #expect(refusal(nil, .registryRead) == .noToken)
        #expect(refusal(token(key, []), .registryRead) == .noPolicy)
        let old = HubFixture.token(
            key: try #require(registry.policy("service")).secondary, path: [], expiry: now.unixSeconds - 61,
            policy: "service")
        #expect(
            refusal(old, .serviceConnect)?.description
                == "token of the policy 'service' expired 1 min 1 s before the hub's clock (2026-11-21T09:00:00Z); check "
                + "the caller's clock or renew the token")
    }
}
