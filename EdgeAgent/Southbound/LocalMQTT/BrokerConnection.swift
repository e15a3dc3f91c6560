import DriverRuntime
import Glibc
import MQTTClient
import Primitives

/// One connection to the broker: the MQTT session and its socket, which never blocks. Confined to the driver's thread.
final class BrokerConnection {
    /// Read at once.
    static let chunkBytes = 32 * 1024

    /// The socket is of no use any more; `errno`, 0 when the other side has closed it.
    struct Lost: Error {
        let code: Int32
        var text: String { code == 0 ? "the broker closed the connection" : String(cString: strerror(code)) }
    }

    var session: ClientSession
    let descriptor: Int32
    private var chunk = [UInt8](repeating: 0, count: chunkBytes)

    /// Begins a connection to a numeric address; the socket becomes writable when it stands or has failed.
    init(address: String, port: UInt16, session: ClientSession) throws(Lost) {
        self.session = session
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address, String(port), &hints, &list) == 0, let found = list else {
            throw Lost(code: EAFNOSUPPORT)
        }
        defer { freeaddrinfo(list) }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        descriptor = socket(found.pointee.ai_family, kind, 0)
        guard descriptor >= 0 else { throw Lost(code: errno) }
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        guard connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 || errno == EINPROGRESS else {
            throw Lost(code: errno)
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// How the attempt to connect has ended; 0 when the connection stands.
    var connectError: Int32 { HostAddresses.connectError(of: descriptor) }

    var wantsWrite: Bool { !session.output.isEmpty }

    /// What the next bytes mean; nothing when there are none, or no whole packet yet.
    func read(now: MonotonicInstant) throws(Ended) -> [ClientEvent] {
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return [] }
            throw .lost(Lost(code: count == 0 ? 0 : errno))
        }
        do throws(ClientError) {
            return try chunk.withUnsafeBufferPointer { (bytes) throws(ClientError) in
                let piece = UnsafeBufferPointer(rebasing: bytes[..<count])
                return try session.received(UnsafeRawBufferPointer(piece), now: now)
            }
        } catch {
            throw .session(error)
        }
    }

    enum Ended: Error {
        case lost(Lost)
        case session(ClientError)
    }

    /// Writes as much as the socket takes.
    func write() throws(Ended) {
        while wantsWrite {
            let descriptor = descriptor
            let count = session.output.withBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else {
                if errno == EAGAIN || errno == EINTR { return }
                throw .lost(Lost(code: errno))
            }
            session.output.removeFirst(count)
        }
    }
}
