import Primitives

/// Why a client certificate is not taken.
enum ChainProblem: Error, Sendable, Hashable {
    /// A certificate of the chain by what it is for the device.
    enum Which: Sendable, Hashable {
        case own
        /// An intermediate, by its subject.
        case above(String)
        /// A registered authority, by its name in the hub.
        case authority(String)
    }

    case unreadable
    case tooManyCertificates(Int)
    /// Nobody whom the hub knows has issued it, nor what the client sent with it.
    case unknownIssuer(String)
    case notSigned(authority: String)
    case authorityNotProven(String)
    case isAuthority(String)
    case expired(Which, at: WallInstant)
    case notYetValid(Which, until: WallInstant)
    case notAnAuthority(Which)
    case pathTooLong(Which, most: Int)
    case mayNotSign(Which)
    case notForClients
    case weakSignature(Which)
    case unknownCriticalExtension(Which, String)
    case againstConstraints
    case noCommonName
    case revoked(Which, authority: String)

    /// Follows "the certificate of {device} ": what is wrong, and what to do.
    var sentence: String {
        switch self {
        case .unreadable:
            "cannot be read, or its key or signature is none that the hub takes (\(Self.goodKeys)); have its authority issue it anew"
        case .tooManyCertificates(let count):
            "came with \(count) others; let the device send at most \(ChainCheck.aboveMax), from its own issuer upwards"
        case .unknownIssuer(let issuer):
            "was issued by '\(issuer.prefix(256))', which leads to no authority of this hub; register that one with 'cloud-hub "
                + "certificate add', or let the device send the certificates between them with its own"
        case .notSigned(let name):
            "names the authority '\(name)' as its issuer, but was not signed with its key; find out who made it"
        case .authorityNotProven(let name):
            "comes from the authority '\(name)', whose possession nobody has proven yet; see 'cloud-hub certificate code \(name)'"
        case .isAuthority(let name):
            "is the certificate of the authority '\(name)' itself; give the device one of its own, and look who has that key"
        case .expired(.own, let end): "ended at \(end); give the device a new one"
        case .expired(.above(let who), let end):
            "comes from the intermediate authority '\(who.prefix(256))', whose certificate ended at \(end); renew that one"
        case .expired(.authority(let name), let end):
            "comes from the authority '\(name)', whose certificate ended at \(end); register its successor"
        case .notYetValid(.own, let start):
            "begins at \(start) only; check the clocks of the hub and of the authority"
        case .notYetValid(let which, let start):
            "\(Self.subject(which)) begins at \(start); check the clocks of the hub and of the authority"
        case .notAnAuthority(let which):
            "was issued by a certificate that may issue none: \(Self.name(which)) is not marked as an authority's"
        case .pathTooLong(let which, let most):
            "has more authorities between itself and \(Self.name(which)) than the \(most) that its path length allows"
        case .mayNotSign(let which):
            "was issued by a certificate that may issue none: the key usage of \(Self.name(which)) lacks certificate signing"
        case .notForClients:
            "is not meant for a client by its key usage; have it issued for TLS client authentication"
        case .weakSignature(let which):
            "\(Self.subject(which)) is signed with an algorithm that is not safe; use SHA-256"
        case .unknownCriticalExtension(let which, let identifier):
            "\(Self.subject(which)) has the critical extension \(identifier), which this hub does not know; leave it out"
        case .againstConstraints:
            "breaks the name constraints of an authority above it; have it issued with a name that it allows"
        case .noCommonName: "has no common name; have it issued with the device's id as its common name"
        case .revoked(.own, let name): "was revoked by the authority '\(name)'; give the device a new one"
        case .revoked(let which, let name):
            "comes from \(Self.name(which)), which was revoked by the authority '\(name)'; give the device a new one"
        }
    }

    /// What the library reads; smaller RSA keys and ECDSA with SHA-1 it does not.
    static let goodKeys = "RSA from 2048 bits, P-256, P-384, P-521, Ed25519; SHA-256 and up"

    private static func name(_ which: Which) -> String {
        switch which {
        case .own: "the certificate itself"
        case .above(let who): "the intermediate authority '\(who.prefix(256))'"
        case .authority(let name): "the authority '\(name)'"
        }
    }

    private static func subject(_ which: Which) -> String {
        switch which {
        case .own: "itself"
        case .above, .authority: "comes from \(name(which)), whose certificate"
        }
    }
}
