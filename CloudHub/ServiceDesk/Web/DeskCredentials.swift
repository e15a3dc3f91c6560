import Glibc
import JSON
public import Primitives

/// What a client needs to sign in: made on the first start, kept in a file of mode 0600.
public struct DeskCredentials: Sendable {
    /// The directory that stands in the token endpoint's path.
    public let tenant: String
    public let clientID: String
    public let clientSecret: Secret

    /// Reads the file, or makes it with new random values.
    static func loadOrCreate(path: String) throws -> DeskCredentials {
        if let stored = try read(path) {
            guard let object = try? JSONValue(parsing: stored), let tenant = object["tenant"]?.stringValue,
                let clientID = object["client_id"]?.stringValue,
                let secret = object["client_secret"]?.stringValue, secret.utf8.count >= 32
            else { throw DeskError(.credentialsBroken, doing: "read the service desk's client credentials") }
            return DeskCredentials(tenant: tenant, clientID: clientID, clientSecret: Secret(secret.utf8))
        }
        var random = SystemRandomNumberGenerator()
        let secret = randomText(bytes: 32, using: &random)
        let made = DeskCredentials(
            tenant: UniqueID.random(using: &random).description,
            clientID: UniqueID.random(using: &random).description, clientSecret: Secret(secret.utf8))
        let text: JSONValue = [
            "tenant": .string(made.tenant), "client_id": .string(made.clientID), "client_secret": .string(secret),
        ]
        try write(text.serialized() + [UInt8(ascii: "\n")], to: path)
        return made
    }

    /// URL-safe text of that many random bytes.
    static func randomText(bytes count: Int, using random: inout some RandomNumberGenerator) -> String {
        let bytes = (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        return String(
            Base64.encode(bytes).compactMap { character -> Character? in
                switch character {
                case "+": "-"
                case "/": "_"
                case "=": nil
                default: character
                }
            })
    }

    private static let doing = "keep the service desk's client credentials"
    private static let fileBytesMax = 4096

    /// `nil` when there is no such file.
    private static func read(_ path: String) throws -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw DeskError(.fileAccess(errno), doing: doing) }
            return nil
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: fileBytesMax)
        let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
        guard count >= 0 else { throw DeskError(.fileAccess(errno), doing: doing) }
        return Array(bytes.prefix(count))
    }

    /// Whole or not at all: written beside and renamed.
    private static func write(_ bytes: [UInt8], to path: String) throws {
        let beside = path + ".new"
        let descriptor = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw DeskError(.fileAccess(errno), doing: doing) }
        defer { close(descriptor) }
        let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard count == bytes.count, fchmod(descriptor, 0o600) == 0, fsync(descriptor) == 0, rename(beside, path) == 0
        else { throw DeskError(.fileAccess(errno), doing: doing) }
    }
}
