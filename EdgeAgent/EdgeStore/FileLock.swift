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
        note("")
    }

    /// Writes down how its owner is doing, for a look from outside. Best effort: on a full disk the lock holds just as
    /// well without a word in it. The file has one size always, so that it needs no new block later.
    func note(_ words: String) {
        var text = Array("\(getpid())\n\(words)\n".utf8.prefix(Self.bytes))
        text += [UInt8](repeating: UInt8(ascii: " "), count: Self.bytes - text.count)
        _ = pwrite(descriptor, text, text.count, 0)
    }

    /// Whether the path still leads to the file that is locked.
    func isAt(_ path: String) -> Bool {
        var (held, found) = (stat(), stat())
        guard fstat(descriptor, &held) == 0, stat(path, &found) == 0 else { return false }
        return held.st_dev == found.st_dev && held.st_ino == found.st_ino
    }

    private static let bytes = 1024

    /// What the owner noted last; empty when there is nothing, or nobody.
    static func words(_ path: String) -> String {
        let opened = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard opened >= 0 else { return "" }
        defer { close(opened) }
        // Whoever gets the lock has no owner to ask.
        guard flock(opened, LOCK_SH | LOCK_NB) != 0 else { return "" }
        let lines = String(decoding: SmallFile.read(path, bytesMax: bytes), as: UTF8.self).split(separator: "\n")
        return lines.count > 1 ? String(lines[1]) : ""
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
