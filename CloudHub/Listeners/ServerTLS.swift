public import HubTLS
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
        let mqtt: TLSServerContext
        let web: TLSServerContext
    }

    private let current: Mutex<Contexts>

    /// - Throws: what is wrong with the certificate, or with a key that does not fit.
    public init(_ identity: TLSIdentity) throws {
        current = Mutex(try Self.contexts(identity))
    }

    /// New connections use it from now on; open ones keep what they have.
    public func replace(_ identity: TLSIdentity) throws {
        let contexts = try Self.contexts(identity)
        current.withLock { $0 = contexts }
    }

    /// What a new connection begins with.
    ///
    /// - Parameters:
    ///   - chain: takes what the client sends.
    ///   - wire: the one of the connection's loop.
    public func makeHandler(for port: Port, _ chain: ClientChain, wire: TLSWire) throws -> TLSHandler {
        let context = current.withLock { port == .mqtt ? $0.mqtt : $0.web }
        return try TLSHandler(context, wire: wire) { chain.sent($0, isProven: $1) }
    }

    private static func contexts(_ identity: TLSIdentity) throws -> Contexts {
        Contexts(
            mqtt: try TLSServerContext(identity, protocols: Port.mqtt.protocols),
            web: try TLSServerContext(identity, protocols: Port.web.protocols))
    }
}
