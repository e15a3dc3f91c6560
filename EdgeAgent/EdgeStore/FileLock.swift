internal import Glibc
internal import Outbox

/// Says that one agent runs on one outbox: an advisory lock on a file beside it, holding the owner's process id. The
/// kernel lets go of it when the process ends, however it ends.
final class FileLock {
    private let descriptor: Int32

    init(path: String, outbox: String) throws(OutboxError) {
        let doing = "take the lock"
        let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard opened >= 0 else {
            let problem: OutboxError.Problem = errno == ENOSPC || errno == EDQUOT ? .full : .cannotOpen
            throw OutboxError(problem, doing: doing, which: outbox, detail: String(cString: strerror(errno)))
        }
        guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
            let pid = Self.owner(of: opened)
            close(opened)
            throw OutboxError(.heldByAnother(pid: pid), doing: doing, which: outbox)
        }
        descriptor = opened
        let text = Array("\(getpid())\n".utf8)
        // Best effort: on a full disk the lock holds just as well without a number in it.
        if ftruncate(descriptor, 0) == 0 { _ = pwrite(descriptor, text, text.count, 0) }
    }

    deinit { close(descriptor) }

    private static func owner(of descriptor: Int32) -> Int32 {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return 0 }
        let digits = bytes[..<count].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return Int32(String(decoding: digits, as: UTF8.self)) ?? 0
    }
}

/// A file of zeros beside the outbox that is given back to a full disk, so that deleting what the hub has acknowledged
/// always finds room for its write-ahead log. The freed rows then make room for the file again.
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

/// A mutual exclusion lock around a thing that only its holder may touch.
final class Lock<Guarded>: @unchecked Sendable {
    // Safe: `guarded` is reached only inside `withLock`, under the mutex.
    private var guarded: Guarded
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    init(_ guarded: Guarded) {
        self.guarded = guarded
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func withLock<Result, Failure: Error>(
        _ body: (inout Guarded) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&guarded)
    }
}
