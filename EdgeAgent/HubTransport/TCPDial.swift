internal import Connectivity
internal import DriverRuntime
internal import Glibc
internal import Primitives

/// A descriptor that is closed with its owner.
final class SocketHandle {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
}

/// Tries the addresses of a host in turn until one takes the TCP connection. Each gets an equal share of the time that is
/// left. Never blocks.
struct TCPDial {
    enum Progress {
        case waiting
        case stands(SocketHandle)
        /// No address took it; `errno` of the last one.
        case failed(Int32)
    }

    private let port: Int
    private let deadline: MonotonicInstant
    private var addresses: ArraySlice<String>
    private(set) var socket: SocketHandle?
    /// When the next address has its turn.
    private(set) var attemptDeadline: MonotonicInstant
    private var failure = EHOSTUNREACH

    init(_ addresses: [String], port: Int, until deadline: MonotonicInstant, now: MonotonicInstant) {
        self.port = port
        self.deadline = deadline
        self.addresses = addresses[...]
        attemptDeadline = now
    }

    /// - Parameter isReady: whether the socket can be written, or failed.
    mutating func advance(isReady: Bool, now: MonotonicInstant) -> Progress {
        if let current = socket {
            if isReady {
                let error = HostAddresses.connectError(of: current.descriptor)
                if error == 0 { return .stands(current) }
                failure = error
            } else if now < attemptDeadline {
                return .waiting
            } else {
                failure = ETIMEDOUT
            }
            socket = nil
        }
        while let address = addresses.popFirst() {
            attemptDeadline = now + max(deadline - now, .zero) / (addresses.count + 1)
            switch Self.begin(address, port: port) {
            case .success(let begun):
                socket = begun
                return .waiting
            case .failure(let error): failure = error.code
            }
        }
        return .failed(failure)
    }

    private struct SystemError: Error { let code: Int32 }

    private static func begin(_ address: String, port: Int) -> Result<SocketHandle, SystemError> {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address, String(port), &hints, &list) == 0, let found = list else {
            return .failure(SystemError(code: EAFNOSUPPORT))
        }
        defer { freeaddrinfo(list) }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = Glibc.socket(found.pointee.ai_family, kind, 0)
        guard descriptor >= 0 else { return .failure(SystemError(code: errno)) }
        let handle = SocketHandle(descriptor)
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        guard connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 || errno == EINPROGRESS else {
            return .failure(SystemError(code: errno))
        }
        return .success(handle)
    }
}
