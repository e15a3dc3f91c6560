public import Primitives

/// The way through an HTTP proxy: CONNECT, and the proxy's yes. Source: RFC 9110 section 9.3.6.
public enum ProxyTunnel {
    /// - Parameters:
    ///   - login: `user:password` for a proxy that wants one.
    public static func request(host: String, port: Int, login: Secret?) -> [UInt8] {
        let target = "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        var text = "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n"
        if let login { text += "Proxy-Authorization: Basic \(Base64.encode(login.bytes))\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// Takes the proxy's answer off the front of what arrived.
    ///
    /// - Returns: whether the tunnel is open; `false` while the answer has not arrived.
    /// - Throws: `.refused`, or `.malformed`.
    public static func opened(_ input: inout ByteQueue) throws(TunnelError) -> Bool {
        let read = try input.withBytes { (bytes) throws(TunnelError) in try ResponseHead.read(bytes) }
        guard let (head, count) = read else { return false }
        guard (200..<300).contains(head.status) else { throw .refused(status: head.status) }
        input.removeFirst(count)
        return true
    }
}
