import Glibc
import Primitives
import SQLiteHubStore

/// What a backup consists of, and how it is made and put back.
///
/// The databases are copied one after another while the hub writes, each as one consistent state. The order makes the
/// copies fit together: the hub's own state first, then what it points into. What happened in between is repeated from
/// the log after a restore, and every step of that can be repeated.
enum BackupFiles {
    private static let databases = ["hub.sqlite", "desk.sqlite", "log.sqlite"]
    private static let files = ["desk-client.json", "address.json", "hub-id"]
    private static let tlsFiles = ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"]

    /// Copies the running hub's data into `target`, which must not exist; a failed backup leaves nothing behind.
    static func make(of directory: DataDirectory, to target: String) throws {
        guard mkdir(target, 0o700) == 0 else {
            throw CommandFailure.failed(
                "the directory \(target) cannot be made: \(String(cString: strerror(errno))); "
                    + "choose one that does not exist, on a disk with room")
        }
        do {
            for name in databases where access("\(directory.path)/\(name)", F_OK) == 0 {
                try SQLiteFile.copy(from: "\(directory.path)/\(name)", to: "\(target)/\(name)")
            }
            try copyFiles(from: directory.path, to: target)
        } catch {
            remove(target)
            throw error
        }
    }

    /// Puts a backup into an absent or empty data directory.
    static func restore(from source: DataDirectory, to target: DataDirectory) throws {
        try target.create()
        guard !target.isSetUp else {
            throw CommandFailure.failed(
                "\(target.path) already holds a hub's data; restore into an empty directory, so that nothing is lost")
        }
        guard let lock = try target.tryLock() else {
            throw CommandFailure.failed("a hub holds \(target.path); stop it first")
        }
        try withExtendedLifetime(lock) {
            // The hub's own database last: it is what makes the directory count as set up.
            for name in databases.reversed() where access("\(source.path)/\(name)", F_OK) == 0 {
                try SQLiteFile.copy(from: "\(source.path)/\(name)", to: "\(target.path)/\(name)")
            }
            try copyFiles(from: source.path, to: target.path)
        }
    }

    private static func copyFiles(from source: String, to target: String) throws {
        guard mkdir("\(target)/tls", 0o700) == 0 || errno == EEXIST else {
            throw CommandFailure.failed("\(target)/tls cannot be made: \(String(cString: strerror(errno)))")
        }
        for name in files + tlsFiles.map({ "tls/" + $0 }) {
            guard let bytes = PrivateFile.read("\(source)/\(name)") else { continue }
            try PrivateFile.write(bytes, to: "\(target)/\(name)")
        }
    }

    private static func remove(_ folder: String) {
        for name in databases + files + tlsFiles.map({ "tls/" + $0 }) { unlink("\(folder)/\(name)") }
        rmdir("\(folder)/tls")
        rmdir(folder)
    }
}
