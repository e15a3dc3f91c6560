/// Why a tunnel did not open, or broke. None can be mended on the same connection.
public enum TunnelError: Error, Sendable, Equatable {
    /// The other side answered with this HTTP status.
    case refused(status: Int)
    /// The other side does not speak what was asked of it; a phrase for the operator.
    case malformed(String)
    /// A WebSocket's close frame, with its code; 1005 without one.
    case closed(code: Int)
}
