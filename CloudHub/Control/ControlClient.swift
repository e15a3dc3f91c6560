import Glibc

/// The command line's end of the socket: blocking, one call a connection.
public struct ControlClient: Sendable {
    /// Longest answer line that is read. A twin is at most some 100 KB; an event 256 KB, as JSON at most six times that.
    static let lineBytesMax = 4 * 1024 * 1024

    private let path: String

    public init(path: String) { self.path = path }

    /// Sends `request` and hands over each answer until the last one or until `receive` returns `false`.
    ///
    /// - Throws: `ControlError` when no hub listens at the path or it goes away in between.
    public func call(_ request: ControlRequest, receive: (ControlAnswer) throws -> Bool) throws {
        let socket = try connected()
        defer { close(socket) }
        try send(request.line(), to: socket)
        var pending: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                let answer = try ControlAnswer(line: Array(pending[..<end]))
                pending.removeSubrange(...end)
                guard try receive(answer), case .item = answer else { return }
            }
            guard pending.count < Self.lineBytesMax else {
                throw ControlError("the hub's answer is longer than \(Self.lineBytesMax) bytes")
            }
            let count = read(socket, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw ControlError("the hub went away before it had answered") }
            pending += chunk[..<count]
        }
    }

    private func connected() throws(ControlError) -> Int32 {
        guard let address = UnixAddress(path) else { throw UnixAddress.tooLong(path) }
        let socket = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { throw ControlError("no socket could be made: \(String(cString: strerror(errno)))") }
        guard address.connect(socket) == 0 else {
            let reason = String(cString: strerror(errno))
            close(socket)
            throw ControlError("the hub's socket \(path) does not answer: \(reason)")
        }
        return socket
    }

    private func send(_ bytes: [UInt8], to socket: Int32) throws(ControlError) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { write(socket, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw ControlError("the hub went away before it had read the call") }
            sent += count
        }
    }
}

/// A socket path in the form that the kernel takes: at most 107 bytes.
struct UnixAddress {
    static let pathBytesMax = 107

    private var address = sockaddr_un()

    init?(_ path: String) {
        let bytes = Array(path.utf8)
        guard (1...Self.pathBytesMax).contains(bytes.count) else { return nil }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    }

    static func tooLong(_ path: String) -> ControlError {
        ControlError(
            "the socket path \(path) is longer than the \(pathBytesMax) bytes that the system allows; "
                + "choose a data directory with a shorter path", .wrongCall)
    }

    func connect(_ socket: Int32) -> Int32 {
        withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
