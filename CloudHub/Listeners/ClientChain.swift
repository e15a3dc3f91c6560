import Crypto
import Primitives

/// The certificates that a client sent in its handshake. Never leaves its event loop.
public final class ClientChain {
    /// In DER, its own first; empty when it sent none.
    private var certificates: [[UInt8]] = []
    private var isProven = false

    public init() {}

    /// - Parameter isProven: the handshake is done, so the client has the key of its certificate.
    func sent(_ certificates: [[UInt8]], isProven: Bool) {
        self.certificates = certificates
        self.isProven = isProven
    }

    /// What the client showed and proved; `nil` when it showed nothing.
    public var shown: ShownCertificate? {
        isProven && !certificates.isEmpty ? ShownCertificate(chain: certificates) : nil
    }

    /// The client's own certificate in DER, if the handshake failed after it came. Nothing of it is proven.
    func takeUnproven() -> [UInt8]? {
        guard !isProven else { return nil }
        defer { forget() }
        return certificates.first
    }

    /// Nobody will ask any more.
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
