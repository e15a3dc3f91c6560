import Crypto
import FoundationEssentials
import Primitives
import SwiftASN1
import X509

/// What the hub asks of certificates beyond what the library answers.
extension Certificate {
    /// A whole certificate without anything behind it. `nil` when it is none.
    init?(der bytes: [UInt8]) {
        guard let certificate = try? Certificate(derEncoded: bytes) else { return nil }
        self = certificate
    }

    /// The last common name of the subject, which is the most specific one.
    var commonName: String? {
        for name in subject.reversed() {
            for attribute in name where attribute.type == .RDNAttributeType.commonName {
                return String(attribute.value)
            }
        }
        return nil
    }

    /// Whether it signed itself, by its names.
    var isSelfIssued: Bool { issuer == subject }

    var startsAt: WallInstant { Self.instant(notValidBefore) }
    var endsAt: WallInstant { Self.instant(notValidAfter) }

    private static func instant(_ date: Date) -> WallInstant {
        let seconds = min(max(date.timeIntervalSince1970, -1e11), 1e12)
        return WallInstant(milliseconds: Int64(seconds * 1000))
    }

    /// Names the authority behind the certificate, whichever of its certificates is shown: a digest of name and key.
    var signerID: SignerID {
        var serializer = DER.Serializer()
        try? subject.serialize(into: &serializer)  // it came from DER
        var digest = SHA256()
        digest.update(data: serializer.serializedBytes)
        digest.update(data: Array(publicKey.subjectPublicKeyInfoBytes))
        return SignerID(digest: Array(digest.finalize()))
    }

    /// The serial number without leading zeros, as it stands in revocation lists.
    var serial: [UInt8] { Self.canonical(serialNumber.bytes) }

    static func canonical(_ serial: some Sequence<UInt8>) -> [UInt8] { Array(serial.drop { $0 == 0 }) }

    /// Whether a certificate with its key may sign others.
    var maySignCertificates: Bool {
        guard case .isCertificateAuthority? = try? extensions.basicConstraints else { return false }
        return (try? extensions.keyUsage).map { $0?.keyCertSign ?? true } ?? false
    }

    /// Signature algorithms that count; SHA-1 does not.
    static let goodAlgorithms: Set<SignatureAlgorithm> = [
        .ecdsaWithSHA256, .ecdsaWithSHA384, .ecdsaWithSHA512, .sha256WithRSAEncryption, .sha384WithRSAEncryption,
        .sha512WithRSAEncryption, .ed25519,
    ]
}

/// What a certificate says of whom it was made for, for people: nothing of it is checked.
public enum CertificateName {
    /// The common name in a certificate; `nil` when there is none, or the bytes are no certificate.
    public static func common(inDER bytes: [UInt8]) -> String? { Certificate(der: bytes)?.commonName }
}

/// An authority by the digest of its name and key: 32 bytes.
struct SignerID: Hashable, Sendable {
    let digest: [UInt8]
}

/// Certificates and lists out of files that people give, in PEM or DER.
enum GivenFile {
    /// Bytes of one file.
    static let bytesMax = 5 << 20

    static func certificate(_ bytes: [UInt8], what: String) throws(AuthorityError) -> (Certificate, der: [UInt8]) {
        let der = try only("CERTIFICATE", in: bytes, what: what)
        guard let certificate = Certificate(der: der) else {
            throw AuthorityError(
                "\(what) is no certificate in PEM or DER, or its key or signature is none that the hub takes (\(ChainProblem.goodKeys)); "
                    + "give the file that the authority made")
        }
        return (certificate, der)
    }

    /// The one block of that kind, or the bytes themselves when they are no PEM.
    static func only(_ kind: String, in bytes: [UInt8], what: String) throws(AuthorityError) -> [UInt8] {
        guard bytes.count <= bytesMax else {
            throw AuthorityError("\(what) is larger than \(bytesMax >> 20) MiB; it cannot be what is wanted here")
        }
        guard let text = String(validating: bytes, as: UTF8.self), text.contains("-----BEGIN ") else { return bytes }
        guard let blocks = try? PEMDocument.parseMultiple(pemString: text) else {
            throw AuthorityError("\(what) is damaged PEM; give the file that the authority made")
        }
        guard !blocks.contains(where: { $0.discriminator.hasSuffix("PRIVATE KEY") }) else {
            throw AuthorityError("\(what) holds a private key, which the hub must never have; take it out")
        }
        let wanted = blocks.filter { $0.discriminator == kind }
        guard wanted.count == 1, blocks.count == 1 else {
            throw AuthorityError(
                "\(what) holds \(wanted.count) blocks '\(kind)' among \(blocks.count); give that one alone")
        }
        return wanted[0].derBytes
    }
}
