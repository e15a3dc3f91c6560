import CLinux
import DriverRuntime
import Glibc
import Primitives

/// The system's calls for a local socket, both ends.
enum LocalSocket {
    struct Problem: Error {
        let reason: String

        init(_ reason: String) { self.reason = reason }
        init(errno code: Int32) { reason = String(cString: strerror(code)) }
    }

    /// A listening socket whose file is its owner's only. One that nobody listens at any more is replaced.
    static func listening(at path: String) -> Result<Int32, Problem> {
        if case .success(let other) = connected(to: path) {
            close(other)
            return .failure(Problem("another agent listens there"))
        }
        guard var address = address(path) else { return .failure(tooLong) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return .failure(Problem(errno: errno)) }
        if let problem = removeLeftover(path) {
            close(descriptor)
            return .failure(problem)
        }
        let mask = umask(0o177)
        let status = withAddress(&address) { bind(descriptor, $0, $1) }
        let code = errno
        umask(mask)
        guard status == 0, listen(descriptor, 4) == 0 else {
            close(descriptor)
            return .failure(Problem(errno: status == 0 ? errno : code))
        }
        return .success(descriptor)
    }

    /// Only a socket is removed: a path that was mistyped may name the outbox or a key.
    private static func removeLeftover(_ path: String) -> Problem? {
        var found = stat()
        guard lstat(path, &found) == 0 else { return errno == ENOENT ? nil : Problem(errno: errno) }
        guard found.st_mode & S_IFMT == S_IFSOCK else {
            return Problem("there is something that is no socket; it is left as it is")
        }
        return unlink(path) == 0 ? nil : Problem(errno: errno)
    }

    static func connected(to path: String) -> Result<Int32, Problem> {
        guard var address = address(path) else { return .failure(tooLong) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return .failure(Problem(errno: errno)) }
        guard withAddress(&address, { connect(descriptor, $0, $1) }) == 0 else {
            let code = errno
            close(descriptor)
            return .failure(Problem(errno: code))
        }
        return .success(descriptor)
    }

    /// The name of the user at the other end; the number when it has none.
    static func user(of descriptor: Int32) -> String {
        let number = fieldline_peer_user(descriptor)
        guard number >= 0 else { return "unknown" }
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var room = [CChar](repeating: 0, count: 4096)
        guard getpwuid_r(uid_t(number), &entry, &room, room.count, &found) == 0, let name = found?.pointee.pw_name
        else {
            return "\(number)"
        }
        return String(cString: name)
    }

    /// Up to the end of a line, without it; `nil` when there is none in time or it is too long.
    static func line(from descriptor: Int32, bytesMax: Int, until deadline: MonotonicInstant) -> [UInt8]? {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1024)
        while bytes.count <= bytesMax, isReady(descriptor, POLLIN, until: deadline) {
            let count = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
            guard count > 0 else { return nil }
            bytes += piece[..<count]
            if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) { return Array(bytes[..<end]) }
        }
        return nil
    }

    static func send(_ bytes: [UInt8], to descriptor: Int32, until deadline: MonotonicInstant) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard isReady(descriptor, POLLOUT, until: deadline) else { return false }
            let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, flags) }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    private static var tooLong: Problem {
        Problem("the path is longer than \(LocalDoor.pathBytesMax) bytes")
    }

    private static func isReady(_ descriptor: Int32, _ event: Int32, until deadline: MonotonicInstant) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        return poll(&entry, 1, SystemTime.pollMilliseconds(until: deadline)) == 1
    }

    private static func address(_ path: String) -> sockaddr_un? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count <= LocalDoor.pathBytesMax else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return address
    }

    private static func withAddress(
        _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
