import Glibc

/// Room on the disk that is held for the day on which it is full: without it not even a delete could be written.
final class LogReserve {
    private let path: String
    private let bytes: Int

    init(path: String, bytes: Int) {
        self.path = path
        self.bytes = bytes
    }

    func giveUp() { unlink(path) }

    /// Takes the room again when the disk has four times as much; otherwise leaves it to the events.
    func restore() {
        guard bytes > 0, Self.size(of: path) != bytes else { return }
        var room = statvfs()
        guard statvfs(path.parentFolder, &room) == 0,
            UInt64(room.f_bavail) * UInt64(room.f_frsize) > UInt64(bytes) * 4
        else { return }
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { return }
        if posix_fallocate(file, 0, off_t(bytes)) != 0 { unlink(path) }
        close(file)
    }

    /// 0 when there is no such file.
    static func size(of path: String) -> Int {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return 0 }
        defer { close(file) }
        return max(0, Int(lseek(file, 0, SEEK_END)))
    }
}

extension String {
    /// Everything before the last slash; `.` without one.
    fileprivate var parentFolder: String {
        guard let slash = lastIndex(of: "/") else { return "." }
        return slash == startIndex ? "/" : String(self[..<slash])
    }
}
