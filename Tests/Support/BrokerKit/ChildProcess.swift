import Foundation

/// A program started with a clean signal mask. Foundation's `Process` hands down the mask of the thread that starts
/// it, and test threads block everything: a child would never hear SIGTERM or its own alarm. It also lets children inherit
/// each other's sockets, and waits for ever when tests start programs side by side: here a child has its three descriptors.
public final class ChildProcess {
    public let processID: Int32
    private let output: FileHandle?
    private var status: Int32?

    /// - Parameters:
    ///   - input: the file to read from; empty by default.
    ///   - keepsOutput: whether standard output is kept for `outputText`; otherwise it is thrown away.
    ///   - errorFile: where standard error goes, appended.
    public init(
        _ program: String, _ arguments: [String], input: String = "/dev/null", keepsOutput: Bool = false,
        errorFile: String = "/dev/null"
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let pipe = keepsOutput ? Pipe() : nil
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errorFile, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        if let pipe {
            posix_spawn_file_actions_adddup2(&actions, pipe.fileHandleForWriting.fileDescriptor, STDOUT_FILENO)
        } else {
            posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        }
        for descriptor in 3..<Int32(256) { posix_spawn_file_actions_addclose(&actions, descriptor) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var started: pid_t = 0
        let code = posix_spawn(&started, program, &actions, &attributes, &words, environ)
        guard code == 0 else {
            throw BrokerKitError("\(program) cannot be started: \(String(cString: strerror(code)))")
        }
        processID = started
        try pipe?.fileHandleForWriting.close()
        output = pipe?.fileHandleForReading
    }

    deinit {
        if status == nil {
            Foundation.kill(processID, SIGKILL)
            waitUntilExit()
        }
    }

    public func signal(_ number: Int32) {
        if status == nil { Foundation.kill(processID, number) }
    }

    /// The status as `waitpid` gives it.
    @discardableResult
    public func waitUntilExit() -> Int32 {
        if let status { return status }
        var code: Int32 = 0
        while waitpid(processID, &code, 0) < 0, errno == EINTR {}
        status = code
        return code
    }

    /// The next line that it prints; `nil` when it has closed its output.
    public func nextLine() -> String? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        guard let output else { return nil }
        while read(output.fileDescriptor, &byte, 1) == 1 {
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    /// Exit status, or 128 and the signal's number as a shell says it.
    public func exitStatus() -> Int32 {
        let status = waitUntilExit()
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }

    /// Everything that it prints until it closes its output.
    public func outputText() -> String {
        String(decoding: output?.readDataToEndOfFile() ?? Data(), as: UTF8.self)
    }
}
