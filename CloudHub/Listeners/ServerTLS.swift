import NIOCore
public import NIOSSL
import Synchronization

/// What a client sent behind its own certificate, from the handshake until its CONNECT was answered. Never leaves its
/// event loop.
final class ClientChain {
    var above: [NIOSSLCertificate] = []
}

/// The server's side of TLS: certificate and key, which can be replaced while connections are open.
///
/// A client certificate is asked for, never required and never checked here: thumbprint or chain are looked at when
/// CONNECT arrives and says which of the two the identity is registered with. The handshake itself proves that the client
/// has its key.
public final class ServerTLS: Sendable {
    private let current: Mutex<NIOSSLContext>

    /// - Parameter chain: the server's certificate first, then what leads to its CA.
    /// - Throws: what NIOSSL says of a key that does not fit.
    public init(chain: [NIOSSLCertificate], privateKey: NIOSSLPrivateKey) throws {
        current = Mutex(try Self.context(chain, privateKey))
    }

    /// New connections use it from now on; open ones keep what they have.
    public func replace(chain: [NIOSSLCertificate], privateKey: NIOSSLPrivateKey) throws {
        let context = try Self.context(chain, privateKey)
        current.withLock { $0 = context }
    }

    /// - Parameter chain: takes what the client sends besides its own certificate.
    func makeHandler(_ chain: ClientChain) -> NIOSSLServerHandler {
        let context = current.withLock { $0 }
        // What the handshake needed is given back; an acknowledgement needs a hundred bytes.
        var configuration = NIOSSLHandler.Configuration()
        configuration.maximumPreservedOutboundBufferCapacity = 512
        return NIOSSLServerHandler(
            context: context,
            customVerificationCallback: { certificates, promise in
                chain.above = Array(certificates.dropFirst())
                promise.succeed(.certificateVerified)
            },
            configuration: configuration)
    }

    private static func context(_ chain: [NIOSSLCertificate], _ key: NIOSSLPrivateKey) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .optionalVerification
        configuration.trustRoots = .certificates([])
        configuration.applicationProtocols = ["mqtt"]
        return try NIOSSLContext(configuration: configuration)
    }
}
