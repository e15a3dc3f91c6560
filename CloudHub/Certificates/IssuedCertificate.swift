public import Crypto
import FoundationEssentials
import Glibc
public import Primitives
import SwiftASN1
public import X509

/// A certificate with its key, made here: ECDSA on P-256, version 3.
public struct IssuedCertificate: Sendable {
    public let certificate: Certificate
    public let key: P256.Signing.PrivateKey
    public let certificatePEM: String

    public var keyPEM: String { key.pemRepresentation }

    /// From when to when a certificate holds.
    public struct Life: Sendable {
        public let start: WallInstant
        public let end: WallInstant

        public init(start: WallInstant, end: WallInstant) {
            self.start = start
            self.end = end
        }
    }

    /// What a certificate is for.
    enum Purpose {
        case authority
        case server(names: [String])
    }

    init(certificate: Certificate, key: P256.Signing.PrivateKey) throws {
        self.certificate = certificate
        self.key = key
        certificatePEM = try certificate.serializeAsPEM().pemString + "\n"
    }

    // MARK: - Making

    /// A certificate authority that signs itself, and may sign leaves only.
    public static func authority(name: String, life: Life) throws(CertificateError) -> IssuedCertificate {
        try make(name, life, .authority, key: P256.Signing.PrivateKey(), issuer: nil)
    }

    /// A server's certificate. `names` are DNS names and IP addresses.
    public func issueServer(
        names: [String], life: Life, key: P256.Signing.PrivateKey = P256.Signing.PrivateKey()
    ) throws(CertificateError) -> IssuedCertificate {
        try Self.make(names.first ?? "server", life, .server(names: names), key: key, issuer: self)
    }

    private static func make(
        _ name: String, _ life: Life, _ purpose: Purpose, key: P256.Signing.PrivateKey, issuer: IssuedCertificate?
    ) throws(CertificateError) -> IssuedCertificate {
        do {
            let subject = try DistinguishedName { CommonName(String(name.prefix(64))) }
            let publicKey = Certificate.PublicKey(key.publicKey)
            let certificate = try Certificate(
                version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: publicKey,
                notValidBefore: date(life.start), notValidAfter: date(life.end),
                issuer: issuer?.certificate.subject ?? subject, subject: subject,
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try extensions(purpose, publicKey, issuer: issuer?.certificate.publicKey),
                issuerPrivateKey: Certificate.PrivateKey(issuer?.key ?? key))
            return try IssuedCertificate(certificate: certificate, key: key)
        } catch {
            throw CertificateError(
                "it could not be encoded", doing: "make a certificate for '\(name)'", underlying: error)
        }
    }

    private static func date(_ instant: WallInstant) -> Date {
        Date(timeIntervalSince1970: Double(instant.unixSeconds))
    }

    private static func extensions(
        _ purpose: Purpose, _ key: Certificate.PublicKey, issuer: Certificate.PublicKey?
    ) throws -> Certificate.Extensions {
        var list: [Certificate.Extension] = []
        switch purpose {
        case .authority:
            list.append(try .init(BasicConstraints.isCertificateAuthority(maxPathLength: 0), critical: true))
            list.append(try .init(KeyUsage(keyCertSign: true, cRLSign: true), critical: true))
        case .server(let names):
            list.append(try .init(BasicConstraints.notCertificateAuthority, critical: true))
            list.append(try .init(KeyUsage(digitalSignature: true), critical: true))
            list.append(try .init(ExtendedKeyUsage([.serverAuth]), critical: false))
            list.append(try .init(SubjectAlternativeNames(names.map(generalName)), critical: false))
        }
        list.append(try .init(SubjectKeyIdentifier(hash: key), critical: false))
        let signer = SubjectKeyIdentifier(hash: issuer ?? key).keyIdentifier
        list.append(try .init(AuthorityKeyIdentifier(keyIdentifier: signer), critical: false))
        return try Certificate.Extensions(list)
    }

    /// An IP address as one, everything else as a DNS name.
    static func generalName(_ name: String) -> GeneralName {
        address(name).map { .ipAddress(ASN1OctetString(contentBytes: $0[...])) } ?? .dnsName(name)
    }

    private static func address(_ text: String) -> [UInt8]? {
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if inet_pton(family, text, &bytes) == 1 { return bytes }
        }
        return nil
    }
}
