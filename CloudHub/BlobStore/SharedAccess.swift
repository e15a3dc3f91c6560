import Crypto
public import Primitives

/// Who may do what with one blob until when: the service SAS of Azure Blob Storage, signed and checked.
///
/// The hub signs with its own key for its own endpoint, or with an account's key for Azure; the format is the same.
/// Source: Azure Storage, create a service SAS (version 2020-12-06 and later).
public struct SharedAccess: Sendable {
    /// The signed version; the text to sign is that of 2020-12-06 and later.
    public static let version = "2021-12-02"

    /// Letters of `sp`.
    public struct Permissions: OptionSet, Sendable, Hashable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }

        public static let read = Permissions(rawValue: 1)
        public static let create = Permissions(rawValue: 2)
        public static let write = Permissions(rawValue: 4)
        public static let delete = Permissions(rawValue: 8)

        /// In the order that the format demands.
        private static let letters: [(Permissions, Character)] = [
            (.read, "r"), (.create, "c"), (.write, "w"), (.delete, "d"),
        ]

        /// Letters that this hub has no use for are ignored: they grant nothing.
        init(letters text: some StringProtocol) {
            self = Self.letters.reduce(into: []) { if text.contains($1.1) { $0.insert($1.0) } }
        }

        var text: String { String(Self.letters.filter { contains($0.0) }.map(\.1)) }
    }

    private let account: String
    private let container: String
    private let key: SymmetricKey

    /// - Parameters:
    ///   - account: the storage account's name; of the hub's own endpoint any fixed word.
    ///   - key: the account's key, decoded.
    public init(account: String, container: String, key: Secret) {
        self.account = account
        self.container = container
        self.key = SymmetricKey(data: key.bytes)
    }

    /// The query that lets its bearer at one blob, with the question mark in front.
    public func token(for blob: BlobName, _ permissions: Permissions, until expiry: WallInstant) -> String {
        let end = WallInstant(milliseconds: expiry.unixSeconds * 1000).description
        let fields = Fields(
            version: Self.version, start: "", end: end, permissions: permissions.text, protocols: "https")
        let code = HMAC<SHA256>.authenticationCode(for: text(of: fields, for: blob), using: key)
        let values = [
            ("sv", Self.version), ("spr", "https"), ("se", end), ("sr", "b"), ("sp", fields.permissions),
            ("sig", Base64.encode(code)),
        ]
        return "?" + values.map { "\($0)=\(PercentEncoding.encode($1))" }.joined(separator: "&")
    }

    /// What the query of a request grants on this blob.
    ///
    /// - Parameter value: looks up a percent-decoded parameter.
    /// - Throws: `.noAuthenticationInformation` without a signature; `.authenticationFailed` when it is not for this
    ///   blob, not by this key, not yet or no longer valid.
    public func permissions(
        _ value: (String) -> String?, for blob: BlobName, now: WallInstant
    ) throws(BlobError) -> Permissions {
        guard let signature = value("sig") else {
            throw BlobError(
                .noAuthenticationInformation, "the address has no shared access signature; ask for one: POST …/files")
        }
        guard value("sr") == "b", let version = value("sv"), let end = value("se"), let letters = value("sp"),
            value("si") == nil, value("sip") == nil, let code = Base64.decode(signature)
        else {
            throw BlobError(
                .authenticationFailed, "the signature's fields are not those of a blob: sv, se, sr=b, sp, sig")
        }
        let fields = Fields(
            version: version, start: value("st") ?? "", end: end, permissions: letters, protocols: value("spr") ?? "")
        guard HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: text(of: fields, for: blob), using: key)
        else {
            throw BlobError(.authenticationFailed, "the signature does not match this blob; use the address unchanged")
        }
        guard let expiry = WallInstant(end), now < expiry else {
            throw BlobError(
                .authenticationFailed, "the signature was valid until \(end), and now is \(now); ask for a new one")
        }
        guard fields.start.isEmpty || WallInstant(fields.start).map({ $0 <= now }) == true else {
            throw BlobError(.authenticationFailed, "the signature is valid from \(fields.start) on, and now is \(now)")
        }
        return Permissions(letters: letters)
    }

    private struct Fields {
        let version: String
        let start: String
        let end: String
        let permissions: String
        let protocols: String
    }

    /// Sixteen lines, most of them empty: no stored policy, no address range, no snapshot, no encryption scope, no
    /// headers to be answered.
    private func text(of fields: Fields, for blob: BlobName) -> [UInt8] {
        let lines = [
            fields.permissions, fields.start, fields.end, "/blob/\(account)/\(container)/\(blob)", "", "",
            fields.protocols, fields.version, "b", "", "", "", "", "", "", "",
        ]
        return Array(lines.joined(separator: "\n").utf8)
    }
}
