import Glibc
import Primitives
import SQLiteHubStore
import ServiceDesk

/// What a backup consists of, and how it is made and put back.
///
/// The databases are copied one after another while the hub writes, each as one consistent state. The order makes the
/// copies fit together: the hub's own state first, then what it points into. What happened in between is repeated from
/// the log after a restore, and every step of that can be repeated.
enum BackupFiles {
    /// In the order of copying, with the newest schema that this program knows.
    private static let databases: [(name: String, schemaVersion: Int)] = [
        ("hub.sqlite", HubSchema.hub.count), ("desk.sqlite", ServiceDesk.schemaVersion),
        ("log.sqlite", SQLiteEventLog.schemaVersion),
    ]
    private static let files = ["desk-client.json", "address.json", "hub-id"]
    private static let tlsFiles = ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"]
    private static let names = databases.map(\.name) + files + tlsFiles.map { "tls/" + $0 }

    /// Copies the running hub's data into `target`, which must not exist. It appears there whole or not at all.
    ///
    /// - Parameter withUploads: with the files that devices uploaded; their caller keeps them from being removed.
    static func make(of directory: DataDirectory, to target: String, withUploads: Bool) throws {
        guard access(target, F_OK) != 0 else {
            throw CommandFailure.failed(
                "\(target) exists already; choose a directory that does not, so that nothing is lost")
        }
        let partial = target + ".partial"
        removeFiles(in: partial)
        rmdir(partial)
        guard mkdir(partial, 0o700) == 0 else {
            throw CommandFailure.failed(
                "the directory \(target) cannot be made: \(reason()); choose another, on a disk with room")
        }
        do {
            for (name, _) in databases {
                try SQLiteFile.copy(from: "\(directory.path)/\(name)", to: "\(partial)/\(name)")
            }
            try copyFiles(from: directory.path, to: partial)
            if withUploads {
                // After their list: it points to nothing that came later.
                try BackupUploads.take(from: directory.path, to: partial, list: "\(partial)/hub.sqlite")
            }
            guard rename(partial, target) == 0 else {
                throw CommandFailure.failed("the directory \(target) cannot be made: \(reason()); choose another")
            }
        } catch {
            removeFiles(in: partial)
            rmdir(partial)
            throw error
        }
    }

    /// Puts a backup into an absent or empty data directory. A backup that is not whole is refused before anything is
    /// written.
    static func restore(from source: DataDirectory, to target: DataDirectory) throws {
        try check(source)
        try target.create()
        guard let lock = try target.tryLock() else {
            throw CommandFailure.failed("a hub holds \(target.path); stop it, or restore into another directory")
        }
        try withExtendedLifetime(lock) {
            if let name = target.anyContent() {
                throw CommandFailure.failed(
                    "\(target.path) is not empty (\(name)); restore into an empty directory, so that nothing is lost")
            }
            do {
                // The hub's own database last: it is what makes the directory count as set up.
                try copyFiles(from: source.path, to: target.path)
                if BackupUploads.isThere(source.path) {
                    try BackupUploads.take(
                        from: source.path, to: target.path, list: "\(source.path)/hub.sqlite")
                }
                for (name, _) in databases.reversed() {
                    try SQLiteFile.copy(from: "\(source.path)/\(name)", to: "\(target.path)/\(name)")
                }
            } catch {
                removeFiles(in: target.path)
                throw error
            }
        }
    }

    private static func check(_ source: DataDirectory) throws {
        try source.demandAccess()
        guard source.isSetUp else {
            throw CommandFailure.failed("\(source.path) is no backup of a hub: it holds no hub.sqlite")
        }
        for (name, schemaVersion) in databases {
            guard access("\(source.path)/\(name)", F_OK) == 0 else {
                throw CommandFailure.failed(
                    "the backup \(source.path) is not whole: \(name) is missing; take another one")
            }
            do {
                try SQLiteFile.check("\(source.path)/\(name)", schemaVersion: schemaVersion)
            } catch let error as HubStoreError {
                throw CommandFailure.failed("the backup \(source.path) cannot be used: \(sentence(error, name))")
            }
        }
        try BackupUploads.check(source.path)
    }

    private static func sentence(_ error: HubStoreError, _ name: String) -> String {
        switch error.problem {
        case .damaged: "\(name) is damaged; take another backup"
        case .schemaNewer(let found, let known):
            "\(name) has schema version \(found), but this program knows only up to version \(known); restore it with the "
                + "newer program"
        default: error.description
        }
    }

    private static func copyFiles(from source: String, to target: String) throws {
        guard mkdir("\(target)/tls", 0o700) == 0 else {
            throw CommandFailure.failed("\(target)/tls cannot be made: \(reason()); check the disk")
        }
        for name in files + tlsFiles.map({ "tls/" + $0 }) {
            guard let bytes = PrivateFile.read("\(source)/\(name)") else { continue }
            try PrivateFile.write(bytes, to: "\(target)/\(name)")
        }
    }

    private static func removeFiles(in folder: String) {
        for name in names { unlink("\(folder)/\(name)") }
        rmdir("\(folder)/tls")
        BackupUploads.remove(in: folder)
    }

    private static func reason() -> String { String(cString: strerror(errno)) }
}
