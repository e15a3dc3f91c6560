import Crypto
public import NIOCore
import NIOSSL
import Primitives

/// The certificates that a client sent, from the handshake on. Never leaves its event loop.
public final class ClientChain {
    /// The client's own, until the handshake is done: then the channel knows it.
    private var leaf: NIOSSLCertificate?
    var above: [NIOSSLCertificate] = []

    public init() {}

    func sent(_ certificates: [NIOSSLCertificate]) {
        leaf = certificates.first
        above = Array(certificates.dropFirst())
    }

    /// The client's own certificate in DER, if the handshake failed after it came. Nothing of it is proven.
    func takeUnproven() -> [UInt8]? {
        defer { leaf = nil }
        return try? leaf?.toDERBytes()
    }

    /// Nobody will ask any more.
    func forget() {
        leaf = nil
        above = []
    }

    /// What the client of the channel showed; `nil` when it showed nothing. Call it on the channel's loop.
    public func shown(by channel: any Channel) -> ShownCertificate? {
        let leaf = try? channel.pipeline.syncOperations.nioSSL_peerCertificate()
        guard let bytes = try? leaf?.toDERBytes() else { return nil }
        return ShownCertificate(chain: [bytes] + above.compactMap { try? $0.toDERBytes() })
    }
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
