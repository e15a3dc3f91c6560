internal import Glibc

/// IP bytes of one connection so far, in both directions: what TCP counted, and the headers of its segments.
public struct WireBytes: Sendable, Equatable {
    /// Headers of a segment: 20 bytes of IPv4, 20 of TCP, 12 of its time stamps. IPv6 has 20 more.
    public static let headerBytes: UInt64 = 52

    public let sent: UInt64
    public let received: UInt64

    public var total: UInt64 { sent + received }

    /// `nil` when the system does not say. Source: struct tcp_info of linux/tcp.h, which only ever grows at its end.
    init?(socket: Int32) {
        let end = 144
        var info = [UInt8](repeating: 0, count: end)
        var length = socklen_t(end)
        guard getsockopt(socket, Int32(IPPROTO_TCP), TCP_INFO, &info, &length) == 0, length >= end else { return nil }
        func number<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> UInt64 {
            info.withUnsafeBytes { UInt64($0.loadUnaligned(fromByteOffset: offset, as: type)) }
        }
        let (acknowledged, received) = (number(UInt64.self, at: 120), number(UInt64.self, at: 128))
        let (segmentsOut, segmentsIn) = (number(UInt32.self, at: 136), number(UInt32.self, at: 140))
        sent = acknowledged + segmentsOut * Self.headerBytes
        self.received = received + segmentsIn * Self.headerBytes
    }
}
