import BrokerKit
import Foundation

/// A TCP port of 127.0.0.1 whose queue of connections is full: the system drops what a client sends, as a firewall does.
final class SilentListener {
    let port: Int
    private var sockets: [Int32] = []

    init() throws {
        port = try freePort()
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        sockets.append(listener)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        try check(withAddress(&address) { bind(listener, $0, $1) })
        try check(listen(listener, 0))
        // Once this one is connected, the queue of one is full.
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        sockets.append(client)
        try check(withAddress(&address) { connect(client, $0, $1) })
    }

    deinit { for socket in sockets { close(socket) } }

    /// Whether somebody waits for an answer to its SYN.
    var isTried: Bool {
        // In pieces: the file says that it has no length.
        let file = FileHandle(forReadingAtPath: "/proc/net/tcp")
        var table = ""
        while let piece = try? file?.read(upToCount: 4096), !piece.isEmpty {
            table += String(decoding: piece, as: UTF8.self)
        }
        let peer = " 0100007F:" + String(format: "%04X", port) + " 02 "
        return table.contains(peer)
    }

    private func withAddress<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private func check(_ status: Int32) throws {
        guard status == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EINVAL) }
    }
}
