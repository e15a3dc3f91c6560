import BlobStore
import Certificates
import Glibc
import Primitives
import SQLiteHubStore

/// The files that devices uploaded, in a backup: just those that the copied list points to.
///
/// A file never changes once it is listed, so a second name for it is a copy, and costs nothing; on another disk it is
/// copied. The running hub removes none while a backup is made.
enum BackupUploads {
    private static let chunkBytes = 1 << 20

    static func folder(in directory: String) -> String { directory + "/files" }

    /// - Parameter list: the copied `hub.sqlite`.
    static func take(from source: String, to target: String, list: String) throws {
        let parts = try SQLiteBlobIndex.files(in: list)
        guard mkdir(folder(in: target), 0o700) == 0 else {
            throw CommandFailure.failed("\(folder(in: target)) cannot be made: \(reason()); check the disk")
        }
        for part in parts { try take("\(part.file)", from: folder(in: source), to: folder(in: target)) }
    }

    /// Whether a backup was made with files, and none is missing or short.
    static func check(_ directory: String) throws {
        guard isThere(directory) else { return }
        for part in try SQLiteBlobIndex.files(in: "\(directory)/hub.sqlite") {
            guard bytes(of: "\(folder(in: directory))/\(part.file)") == part.bytes else {
                throw CommandFailure.failed(
                    "the backup \(directory) is not whole: files/\(part.file) is missing or damaged; take another one, or "
                        + "remove its folder files to restore without uploaded files")
            }
        }
    }

    static func isThere(_ directory: String) -> Bool { access(folder(in: directory), F_OK) == 0 }

    static func remove(in directory: String) {
        for name in FolderSafety.names(in: folder(in: directory)) where UniqueID(name) != nil {
            unlink("\(folder(in: directory))/\(name)")
        }
        rmdir(folder(in: directory))
    }

    private static func take(_ name: String, from source: String, to target: String) throws {
        guard link("\(source)/\(name)", "\(target)/\(name)") != 0 else { return }
        switch errno {
        // Another disk, a disk without second names, or too many of them.
        case EXDEV, EPERM, EOPNOTSUPP, EMLINK: try copy("\(source)/\(name)", to: "\(target)/\(name)")
        case ENOENT:
            throw CommandFailure.failed(
                "the file \(name) of an upload is missing in \(source); start the hub anew, which takes it off its list"
            )
        default: throw CommandFailure.failed("\(target)/\(name) cannot be made: \(reason()); check the disk")
        }
    }

    private static func copy(_ source: String, to target: String) throws {
        let from = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard from >= 0 else { throw CommandFailure.failed("\(source) cannot be read: \(reason())") }
        defer { close(from) }
        let to = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard to >= 0 else { throw CommandFailure.failed("\(target) cannot be made: \(reason()); check the disk") }
        defer { close(to) }
        var buffer = [UInt8](repeating: 0, count: chunkBytes)
        while true {
            let count = read(from, &buffer, buffer.count)
            if count == 0 { break }
            guard count > 0 || errno == EINTR else {
                throw CommandFailure.failed("\(source) cannot be read: \(reason())")
            }
            var done = 0
            while done < count {
                let written = buffer[done..<count].withUnsafeBytes { write(to, $0.baseAddress, $0.count) }
                guard written > 0 || errno == EINTR else {
                    throw CommandFailure.failed("\(target) cannot be written: \(reason()); make room on its disk")
                }
                done += max(0, written)
            }
        }
        guard fsync(to) == 0 else { throw CommandFailure.failed("\(target) cannot be written: \(reason())") }
    }

    private static func bytes(of path: String) -> Int64? {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return Int64(lseek(file, 0, SEEK_END))
    }

    private static func reason() -> String { String(cString: strerror(errno)) }
}
