public import Primitives
import SwiftASN1
@_spi(FixedExpiryValidationTime) import X509
import FoundationEssentials

/// A chain that leads to an authority of the hub: everything that is needed to ask later whether it still does.
public struct TrustedChain: Sendable, Hashable {
    /// Of the client's own certificate.
    public let commonName: String
    /// When the first of its certificates runs out.
    public let endsAt: WallInstant
    /// When the last of them begins to count.
    let startsAt: WallInstant
    /// The registered authority at its top.
    let top: SignerID
    /// Each certificate below the top, the client's own first: who signed it, and its number there.
    let links: [Link]

    struct Link: Sendable, Hashable {
        let signer: SignerID
        let serial: [UInt8]
        /// For sentences.
        let subject: String
    }
}

/// One look at one chain. Costs some signature checks: a few tenths of a millisecond each.
struct ChainCheck {
    /// Certificates that a client may send besides its own: a bound for the search over all ways upwards.
    static let aboveMax = 5

    let trusted: [AuthorityEntry]
    let unproven: [AuthorityEntry]
    /// Intermediates that were good before, for clients that do not send theirs.
    let known: [Certificate]
    let now: WallInstant

    /// - Parameter chain: in DER, the client's own first.
    func perform(_ chain: [[UInt8]]) async -> Result<(chain: TrustedChain, above: [Certificate]), ChainProblem> {
        guard let first = chain.first, let leaf = Certificate(der: first) else { return .failure(.unreadable) }
        guard chain.count - 1 <= Self.aboveMax else { return .failure(.tooManyCertificates(chain.count - 1)) }
        let sent = chain.dropFirst().compactMap { Certificate(der: $0) }
        let between = sent + known.filter { !sent.contains($0) }
        let names = Dictionary(
            trusted.map { ($0.certificate.signerID, $0.name) }, uniquingKeysWith: { first, _ in first })
        let finding = DevicePolicy.Finding()
        var verifier = Verifier(rootCertificates: CertificateStore(trusted.map(\.certificate))) {
            DevicePolicy(now: now, authorityNames: names, finding: finding)
            RFC5280Policy(fixedExpiryValidationTime: Date(timeIntervalSince1970: Double(now.unixSeconds)))
        }
        switch await verifier.validate(leaf: leaf, intermediates: CertificateStore(between)) {
        case .validCertificate(let found): return admit(Array(found))
        case .couldNotValidate(let failures):
            if let problem = finding.problem { return .failure(problem) }
            return .failure(failures.isEmpty ? whyNoChain(leaf, between) : .againstConstraints)
        }
    }

    private func admit(_ chain: [Certificate]) -> Result<(chain: TrustedChain, above: [Certificate]), ChainProblem> {
        guard let leaf = chain.first, let top = chain.last, let commonName = leaf.commonName else {
            return .failure(.noCommonName)
        }
        let links = zip(chain, chain.dropFirst()).map { certificate, issuer in
            TrustedChain.Link(
                signer: issuer.signerID, serial: certificate.serial, subject: "\(certificate.subject)")
        }
        let found = TrustedChain(
            commonName: commonName, endsAt: chain.map(\.endsAt).min() ?? leaf.endsAt,
            startsAt: chain.map(\.startsAt).max() ?? leaf.startsAt, top: top.signerID, links: links)
        if let problem = Self.revocation(of: found, by: trusted) { return .failure(problem) }
        return .success((found, Array(chain.dropFirst().dropLast())))
    }

    static func revocation(of chain: TrustedChain, by authorities: [AuthorityEntry]) -> ChainProblem? {
        for (place, link) in chain.links.enumerated() {
            for authority in authorities where authority.signerID == link.signer {
                guard authority.list?.serials.contains(link.serial) == true else { continue }
                return .revoked(place == 0 ? .own : .above(link.subject), authority: authority.name)
            }
        }
        return nil
    }

    // MARK: - When there is no way upwards

    private func whyNoChain(_ leaf: Certificate, _ between: [Certificate]) -> ChainProblem {
        var tip = leaf
        var isOwn = true
        for _ in 0...Self.aboveMax {
            if let identifier = Self.unknownCritical(tip) {
                return .unknownCriticalExtension(isOwn ? .own : .above("\(tip.subject)"), identifier)
            }
            if let problem = atTop(tip) { return problem }
            let signer = between.first { candidate in
                candidate.subject == tip.issuer && candidate != tip
                    && candidate.publicKey.isValidSignature(tip.signature, for: tip)
            }
            guard let signer else { break }
            tip = signer
            isOwn = false
        }
        return .unknownIssuer("\(tip.issuer)")
    }

    /// What stands in the way although the hub knows the issuer by its name.
    private func atTop(_ tip: Certificate) -> ChainProblem? {
        for authority in unproven where authority.certificate.subject == tip.issuer {
            guard authority.certificate.publicKey.isValidSignature(tip.signature, for: tip) else { continue }
            return .authorityNotProven(authority.name)
        }
        for authority in trusted where authority.certificate.subject == tip.issuer {
            if let identifier = Self.unknownCritical(authority.certificate) {
                return .unknownCriticalExtension(.authority(authority.name), identifier)
            }
            guard !authority.certificate.publicKey.isValidSignature(tip.signature, for: tip) else { continue }
            return .notSigned(authority: authority.name)
        }
        return nil
    }

    private static func unknownCritical(_ certificate: Certificate) -> String? {
        certificate.extensions.first {
            $0.critical && !DevicePolicy.handledCriticalExtensions.contains($0.oid)
        }.map { "\($0.oid)" }
    }
}
