public import Primitives

/// The handshake that turns an HTTP connection into a WebSocket for MQTT. Source: RFC 6455 section 4.1, and MQTT 3.1.1
/// section 6 for the sub-protocol's name.
public struct WebSocketUpgrade: Sendable {
    private let host: String
    private let key: String

    /// - Parameters:
    ///   - host: the hub's name; the request names it with the port.
    ///   - nonce: 16 random bytes.
    public init(host: String, port: Int, nonce: [UInt8]) {
        precondition(nonce.count == 16, "RFC 6455 asks for 16 bytes")
        self.host = "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        key = Base64.encode(nonce)
    }

    public func request(path: String) -> [UInt8] {
        Array(
            """
            GET \(path) HTTP/1.1\r
            Host: \(host)\r
            Upgrade: websocket\r
            Connection: Upgrade\r
            Sec-WebSocket-Key: \(key)\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Protocol: mqtt\r
            Origin: https://\(host)\r
            \r

            """.utf8)
    }

    /// Takes the server's answer off the front of what arrived.
    ///
    /// - Returns: whether the WebSocket is open; `false` while the answer has not arrived.
    /// - Throws: `.refused`, or `.malformed` when the answer is not one to this request.
    public func opened(_ input: inout ByteQueue, sha1: ([UInt8]) -> [UInt8]) throws(TunnelError) -> Bool {
        let read = try input.withBytes { (bytes) throws(TunnelError) in try ResponseHead.read(bytes) }
        guard let (head, count) = read else { return false }
        guard head.status == 101 else { throw .refused(status: head.status) }
        let accept = Base64.encode(sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
        guard head.value("upgrade")?.lowercased() == "websocket", head.value("sec-websocket-accept") == accept else {
            throw .malformed("the answer does not belong to the request")
        }
        guard head.value("sec-websocket-protocol") == "mqtt" else {
            throw .malformed("the server did not choose the sub-protocol mqtt")
        }
        input.removeFirst(count)
        return true
    }
}
