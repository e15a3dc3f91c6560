import Authorities
import Crypto
import Foundation
import Primitives
import SQLiteHubStore
import HubTestSupport
import SwiftASN1
import Synchronization
import X509

/// A certificate with its key, made for a test: ECDSA on P-256.
struct Issuer {
    let certificate: Certificate
    let key: P256.Signing.PrivateKey

    /// A root, or an intermediate below `above`.
    init(_ name: String, above: Issuer? = nil, from start: WallInstant, lasting: Duration = .seconds(86_400)) throws {
        self = try Self.make(
            name, above, start, lasting,
            Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            })
    }

    private init(certificate: Certificate, key: P256.Signing.PrivateKey) {
        self.certificate = certificate
        self.key = key
    }

    /// A device's certificate.
    func issue(_ name: String, from start: WallInstant, lasting: Duration = .seconds(3600)) throws -> [UInt8] {
        try Self.make(
            name, self, start, lasting,
            Certificate.Extensions { Critical(BasicConstraints.notCertificateAuthority) }
        ).der
    }

    var der: [UInt8] {
        get throws {
            var serializer = DER.Serializer()
            try serializer.serialize(certificate)
            return serializer.serializedBytes
        }
    }

    private static func make(
        _ name: String, _ above: Issuer?, _ start: WallInstant, _ lasting: Duration,
        _ extensions: Certificate.Extensions
    ) throws -> Issuer {
        let key = P256.Signing.PrivateKey()
        let subject = try DistinguishedName { CommonName(name) }
        let certificate = try Certificate(
            version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey),
            notValidBefore: date(start), notValidAfter: date(start + lasting),
            issuer: above?.certificate.subject ?? subject, subject: subject, signatureAlgorithm: .ecdsaWithSHA256,
            extensions: extensions, issuerPrivateKey: .init(above?.key ?? key))
        return Issuer(certificate: certificate, key: key)
    }

    private static func date(_ instant: WallInstant) -> Date {
        Date(timeIntervalSince1970: Double(instant.unixSeconds))
    }
}

/// Authorities on a real database, with a clock that the test moves.
struct AuthoritiesFixture {
    let folder: TemporaryFolder
    let database: HubDatabase
    let clock = TestClock()
    let authorities: CertificateAuthorities

    init() throws {
        folder = try TemporaryFolder()
        database = try HubDatabase(path: folder.file("hub.sqlite"), schema: HubSchema.hub)
        authorities = try Self.open(database, clock)
    }

    static func open(_ database: HubDatabase, _ clock: TestClock) throws -> CertificateAuthorities {
        try CertificateAuthorities(store: SQLiteAuthorityStore(database), clock: { clock.now })
    }

    /// An authority that is registered and proven.
    func proven(_ name: String) async throws -> Issuer {
        let issuer = try Issuer(name, from: clock.now)
        _ = try await authorities.add(name, file: try issuer.der)
        let code = try await authorities.makeCode(for: name)
        _ = try await authorities.prove(name, file: try issuer.issue(code, from: clock.now))
        return issuer
    }

    func trusted(_ chain: [[UInt8]]) async throws -> TrustedChain {
        switch await authorities.check(chain, now: clock.now) {
        case .trusted(let chain): return chain
        case .refused(let sentence): throw Refused(sentence: sentence)
        }
    }

    struct Refused: Error { let sentence: String }
}

extension AuthoritiesFixture {
    /// Writes past the rules, as an older hub might have.
    func changeStore(_ name: String, _ record: AuthorityRecord) async throws {
        try await SQLiteAuthorityStore(database).changeAuthority(name, decide: { _ in record }, committed: { _ in })
    }
}
