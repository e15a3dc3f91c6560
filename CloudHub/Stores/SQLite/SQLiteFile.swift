import GRDB
import Glibc

/// Whole SQLite files.
public enum SQLiteFile {
    /// Copies a database, in use or not, into a new file of mode 0600: one consistent state, synced.
    ///
    /// - Throws: `HubStoreError`; what was written of the copy is removed.
    public static func copy(from source: String, to target: String) throws {
        let name = target.split(separator: "/").last.map(String.init) ?? target
        do {
            let descriptor = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else {
                throw HubStoreError(.fileAccess, doing: "copy to a file that exists or cannot be made", which: name)
            }
            defer { close(descriptor) }
            var configuration = Configuration()
            configuration.busyMode = .timeout(10)
            let from = try DatabaseQueue(path: source, configuration: configuration)
            let to = try DatabaseQueue(path: target)
            try from.backup(to: to)
            try to.close()
            try from.close()
            guard fsync(descriptor) == 0 else {
                throw HubStoreError(.fileAccess, doing: "sync a copy", which: name)
            }
        } catch {
            unlink(target)
            throw HubStoreError.wrapping(error, doing: "copy the database", which: name)
        }
    }
}
