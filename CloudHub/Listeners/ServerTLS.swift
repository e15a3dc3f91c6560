import NIOCore
public import NIOSSL
import Synchronization

/// The server's side of TLS: certificate and key, which can be replaced while connections are open.
///
/// A client certificate is asked for, never required and never checked here: thumbprint or chain are looked at when
/// CONNECT arrives and says which of the two the identity is registered with. The handshake itself proves that the client
/// has its key.
public final class ServerTLS: Sendable {
    /// Who is spoken to: it decides which protocols are offered.
    public enum Port: Sendable, Hashable, CaseIterable {
        /// MQTT and nothing else.
        case mqtt
        /// HTTP/1.1, and MQTT for a client that asks for it.
        case web

        /// Best first: whoever offers `mqtt` wants it, and no browser does.
        var protocols: [String] { self == .mqtt ? ["mqtt"] : ["mqtt", "http/1.1"] }
    }

    private struct Contexts {
        let mqtt: NIOSSLContext
        let web: NIOSSLContext
    }

    private let current: Mutex<Contexts>

    /// - Parameter chain: the server's certificate first, then what leads to its CA.
    /// - Throws: what NIOSSL says of a key that does not fit.
    public init(chain: [NIOSSLCertificate], privateKey: NIOSSLPrivateKey) throws {
        current = Mutex(try Self.contexts(chain, privateKey))
    }

    /// New connections use it from now on; open ones keep what they have.
    public func replace(chain: [NIOSSLCertificate], privateKey: NIOSSLPrivateKey) throws {
        let contexts = try Self.contexts(chain, privateKey)
        current.withLock { $0 = contexts }
    }

    /// What a new connection begins with.
    ///
    /// - Parameter chain: takes what the client sends besides its own certificate.
    public func makeHandler(for port: Port, _ chain: ClientChain) -> NIOSSLServerHandler {
        let contexts = current.withLock { $0 }
        let context = port == .mqtt ? contexts.mqtt : contexts.web
        // What the handshake needed is given back; an acknowledgement needs a hundred bytes.
        var configuration = NIOSSLHandler.Configuration()
        configuration.maximumPreservedOutboundBufferCapacity = 512
        return NIOSSLServerHandler(
            context: context,
            customVerificationCallback: { certificates, promise in
                chain.sent(certificates)
                promise.succeed(.certificateVerified)
            },
            configuration: configuration)
    }

    private static func contexts(_ chain: [NIOSSLCertificate], _ key: NIOSSLPrivateKey) throws -> Contexts {
        Contexts(mqtt: try context(chain, key, .mqtt), web: try context(chain, key, .web))
    }

    private static func context(
        _ chain: [NIOSSLCertificate], _ key: NIOSSLPrivateKey, _ port: Port
    ) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .optionalVerification
        configuration.trustRoots = .certificates([])
        configuration.applicationProtocols = port.protocols
        return try NIOSSLContext(configuration: configuration)
    }
}
