public import Connectivity
internal import COpenSSL
internal import DriverRuntime
internal import Glibc

/// What the connections of one gateway have in common: where the hub is, the TLS settings with the last session, and
/// the resolver's thread. Not thread-safe: it belongs to the thread that drives its connections.
public final class HubTransport {
    public let endpoint: HubEndpoint
    let resolver = Resolver()
    private var kept: TLSContext?

    /// Called on the thread that drives the connections. OpenSSL writes to sockets that the hub may have closed: this
    /// thread is told so by an error, and does not hear SIGPIPE any more, which would end the program.
    public init(_ endpoint: HubEndpoint) {
        self.endpoint = endpoint
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// What can be known to be wrong without a connection: files that cannot be read, a key that does not fit or is not
    /// in its TPM. `nil` when all is well.
    public static func problem(with endpoint: HubEndpoint) -> LinkProblem? {
        do throws(LinkFailure) {
            _ = try TLSContext(endpoint)
            return nil
        } catch {
            return error.problem
        }
    }

    /// The TLS settings, made anew when a file that they come from has changed.
    func context() throws(LinkFailure) -> TLSContext {
        if let kept, kept.isCurrent { return kept }
        kept = nil
        let made = try TLSContext(endpoint)
        kept = made
        return made
    }

    /// A connection was not accepted: the next one begins from nothing. The system's authorities may have changed, and a
    /// TPM or its resource manager that was started anew does not know what the old connection to it meant.
    func attemptFailed() { kept = nil }
}

/// How a connection came up; for logs and measurements.
public struct LinkStatistics: Sendable, Equatable {
    /// The TLS handshake was short, by a session of an earlier connection.
    public let isResumed: Bool
    /// Bytes of TLS on the wire.
    public let bytesSent: UInt64
    public let bytesReceived: UInt64
}
