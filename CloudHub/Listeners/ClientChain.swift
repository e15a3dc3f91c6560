import Crypto
import Primitives

/// The certificates that a client showed in its handshake. Never leaves its event loop.
public final class ClientChain {
    /// In DER, its own first.
    var certificates: [[UInt8]] = []

    public init() {}

    /// What the client showed; `nil` when it showed nothing.
    public var shown: ShownCertificate? { certificates.isEmpty ? nil : ShownCertificate(chain: certificates) }

    func forget() { certificates = [] }
}

/// A client certificate: the handshake proved that the client has its key, and nothing else of it is checked.
public struct ShownCertificate: Sendable, Hashable {
    /// In DER: the client's own, then what it sent after it. Never empty.
    public let chain: [[UInt8]]
    /// Thumbprints of the client's own, lower-case hex.
    public let leafSHA1: String
    public let leafSHA256: String

    init(chain: [[UInt8]]) {
        self.chain = chain
        let leaf = chain.first ?? []
        leafSHA1 = Hex.encode(Insecure.SHA1.hash(data: leaf))
        leafSHA256 = Hex.encode(SHA256.hash(data: leaf))
    }
}
