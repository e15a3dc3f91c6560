import BrokerKit
import FieldKit
import Glibc
import Synchronization

/// A port of 127.0.0.1 that refuses every MQTT client, each time with another reason.
final class FickleBroker: Sendable {
    let port: UInt16
    private let listener: Int32
    private let count = Mutex(0)

    init() throws {
        port = UInt16(clamping: try freePort())
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0, listen(listener, 8) == 0 else { throw FieldKitError("no listener on port \(port)") }
    }

    deinit { close(listener) }

    /// Clients that were refused.
    var refusedCount: Int { count.withLock { $0 } }

    /// Refuses who is there, at most waiting a little: CONNACK with code 3, then 4, then 3 and so on.
    func refuseNext() {
        var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, 100) > 0 else { return }
        let client = accept(listener, nil, nil)
        guard client >= 0 else { return }
        defer { close(client) }
        var request = [UInt8](repeating: 0, count: 1024)
        guard read(client, &request, request.count) > 0 else { return }
        let number = count.withLock { count in
            count += 1
            return count
        }
        let answer: [UInt8] = [0x20, 2, 0, number % 2 == 0 ? 4 : 3]
        _ = write(client, answer, answer.count)
    }
}
