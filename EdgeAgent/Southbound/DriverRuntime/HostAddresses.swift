import Glibc

/// Looks a host up, because libmosquitto's own non-blocking connect stops at the first address, and `localhost` may be
/// `::1` first with a broker on 127.0.0.1 only.
public enum HostAddresses {
    /// Addresses of one host that are tried.
    public static let countMax = 8

    /// The resolver found nothing; `text` is its own reason.
    public struct LookupFailure: Error {
        public let text: String
    }

    /// Numeric addresses in the resolver's order. Blocks as long as the resolver does.
    public static func resolve(_ host: String) throws(LookupFailure) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, nil, &hints, &list)
        guard status == 0 else {
            throw LookupFailure(text: String(cString: gai_strerror(status)))
        }
        defer { freeaddrinfo(list) }
        var addresses: [String] = []
        var entry = list
        while let current = entry, addresses.count < countMax {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let named = getnameinfo(
                current.pointee.ai_addr, current.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0,
                NI_NUMERICHOST)
            if named == 0 {
                let address = text.withUnsafeBufferPointer { buffer in
                    String(decoding: buffer.prefix { $0 != 0 }.lazy.map(UInt8.init(bitPattern:)), as: UTF8.self)
                }
                if !addresses.contains(address) { addresses.append(address) }
            }
            entry = current.pointee.ai_next
        }
        return addresses
    }

    /// What a non-blocking connect came to; 0 when it stands.
    public static func connectError(of socket: Int32) -> Int32 {
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 else { return errno }
        guard error == 0 else { return error }
        // The error is told once, and a library that wrote too early may have been told: only a refusal is that fast.
        var peer = sockaddr_storage()
        length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let status = withUnsafeMutableBytes(of: &peer) { bytes in
            getpeername(socket, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
        }
        return status == 0 ? 0 : ECONNREFUSED
    }
}
