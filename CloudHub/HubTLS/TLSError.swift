import CNIOBoringSSL

/// Why a TLS connection cannot begin or go on.
public enum TLSError: Error, Hashable {
    /// With the library's name of the reason, in capitals.
    case handshakeFailed(reason: String)
    /// What came after the handshake cannot be decrypted or breaks the rules, or the peer says so of what it got.
    case broken(reason: String)
    /// The peer went away in the middle of the handshake.
    case leftInHandshake
    /// The peer went away without its farewell: what it sent last may be missing.
    case cutOff
    /// Certificate or key are not what they should be.
    case unusable(String)

    /// What the library complained of first; leaves nothing of it for the next.
    static func takeReason() -> String {
        defer { ERR_clear_error() }
        let code = ERR_peek_error()
        guard code != 0, let text = ERR_reason_error_string(code) else { return "UNKNOWN" }
        return String(cString: text)
    }
}

extension TLSError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .handshakeFailed(let reason): "the TLS handshake failed with \(reason)"
        case .broken(let reason): "TLS was broken off with \(reason)"
        case .leftInHandshake: "the peer went away in the TLS handshake"
        case .cutOff: "the peer went away without a farewell"
        case .unusable(let detail): detail
        }
    }
}
