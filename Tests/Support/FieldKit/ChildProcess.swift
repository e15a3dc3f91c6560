import Glibc

/// A program started with no descriptor of ours but its three. Foundation's `Process` lets children inherit each other's
/// sockets, and waits for ever when tests start programs side by side.
public final class ChildProcess {
    private let id: pid_t
    private var status: Int32?

    /// - Parameters:
    ///   - input: file to read from; empty by default.
    ///   - output: file to write both outputs to; nowhere by default.
    public init(
        _ path: String, _ arguments: [String], input: String = "/dev/null", output: String = "/dev/null"
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        for descriptor in 3..<Int32(256) { posix_spawn_file_actions_addclose(&actions, descriptor) }
        // The threads that run tests block signals, and a child would inherit that: it could not be ended.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
        defer { for word in words { free(word) } }
        words.append(nil)
        var id = pid_t()
        guard posix_spawn(&id, path, &actions, &attributes, words, environ) == 0 else {
            throw FieldKitError("\(path) cannot be started")
        }
        self.id = id
    }

    deinit { end() }

    public var isRunning: Bool {
        guard status == nil else { return false }
        var status: Int32 = 0
        guard waitpid(id, &status, WNOHANG) == id else { return true }
        self.status = status
        return false
    }

    /// Waits for its end; the exit status, or -1 when a signal ended it.
    @discardableResult
    public func wait() -> Int32 {
        var status: Int32 = self.status ?? 0
        if self.status == nil { waitpid(id, &status, 0) }
        self.status = status
        return status & 0x7F == 0 ? status >> 8 & 0xFF : -1
    }

    /// SIGTERM, and waits.
    public func end() {
        if isRunning { kill(id, SIGTERM) }
        wait()
    }
}
