import Crypto
import HubTestSupport
import Primitives
import Synchronization
import Testing

@testable import Authorities

@Suite struct CertificateAuthoritiesTests {
    let fixture: AuthoritiesFixture
    var authorities: CertificateAuthorities { fixture.authorities }
    var now: WallInstant { fixture.clock.now }

    init() throws { fixture = try AuthoritiesFixture() }

    private func fingerprint(_ der: [UInt8]) -> String { Hex.encode(SHA256.hash(data: der)) }

    @Test func aGoodChainIsRememberedUntilItsFirstCertificateEnds() async throws {
        let root = try await fixture.proven("root")
        let middle = try Issuer("middle", above: root, from: now, lasting: .seconds(600))
        let leaf = try middle.issue("dev-1", from: now)
        #expect(authorities.remembered(leafSHA256: fingerprint(leaf), now: now) == nil)
        let chain = try await fixture.trusted([leaf, try middle.der])
        #expect(chain.commonName == "dev-1" && chain.endsAt == now + .seconds(600))
        #expect(authorities.remembered(leafSHA256: fingerprint(leaf).uppercased(), now: now) == chain)
        fixture.clock.advance(by: .seconds(601))
        #expect(authorities.remembered(leafSHA256: fingerprint(leaf), now: now) == nil)
        await #expect(throws: AuthoritiesFixture.Refused.self) { try await fixture.trusted([leaf]) }
    }

    @Test func everyChangeEmptiesWhatIsRemembered() async throws {
        let root = try await fixture.proven("root")
        let leaf = try root.issue("dev-1", from: now)
        let chain = try await fixture.trusted([leaf])
        _ = try await authorities.makeCode(for: "root")
        #expect(authorities.remembered(leafSHA256: fingerprint(leaf), now: now) == nil)
        #expect(authorities.objection(to: chain) == nil, "what is forgotten may still be good")
        try await authorities.delete("root")
        #expect(authorities.objection(to: chain) == .authorityRemoved)
    }

    @Test func aSuccessorWithTheSameNameAndKeyKeepsItsDevices() async throws {
        let root = try await fixture.proven("root")
        let chain = try await fixture.trusted([try root.issue("dev-1", from: now)])
        let stranger = try await fixture.proven("other")
        #expect(stranger.certificate.signerID != root.certificate.signerID)
        #expect(authorities.objection(to: chain) == nil)
    }

    @Test func observersHearOfEveryChangeOnceItIsDurable() async throws {
        let heard = Mutex(0)
        let authorities = authorities
        authorities.onLoss { heard.withLock { $0 += 1 } }
        _ = try await fixture.proven("root")
        #expect(heard.withLock { $0 } == 3)
        await #expect(throws: AuthorityError.self) { try await authorities.delete("nobody") }
        #expect(heard.withLock { $0 } == 3)
    }

    @Test func everythingIsThereAfterARestart() async throws {
        let root = try await fixture.proven("root")
        let again = try AuthoritiesFixture.open(fixture.database, fixture.clock)
        #expect(again.summaries == authorities.summaries)
        guard case .trusted = await again.check([try root.issue("dev-1", from: now)], now: now) else {
            Issue.record("refused after a restart")
            return
        }
    }

    @Test func aHundredAuthoritiesAndNoMore() async throws {
        let record = try await template()
        for number in 0..<99 {
            try await store(record, as: "a-\(number)")
        }
        let full = try AuthoritiesFixture.open(fixture.database, fixture.clock)
        #expect(full.summaries.count == 100)
        let one = try Issuer("one-more", from: now)
        await #expect(throws: AuthorityError("the hub has 100 authorities, which is the limit; delete one")) {
            try await full.add("one-more", file: try one.der)
        }
    }

    private func template() async throws -> AuthorityRecord {
        let root = try Issuer("root", from: now)
        _ = try await authorities.add("root", file: try root.der)
        return AuthorityRecord(name: "", certificate: try root.der, addedAt: now)
    }

    private func store(_ record: AuthorityRecord, as name: String) async throws {
        let own = AuthorityRecord(name: name, certificate: record.certificate, addedAt: record.addedAt)
        try await fixture.changeStore(name, own)
    }

    @Test func oldIntermediatesGiveWayToNewOnes() async throws {
        let root = try await fixture.proven("root")
        for number in 0..<3 {
            let middle = try Issuer("middle-\(number)", above: root, from: now)
            _ = try await fixture.trusted([try middle.issue("dev-\(number)", from: now), try middle.der])
        }
        #expect(authorities.state.withLock { $0.intermediates.count } == 3)
        let known = authorities.state.withLock { $0.intermediates[0] }
        authorities.state.withLock {
            $0.intermediates = Array(repeating: known, count: CertificateAuthorities.intermediatesMax)
        }
        let late = try Issuer("late", above: root, from: now)
        _ = try await fixture.trusted([try late.issue("dev-9", from: now), try late.der])
        let kept = authorities.state.withLock { $0.intermediates }
        #expect(kept.count == CertificateAuthorities.intermediatesMax && kept.last == late.certificate)
    }

    @Test func rememberedChainsAreBounded() async throws {
        let root = try await fixture.proven("root")
        let chain = try await fixture.trusted([try root.issue("dev-1", from: now)])
        authorities.state.withLock { state in
            for number in 0..<CertificateAuthorities.chainsMax { state.chains["\(number)"] = chain }
        }
        let leaf = try root.issue("dev-2", from: now)
        _ = try await fixture.trusted([leaf])
        #expect(authorities.state.withLock { $0.chains.count } == 1)
        #expect(authorities.remembered(leafSHA256: fingerprint(leaf), now: now)?.commonName == "dev-2")
    }

    @Test func bytesFromPeersNeverTrap() async throws {
        let root = try await fixture.proven("root")
        let leaf = try root.issue("dev-1", from: now)
        var random = SeededRandom(seed: 20_261_121)
        for _ in 0..<300 {
            var damaged = leaf
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                damaged[Int.random(in: damaged.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { damaged.removeLast(Int.random(in: 0..<damaged.count, using: &random)) }
            if case .trusted = await authorities.check([damaged, damaged], now: now) {
                #expect(damaged == leaf, "a changed certificate is trusted")
            }
            _ = try? RevocationList(der: damaged)
        }
        #expect(await authorities.check([], now: now) != .refused(""))
    }
}
