import Crypto
import Primitives
import X509

/// What is demanded of what the operator gives.
extension CertificateAuthorities {
    static func check(_ name: String) throws(AuthorityError) {
        let isGood = name.unicodeScalars.allSatisfy {
            $0.isASCII
                && ($0.properties.isAlphabetic || $0.properties.numericType != nil || "-._".unicodeScalars.contains($0))
        }
        guard isGood, (1...64).contains(name.utf8.count) else {
            throw AuthorityError("an authority's name has 1 to 64 ASCII letters, digits and - . _")
        }
    }

    /// Of an authority.
    static func check(_ certificate: Certificate, now: WallInstant) throws(AuthorityError) {
        guard case .isCertificateAuthority? = try? certificate.extensions.basicConstraints else {
            throw AuthorityError(
                "the certificate is no authority's: its basic constraints do not say CA; give the one that signs the devices'"
            )
        }
        guard certificate.maySignCertificates else {
            throw AuthorityError("the certificate may not sign others: its key usage lacks certificate signing")
        }
        guard now < certificate.endsAt else {
            throw AuthorityError("the certificate ended at \(certificate.endsAt); give the authority's present one")
        }
        guard
            !certificate.isSelfIssued || certificate.publicKey.isValidSignature(certificate.signature, for: certificate)
        else {
            throw AuthorityError("the certificate's own signature is wrong; give the file that the authority made")
        }
    }

    /// Of the proof that somebody holds an authority's key.
    static func check(_ proof: Certificate, of record: AuthorityRecord, now: WallInstant) throws(AuthorityError) {
        let authority = try AuthorityEntry(record).certificate
        guard let code = record.code else {
            throw AuthorityError(
                "there is no code to prove '\(record.name)' with; get one with 'cloud-hub certificate code \(record.name)'"
            )
        }
        guard proof.issuer == authority.subject, authority.publicKey.isValidSignature(proof.signature, for: proof)
        else {
            throw AuthorityError(
                "the certificate was not signed by '\(record.name)'; sign one with that authority's own key")
        }
        guard proof.commonName == code else {
            throw AuthorityError(
                "the certificate's common name is '\((proof.commonName ?? "").prefix(128))', not the code of the last "
                    + "'cloud-hub certificate code \(record.name)'; sign one whose common name is that code")
        }
        guard Certificate.goodAlgorithms.contains(proof.signatureAlgorithm) else {
            throw AuthorityError("the certificate is signed with an algorithm that is not safe; use SHA-256")
        }
        guard proof.startsAt <= now + clockTolerance, now < proof.endsAt else {
            throw AuthorityError(
                "the certificate counts from \(proof.startsAt) to \(proof.endsAt), and now is \(now); sign a new one")
        }
    }

    /// Of a revocation list.
    static func check(_ list: RevocationList, of entry: AuthorityEntry, now: WallInstant) throws(AuthorityError) {
        let usage = try? entry.certificate.extensions.keyUsage
        guard usage?.cRLSign ?? true else {
            throw AuthorityError("'\(entry.name)' may not sign revocation lists: its key usage lacks it")
        }
        guard list.issuer == entry.certificate.subject, list.isSigned(by: entry.certificate) else {
            throw AuthorityError("the revocation list was not signed by '\(entry.name)'; give that authority's own")
        }
        guard list.thisUpdate <= now + clockTolerance else {
            throw AuthorityError(
                "the revocation list begins at \(list.thisUpdate), and now is \(now); check the clocks")
        }
        if let old = entry.list, list.thisUpdate < old.thisUpdate {
            throw AuthorityError(
                "the revocation list is from \(list.thisUpdate), older than the one of \(old.thisUpdate) that the hub has"
            )
        }
    }
}

enum Thumbprinting {
    /// 64 upper-case digits.
    static func sha256(_ der: [UInt8]) -> String { Hex.encode(SHA256.hash(data: der)).uppercased() }
}
