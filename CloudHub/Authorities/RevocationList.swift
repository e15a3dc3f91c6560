import Primitives
import SwiftASN1
import X509

/// What an authority says it has taken back. Source: RFC 5280 section 5.
struct RevocationList: Sendable {
    let issuer: DistinguishedName
    let thisUpdate: WallInstant
    /// When a newer one has to be there; `nil` when the authority does not say.
    let nextUpdate: WallInstant?
    let serials: Set<[UInt8]>
    private let signed: [UInt8]
    private let signature: [UInt8]
    private let algorithm: Certificate.SignatureAlgorithm?

    /// Entries of one list.
    static let entriesMax = 200_000

    /// Extensions of the list that change what it means: delta lists, and lists for some certificates only.
    private static let partial: Set<ASN1ObjectIdentifier> = [[2, 5, 29, 27], [2, 5, 29, 28]]

    init(der bytes: [UInt8]) throws(AuthorityError) {
        do {
            self = try Self.read(bytes)
        } catch let error as AuthorityError {
            throw error
        } catch {
            throw AuthorityError("it is no revocation list in PEM or DER; give the file that the authority made")
        }
    }

    /// Whether this authority made it.
    func isSigned(by authority: Certificate) -> Bool {
        guard let algorithm, Certificate.goodAlgorithms.contains(algorithm) else { return false }
        return authority.publicKey.isValidSignature(signature, for: signed, signatureAlgorithm: algorithm)
    }

    // MARK: - Reading

    private init(
        _ body: Body, signed: ArraySlice<UInt8>, signature: ASN1BitString, algorithm: Certificate.SignatureAlgorithm?
    ) {
        issuer = body.issuer
        thisUpdate = body.thisUpdate
        nextUpdate = body.nextUpdate
        serials = body.serials
        self.signed = Array(signed)
        self.signature = Array(signature.bytes)
        self.algorithm = algorithm
    }

    private struct Body {
        let issuer: DistinguishedName
        let thisUpdate: WallInstant
        let nextUpdate: WallInstant?
        let serials: Set<[UInt8]>
    }

    private static func read(_ bytes: [UInt8]) throws -> RevocationList {
        try DER.sequence(try DER.parse(bytes), identifier: .sequence) { nodes in
            guard let body = nodes.next(), let algorithm = nodes.next() else { throw Malformed() }
            let signature = try ASN1BitString(derEncoded: &nodes)
            return RevocationList(
                try Self.body(body), signed: body.encodedBytes, signature: signature,
                algorithm: algorithms[try Self.algorithm(algorithm)])
        }
    }

    private static func body(_ node: ASN1Node) throws -> Body {
        try DER.sequence(node, identifier: .sequence) { nodes in
            var next = nodes.next()
            if let node = next, node.identifier == .integer { next = nodes.next() }
            guard next != nil, let name = nodes.next(), let this = nodes.next() else { throw Malformed() }
            let thisUpdate = try time(this)
            var nextUpdate: WallInstant?
            var serials: Set<[UInt8]> = []
            while let node = nodes.next() {
                switch node.identifier {
                case .utcTime, .generalizedTime: nextUpdate = try time(node)
                case .sequence: serials = try entries(node)
                default: try checkExtensions(of: node)
                }
            }
            return Body(
                issuer: try DistinguishedName(derEncoded: name), thisUpdate: thisUpdate, nextUpdate: nextUpdate,
                serials: serials)
        }
    }

    private static func entries(_ node: ASN1Node) throws -> Set<[UInt8]> {
        guard case .constructed(let entries) = node.content else { throw Malformed() }
        var serials: Set<[UInt8]> = []
        for entry in entries {
            guard serials.count < entriesMax else {
                throw AuthorityError("the revocation list has more than \(entriesMax) entries, which is the limit")
            }
            let serial = try DER.sequence(entry, identifier: .sequence) { parts in
                let serial = try ArraySlice<UInt8>(derEncoded: &parts)
                guard let date = parts.next() else { throw Malformed() }
                _ = try time(date)
                if let more = parts.next(), isCritical(more) {
                    throw AuthorityError(
                        "the revocation list speaks for other authorities too; give one for this alone")
                }
                return Certificate.canonical(serial)
            }
            serials.insert(serial)
        }
        return serials
    }

    private static func checkExtensions(of node: ASN1Node) throws {
        guard case .constructed(let wrapped) = node.content else { throw Malformed() }
        for list in wrapped {
            for known in partial where contains(list, known) {
                throw AuthorityError("the revocation list is for a part only; give the authority's complete one")
            }
            guard !isCritical(list) else {
                throw AuthorityError("the revocation list has a critical extension that this hub does not know")
            }
        }
    }

    /// Whether one of these extensions is marked as critical: SEQUENCE OF SEQUENCE { OID, BOOLEAN DEFAULT FALSE, … }.
    private static func isCritical(_ extensions: ASN1Node) -> Bool {
        guard case .constructed(let list) = extensions.content else { return true }
        return list.contains { node in
            guard case .constructed(let parts) = node.content else { return true }
            return parts.contains { $0.identifier == .boolean }
        }
    }

    private static func contains(_ extensions: ASN1Node, _ wanted: ASN1ObjectIdentifier) -> Bool {
        guard case .constructed(let list) = extensions.content else { return false }
        return list.contains { node in
            guard case .constructed(let parts) = node.content else { return false }
            return parts.contains { (try? ASN1ObjectIdentifier(derEncoded: $0)) == wanted }
        }
    }

    private static func time(_ node: ASN1Node) throws -> WallInstant {
        let text: String
        if node.identifier == .utcTime {
            let time = try UTCTime(derEncoded: node)
            text = stamp(time.year, time.month, time.day) + stamp(time.hours, time.minutes, time.seconds, ":")
        } else {
            let time = try GeneralizedTime(derEncoded: node)
            text = stamp(time.year, time.month, time.day) + stamp(time.hours, time.minutes, time.seconds, ":")
        }
        guard let instant = WallInstant(text + "Z") else { throw Malformed() }
        return instant
    }

    /// `2026-11-21T` or `08:53:00`.
    private static func stamp(_ first: Int, _ second: Int, _ third: Int, _ separator: String = "-") -> String {
        let isDate = separator == "-"
        let padded = { (number: Int, width: Int) in
            String(repeating: "0", count: max(0, width - String(number).count)) + String(number)
        }
        return padded(first, isDate ? 4 : 2) + separator + padded(second, 2) + separator + padded(third, 2)
            + (isDate ? "T" : "")
    }

    private static func algorithm(_ node: ASN1Node) throws -> ASN1ObjectIdentifier {
        try DER.sequence(node, identifier: .sequence) { parts in
            let identifier = try ASN1ObjectIdentifier(derEncoded: &parts)
            while parts.next() != nil {}
            return identifier
        }
    }

    /// Source: RFC 5758 section 3.2, RFC 4055 section 5, RFC 8410 section 3.
    private static let algorithms: [ASN1ObjectIdentifier: Certificate.SignatureAlgorithm] = [
        [1, 2, 840, 10045, 4, 3, 2]: .ecdsaWithSHA256, [1, 2, 840, 10045, 4, 3, 3]: .ecdsaWithSHA384,
        [1, 2, 840, 10045, 4, 3, 4]: .ecdsaWithSHA512, [1, 2, 840, 113549, 1, 1, 11]: .sha256WithRSAEncryption,
        [1, 2, 840, 113549, 1, 1, 12]: .sha384WithRSAEncryption,
        [1, 2, 840, 113549, 1, 1, 13]: .sha512WithRSAEncryption, [1, 3, 101, 112]: .ed25519,
    ]

    private struct Malformed: Error {}
}
