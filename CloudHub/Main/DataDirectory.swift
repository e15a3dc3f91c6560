import Certificates
import Glibc

/// The hub's data directory: where everything is, and who holds it.
struct DataDirectory: Sendable {
    static let defaultPath = "/var/lib/cloud-hub"

    let path: String

    var tls: String { path + "/tls" }
    var address: String { path + "/address.json" }
    var hubID: String { path + "/hub-id" }
    var hubDatabase: String { path + "/hub.sqlite" }
    var logDatabase: String { path + "/log.sqlite" }
    /// What devices uploaded.
    var files: String { path + "/files" }
    var socket: String { path + "/control.sock" }
    private var lockFile: String { path + "/lock" }

    /// Makes the directory, readable by its owner alone. An empty one that is there is made so too.
    func create() throws(CommandFailure) {
        if mkdir(path, 0o700) == 0 { return }
        let reason = errno
        if reason == EEXIST, anyContent() == nil { chmod(path, 0o700) }
        guard reason == EEXIST else {
            throw .failed(
                "the data directory \(path) cannot be made: \(String(cString: strerror(reason))); "
                    + "make its parent directory, or choose another with --data")
        }
    }

    /// - Throws: when the directory is there, but this user may not look into it.
    func demandAccess() throws(CommandFailure) {
        guard access(path, R_OK | X_OK) != 0, errno == EACCES else { return }
        throw .failed("\(path) is closed to this user; run this as the user that the hub runs as, or with sudo")
    }

    /// Whether a hub ever set itself up here.
    var isSetUp: Bool { access(hubDatabase, F_OK) == 0 }

    /// The name of something in the directory beside the lock; `nil` when it is empty or cannot be read.
    func anyContent() -> String? { FolderSafety.anyName(in: path, except: "lock") }

    /// Takes the directory for this process until the lock is dropped. `nil` when another process holds it.
    func tryLock() throws(CommandFailure) -> DirectoryLock? {
        let descriptor = open(lockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw .failed(
                "the data directory \(path) cannot be used: \(String(cString: strerror(errno))) at \(lockFile); "
                    + "check that this user may write there")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            return nil
        }
        return DirectoryLock(descriptor: descriptor)
    }
}

/// Holds the directory; the kernel lets go of it when the process ends, however it ends.
final class DirectoryLock: Sendable {
    private let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}
