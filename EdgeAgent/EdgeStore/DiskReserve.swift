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

    /// Makes the file when it is missing; `false` when the disk has no room for it now.
    @discardableResult
    func refill() -> Bool {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        if posix_fallocate(descriptor, 0, off_t(Self.bytes)) == 0 { return true }
        _ = ftruncate(descriptor, 0)
        return false
    }

    func release() { _ = truncate(path, 0) }
}
