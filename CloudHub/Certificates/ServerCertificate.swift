import Crypto
import FoundationEssentials
public import Primitives
import SwiftASN1
import X509

/// The hub's server certificate in a folder: `ca.pem` (public), `ca-key.pem`, `server.pem`, `server-key.pem` (keys
/// 0600). An empty folder is filled with a development authority and a certificate of its own. A certificate that this
/// authority did not issue is the operator's: it is used and warned about, never overwritten.
public struct ServerCertificate: Sendable {
    /// Begin to warn when so little is left.
    public static let warningDays = 30
    /// The most that TLS clients accept of a leaf.
    static let leafDays = 397
    static let authorityDays = 3650

    public let certificatePath: String
    public let keyPath: String
    /// The development authority's certificate for clients to trust; `nil` with an operator's certificate alone.
    public let authorityPath: String?
    public let expiresAt: WallInstant
    /// When the hub replaces it by itself; `nil` for an operator's certificate.
    public let renewsAt: WallInstant?
    /// Whether the files were written just now, so that listeners must load them again.
    public let isNew: Bool
    /// Whether the operator supplied it.
    public let isOperators: Bool
    /// What the operator should know: sentences with what to do.
    public let warnings: [String]

    /// Whole days until it ends, rounded down; negative when it has ended.
    public func daysLeft(at now: WallInstant) -> Int {
        Int(((expiresAt - now).millisecondsClamped.dividedDown(by: 86_400_000)))
    }

    /// Healthy, to be warned of, or over.
    public enum ExpiryStatus: Hashable, Sendable {
        case good(daysLeft: Int)
        case soon(daysLeft: Int)
        case expired
    }

    public func expiryStatus(at now: WallInstant) -> ExpiryStatus {
        if expiresAt <= now { return .expired }
        let days = daysLeft(at: now)
        return days < Self.warningDays ? .soon(daysLeft: days) : .good(daysLeft: days)
    }

    /// Makes what is missing, renews what is ours when less than a third of its life remains or a name is not covered,
    /// and changes nothing otherwise. Call it at start, once a day, and at `renewsAt`.
    ///
    /// Besides `hostname` the certificate covers `localhost`, 127.0.0.1 and ::1.
    public static func ensure(
        directory: String, hostname: String, now: WallInstant
    ) throws(CertificateError) -> ServerCertificate {
        try PrivateFile.makeFolder(directory)
        var folder = Folder(directory: directory, now: now)
        var names: [String] = []
        for name in [hostname, "localhost", "127.0.0.1", "::1"] where !names.contains(name) { names.append(name) }
        let current = try folder.server()
        let authority = try folder.authority(isNeeded: current == nil)
        if let current {
            let isOurs = authority.map { $0.certificate.publicKey.isValidSignature(current.signature, for: current) }
            if isOurs != true { return try folder.operators(current, hostname: hostname, authority: authority) }
        }
        guard let authority else {
            throw CertificateError("there is no authority", doing: "issue \(folder.serverPath)")
        }
        if let current, try folder.isGood(current, names: names) {
            return folder.ours(current, isNew: false)
        }
        return folder.ours(try folder.issue(names, authority: authority), isNew: true)
    }
}

/// The four files.
private struct Folder {
    let directory: String
    let now: WallInstant

    var authorityPath: String { directory + "/ca.pem" }
    var authorityKeyPath: String { directory + "/ca-key.pem" }
    var serverPath: String { directory + "/server.pem" }
    var serverKeyPath: String { directory + "/server-key.pem" }

    /// The first certificate of `server.pem`.
    func server() throws(CertificateError) -> Certificate? {
        guard let text = try PrivateFile.read(serverPath) else { return nil }
        return try certificate(text, at: serverPath)
    }

    /// The authority from its files; made when both are missing and it is needed.
    mutating func authority(isNeeded: Bool) throws(CertificateError) -> IssuedCertificate? {
        let certificateText = try PrivateFile.read(authorityPath)
        let keyText = try PrivateFile.read(authorityKeyPath)
        switch (certificateText, keyText) {
        case (let certificateText?, let keyText?):
            let certificate = try certificate(certificateText, at: authorityPath)
            do {
                let key = try P256.Signing.PrivateKey(pemRepresentation: keyText)
                guard Certificate.PublicKey(key.publicKey) == certificate.publicKey else {
                    throw CertificateError(
                        "ca.pem and ca-key.pem do not belong together; restore both from one backup",
                        doing: "read \(authorityKeyPath)")
                }
                return try IssuedCertificate(certificate: certificate, key: key)
            } catch let error as CertificateError {
                throw error
            } catch {
                throw CertificateError(
                    "it is no P-256 key in PEM; restore it from a backup", doing: "read \(authorityKeyPath)")
            }
        case (nil, _) where isNeeded:
            // A key without its certificate is left of a start that was cut short: nothing trusts it yet.
            return try makeAuthority()
        case (nil, _):
            return nil
        case (.some, nil):
            guard !isNeeded else {
                throw CertificateError(
                    "the file is missing, so nothing can be issued that clients of ca.pem trust; restore it, or remove "
                        + "the whole folder to begin anew", doing: "read \(authorityKeyPath)")
            }
            return nil
        }
    }

    private func makeAuthority() throws(CertificateError) -> IssuedCertificate {
        let suffix = Hex.encode((0..<4).map { _ in UInt8.random(in: 0...255) })
        let authority = try IssuedCertificate.authority(
            name: "Fieldline development CA \(suffix)", life: life(days: ServerCertificate.authorityDays))
        try PrivateFile.write(authority.keyPEM, to: authorityKeyPath, mode: 0o600)
        try PrivateFile.write(authority.certificatePEM, to: authorityPath, mode: 0o644)
        return authority
    }

    /// From a day ago, because clients' clocks differ.
    private func life(days: Int) -> IssuedCertificate.Life {
        let start = now + .seconds(-86_400)
        return IssuedCertificate.Life(start: start, end: start + .seconds(86_400 * days))
    }

    func issue(_ names: [String], authority: IssuedCertificate) throws(CertificateError) -> Certificate {
        let whole = life(days: ServerCertificate.leafDays)
        let authorityEnd = instant(authority.certificate.notValidAfter)
        guard authorityEnd > now else {
            throw CertificateError(
                "the development CA ended at \(authorityEnd); remove \(directory) to begin anew, and give clients the new ca.pem",
                doing: "issue \(serverPath)")
        }
        let key = try serverKey() ?? P256.Signing.PrivateKey()
        let issued = try authority.issueServer(
            names: names, life: .init(start: whole.start, end: min(whole.end, authorityEnd)), key: key)
        // The key first: a certificate without its key would be unusable, a key without certificate is just unused.
        try PrivateFile.write(issued.keyPEM, to: serverKeyPath, mode: 0o600)
        try PrivateFile.write(issued.certificatePEM, to: serverPath, mode: 0o644)
        return issued.certificate
    }

    /// `nil` when it is missing or no key: then a new one is made, for only our own authority's certificate hangs on it.
    private func serverKey() throws(CertificateError) -> P256.Signing.PrivateKey? {
        guard let text = try PrivateFile.read(serverKeyPath) else { return nil }
        return try? P256.Signing.PrivateKey(pemRepresentation: text)
    }

    /// Covers the names, has its key, and more than a third of its life left.
    func isGood(_ certificate: Certificate, names: [String]) throws(CertificateError) -> Bool {
        let start = instant(certificate.notValidBefore)
        guard let key = try serverKey(), Certificate.PublicKey(key.publicKey) == certificate.publicKey else {
            return false
        }
        guard now < renewal(of: certificate), start <= now else { return false }
        return Set(names).isSubset(of: covered(by: certificate, of: names))
    }

    /// When a third of its life is left.
    private func renewal(of certificate: Certificate) -> WallInstant {
        let end = instant(certificate.notValidAfter)
        return end + ((end - instant(certificate.notValidBefore)) / -3)
    }

    /// Renewed in time it never comes near its end, unless the authority itself does.
    func ours(_ certificate: Certificate, isNew: Bool) -> ServerCertificate {
        let end = instant(certificate.notValidAfter)
        var warnings: [String] = []
        if isNear(end) {
            warnings.append(
                "the development CA in \(directory) ends at \(end) and cannot be renewed unseen; remove the folder to "
                    + "begin anew, and give clients the new ca.pem")
        }
        return result(certificate, renewsAt: renewal(of: certificate), isNew: isNew, warnings: warnings)
    }

    private func isNear(_ end: WallInstant) -> Bool { end - now < .seconds(86_400 * ServerCertificate.warningDays) }

    func operators(
        _ certificate: Certificate, hostname: String, authority: IssuedCertificate?
    ) throws(CertificateError) -> ServerCertificate {
        guard let keyText = try PrivateFile.read(serverKeyPath) else {
            throw CertificateError(
                "the file is missing beside your server.pem; put the certificate's key there",
                doing: "read \(serverKeyPath)")
        }
        guard let key = try? Certificate.PrivateKey(pemEncoded: keyText), key.publicKey == certificate.publicKey else {
            throw CertificateError(
                "it is not the key of your server.pem; put the certificate's own key there",
                doing: "read \(serverKeyPath)")
        }
        var warnings: [String] = []
        if covered(by: certificate, of: [hostname]).isEmpty {
            warnings.append(
                "your \(serverPath) does not cover '\(hostname)'; clients will refuse it until you put one there that does"
            )
        }
        let end = instant(certificate.notValidAfter)
        if isNear(end) {
            warnings.append("your \(serverPath) ends at \(end); put a newer one there, the hub does not renew it")
        }
        if FolderSafety.isOpenToOthers(serverKeyPath) {
            warnings.append("your \(serverKeyPath) can be read by every user of this machine; run chmod 600 on it")
        }
        return result(certificate, renewsAt: nil, isNew: false, warnings: warnings, hasAuthority: authority != nil)
    }

    private func result(
        _ certificate: Certificate, renewsAt: WallInstant?, isNew: Bool, warnings: [String], hasAuthority: Bool = true
    ) -> ServerCertificate {
        ServerCertificate(
            certificatePath: serverPath, keyPath: serverKeyPath, authorityPath: hasAuthority ? authorityPath : nil,
            expiresAt: instant(certificate.notValidAfter),
            renewsAt: renewsAt, isNew: isNew, isOperators: renewsAt == nil, warnings: warnings)
    }

    private func covered(by certificate: Certificate, of names: [String]) -> Set<String> {
        guard let alternatives = try? certificate.extensions.subjectAlternativeNames else { return [] }
        return Set(
            names.filter { name in
                alternatives.contains { alternative in
                    if case .dnsName(let dns) = alternative { return Self.matches(dns.lowercased(), name.lowercased()) }
                    return alternative == IssuedCertificate.generalName(name)
                }
            })
    }

    /// A star stands for one whole label at the left.
    private static func matches(_ pattern: String, _ name: String) -> Bool {
        guard pattern.hasPrefix("*."), let dot = name.firstIndex(of: ".") else { return pattern == name }
        return pattern.dropFirst() == name[dot...]
    }

    private func certificate(_ pem: String, at path: String) throws(CertificateError) -> Certificate {
        do {
            return try Certificate(pemEncoded: Self.firstBlock(of: pem))
        } catch {
            throw CertificateError(
                "it is no certificate in PEM; mend the file, or remove it to have a new one made",
                doing: "read \(path)",
                underlying: error)
        }
    }

    /// A chain file holds several certificates, the server's own first.
    private static func firstBlock(of pem: String) -> String {
        var lines: [Substring] = []
        for line in pem.split(whereSeparator: \.isNewline) {
            if line.hasPrefix("-----BEGIN CERTIFICATE") { lines = [] }
            lines.append(line)
            if line.hasPrefix("-----END CERTIFICATE") { break }
        }
        return lines.joined(separator: "\n")
    }

    private func instant(_ date: Date) -> WallInstant {
        WallInstant(milliseconds: Int64(date.timeIntervalSince1970 * 1000))
    }
}

extension Int64 {
    fileprivate func dividedDown(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}
