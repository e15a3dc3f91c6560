internal import Glibc

/// A file of zeros beside the outbox that is given back to a full disk, so that opening the outbox, deleting what the
/// hub has acknowledged and keeping commands always find room. The freed rows then make room for the file again.
struct DiskReserve {
    /// 2 MiB: a whole write-ahead log (checkpointed at 1 MiB) moved into the file, and the log of deleting a window
    /// of batches.
    static let bytes = 2 * 1024 * 1024

    let path: String

    var isWhole: Bool {
        var status = stat()
        return stat(path, &status) == 0 && Int(status.st_size) >= Self.bytes
    }

    enum Refill { case whole, full, failed }

    /// Makes the file when it is missing. `full` when the disk has no room for it now, `failed` when it says something else:
    /// whoever writes next will hear it, too.
    @discardableResult
    func refill() -> Refill {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return Self.outcome(errno) }
        defer { close(descriptor) }
        let code = posix_fallocate(descriptor, 0, off_t(Self.bytes))
        if code == 0 { return .whole }
        _ = ftruncate(descriptor, 0)
        return Self.outcome(code)
    }

    private static func outcome(_ code: Int32) -> Refill { code == ENOSPC || code == EDQUOT ? .full : .failed }

    func release() { _ = truncate(path, 0) }
}
