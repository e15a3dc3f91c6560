import Glibc

/// Files that are either whole or not there.
enum PrivateFile {
    /// `nil` when there is no such file.
    static func read(_ path: String) throws(CertificateError) -> String? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT { return nil }
            throw failure("read \(path)")
        }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        var count = 0
        while count < bytes.count {
            let got = bytes[count...].withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress, $0.count) }
            if got == 0 { break }
            guard got > 0 else {
                if errno == EINTR { continue }
                throw failure("read \(path)")
            }
            count += got
        }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// Writes a new file beside the old one, syncs it, and puts it in its place; then syncs the folder.
    static func write(_ text: String, to path: String, mode: mode_t) throws(CertificateError) {
        let temporary = path + ".new"
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard file >= 0 else { throw failure("write \(path)") }
        var isWritten = fchmod(file, mode) == 0
        var rest = Array(text.utf8)[...]
        while isWritten, !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { isWritten = false }
        }
        isWritten = isWritten && fsync(file) == 0
        let code = errno
        close(file)
        guard isWritten, rename(temporary, path) == 0 else {
            let error = isWritten ? failure("write \(path)") : failure("write \(path)", code: code)
            unlink(temporary)
            throw error
        }
        try syncFolder(of: path)
    }

    static func makeFolder(_ path: String) throws(CertificateError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure("make the folder \(path)") }
    }

    private static func syncFolder(of path: String) throws(CertificateError) {
        let slash = path.lastIndex(of: "/")
        let folder = slash.map { String(path[..<$0]) } ?? "."
        let file = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw failure("open the folder of \(path)") }
        defer { close(file) }
        guard fsync(file) == 0 else { throw failure("sync the folder of \(path)") }
    }

    private static func failure(_ doing: String, code: Int32 = errno) -> CertificateError {
        CertificateError(
            "\(String(cString: strerror(code))); check the folder's owner, rights and free space", doing: doing)
    }
}
