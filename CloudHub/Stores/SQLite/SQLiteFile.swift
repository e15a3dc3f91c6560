import GRDB
import Glibc

/// Whole SQLite files.
public enum SQLiteFile {
    /// Copies a database, in use or not, into a new file of mode 0600: one consistent state, synced, in one file.
    ///
    /// - Throws: `HubStoreError`; what was written of the copy is removed, a file that was there before is not.
    public static func copy(from source: String, to target: String) throws {
        let name = fileName(target)
        let descriptor = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw HubStoreError(.fileAccess, doing: "copy to a file that exists or cannot be made", which: name)
        }
        defer { close(descriptor) }
        do {
            let from = try DatabaseQueue(path: source, configuration: patient)
            let to = try DatabaseQueue(path: target)
            try from.backup(to: to)
            // The copied header asks for a write-ahead log, which nobody could open on a disk for reading only.
            try to.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
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

    /// Reads the whole file and checks its structure, without changing it.
    ///
    /// - Parameter schemaVersion: the newest that this program knows.
    /// - Throws: `HubStoreError` with `.damaged` or `.schemaNewer`, or what opening it says. A file without a schema is
    ///   `.damaged`: it was never finished.
    public static func check(_ path: String, schemaVersion known: Int) throws {
        let name = fileName(path)
        let doing = "check the database"
        do {
            var configuration = patient
            configuration.readonly = true
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let (found, verdict) = try queue.read { database in
                (
                    try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0,
                    try String.fetchOne(database, sql: "PRAGMA quick_check(1)")
                )
            }
            try queue.close()
            guard verdict == "ok", found > 0 else { throw HubStoreError(.damaged, doing: doing, which: name) }
            guard found <= known else {
                throw HubStoreError(.schemaNewer(found: found, known: known), doing: doing, which: name)
            }
        } catch {
            throw HubStoreError.wrapping(error, doing: doing, which: name)
        }
    }

    private static var patient: Configuration {
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        return configuration
    }

    private static func fileName(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }
}
