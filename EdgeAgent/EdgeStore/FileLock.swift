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
