import Primitives
import SwiftASN1
import Synchronization
import X509

/// What the hub demands of a chain beyond its signatures, with a problem of its own for each demand.
/// Source: RFC 5280 sections 4.2.1.3, 4.2.1.9, 4.2.1.12 and 6.1.
struct DevicePolicy: VerifierPolicy, Sendable {
    /// The first problem that was found, over all candidate chains.
    final class Finding: Sendable {
        private let found = Mutex<ChainProblem?>(nil)
        var problem: ChainProblem? { found.withLock { $0 } }
        fileprivate func note(_ problem: ChainProblem) { found.withLock { $0 = $0 ?? problem } }
    }

    let now: WallInstant
    let authorityNames: [SignerID: String]
    let finding: Finding

    let verifyingCriticalExtensions: [ASN1ObjectIdentifier] = [
        .X509ExtensionID.basicConstraints, .X509ExtensionID.keyUsage, .X509ExtensionID.extendedKeyUsage,
    ]

    /// What `RFC5280Policy` handles besides.
    static let handledCriticalExtensions: Set<ASN1ObjectIdentifier> = [
        .X509ExtensionID.basicConstraints, .X509ExtensionID.keyUsage, .X509ExtensionID.extendedKeyUsage,
        .X509ExtensionID.nameConstraints,
    ]

    func chainMeetsPolicyRequirements(chain: UnverifiedCertificateChain) async -> PolicyEvaluationResult {
        do throws(ChainProblem) {
            try check(Array(chain))
            return .meetsPolicy
        } catch {
            finding.note(error)
            return .failsToMeetPolicy(reason: "the chain breaks the hub's rules")
        }
    }

    /// - Parameter chain: the client's certificate first, a registered authority's last.
    private func check(_ chain: [Certificate]) throws(ChainProblem) {
        guard let leaf = chain.first, let top = chain.last, chain.count > 1 else {
            throw .isAuthority(chain.first.flatMap { authorityNames[$0.signerID] } ?? "")
        }
        for (place, certificate) in chain.enumerated() {
            let which = which(place, chain)
            guard certificate.startsAt <= now else { throw .notYetValid(which, until: certificate.startsAt) }
            guard now < certificate.endsAt else { throw .expired(which, at: certificate.endsAt) }
            // The topmost is trusted for its key; who signed it does not matter.
            guard certificate == top || Certificate.goodAlgorithms.contains(certificate.signatureAlgorithm) else {
                throw .weakSignature(which)
            }
        }
        try checkIssuers(chain)
        try checkUse(of: leaf)
    }

    private func checkIssuers(_ chain: [Certificate]) throws(ChainProblem) {
        var below = 0
        for (place, certificate) in chain.enumerated().dropFirst() {
            let which = which(place, chain)
            guard case .isCertificateAuthority(let most)? = try? certificate.extensions.basicConstraints else {
                throw .notAnAuthority(which)
            }
            if let most, below > most { throw .pathTooLong(which, most: most) }
            guard certificate.maySignCertificates else { throw .mayNotSign(which) }
            if !certificate.isSelfIssued { below += 1 }
        }
    }

    /// What is not said is allowed; what cannot be read is not.
    private func checkUse(of leaf: Certificate) throws(ChainProblem) {
        let usage: KeyUsage?
        let extended: ExtendedKeyUsage?
        do {
            usage = try leaf.extensions.keyUsage
            extended = try leaf.extensions.extendedKeyUsage
        } catch {
            throw .notForClients
        }
        if let usage, !usage.digitalSignature, !usage.keyAgreement { throw .notForClients }
        if let extended, !extended.contains(.clientAuth), !extended.contains(.any) { throw .notForClients }
    }

    private func which(_ place: Int, _ chain: [Certificate]) -> ChainProblem.Which {
        guard place > 0 else { return .own }
        let certificate = chain[place]
        if place == chain.count - 1, let name = authorityNames[certificate.signerID] { return .authority(name) }
        return .above("\(certificate.subject)")
    }
}
