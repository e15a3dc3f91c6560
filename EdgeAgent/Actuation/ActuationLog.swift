import Glibc
import Primitives

/// The append-only file of who or what moved what, one JSON object a line.
///
/// Each line is written as it comes and synced within a second: a crash of the program loses nothing that was written, a
/// power cut at most the last second. When the file has reached its size it becomes `.1`, the one before it `.2`, up to
/// `.3`; the oldest goes. Confined to one thread.
public final class ActuationLog {
    /// Older files that are kept.
    public static let oldFilesMax = 3
    /// Size of one file. Default 1 MiB.
    public static let bytesMaxDefault = 1_048_576

    public let path: String
    private let bytesMax: Int
    private var descriptor: Int32 = -1
    private var byteCount = 0
    private var isSynced = true

    public init(path: String, bytesMax: Int = ActuationLog.bytesMaxDefault) {
        self.path = path
        self.bytesMax = bytesMax
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Appends lines.
    ///
    /// - Parameter head: what a new file begins with; asked when one is begun.
    /// - Returns: what is wrong, for the operator; `nil` when the lines are written.
    public func append(_ lines: [String], head: () -> [String]) -> String? {
        if byteCount >= bytesMax { rotate() }
        let isNew = descriptor < 0
        if isNew, let problem = openFile() { return problem }
        var text = ""
        if byteCount == 0 { for line in head() { text += line + "\n" } }
        for line in lines { text += line + "\n" }
        return write(Array(text.utf8))
    }

    /// - Returns: what is wrong, for the operator.
    public func sync() -> String? {
        guard !isSynced, descriptor >= 0 else { return nil }
        isSynced = true
        return fdatasync(descriptor) == 0 ? nil : problem("be synced")
    }

    private func openFile() -> String? {
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return problem("be opened") }
        byteCount = max(0, Int(lseek(descriptor, 0, SEEK_END)))
        // A line that a power cut has torn is ended, so that the next one stands alone.
        if byteCount > 0 { return write([UInt8(ascii: "\n")]) }
        return nil
    }

    private func write(_ bytes: [UInt8]) -> String? {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return problem("be written") }
            sent += count
        }
        byteCount += sent
        isSynced = false
        return nil
    }

    private func rotate() {
        _ = sync()
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        byteCount = 0
        for number in stride(from: Self.oldFilesMax, through: 1, by: -1) {
            rename(number == 1 ? path : "\(path).\(number - 1)", "\(path).\(number)")
        }
    }

    private func problem(_ doing: String) -> String {
        "\(path) cannot \(doing): \(String(cString: strerror(errno))); moves go on and are not logged"
    }

    /// The lines of the newest files, oldest first; what cannot be read is left out.
    ///
    /// - Parameter filesMax: 1 for the current file, up to `oldFilesMax` + 1.
    public static func lines(at path: String, filesMax: Int = oldFilesMax + 1) -> [ActuationLine] {
        var lines: [ActuationLine] = []
        for number in stride(from: filesMax - 1, through: 0, by: -1) {
            let text = contents(number == 0 ? path : "\(path).\(number)")
            lines += text.split(separator: "\n").compactMap { ActuationLine(parsing: $0) }
        }
        return lines
    }

    private static func contents(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        // Twice the size of a file: lines are appended whole, so one may reach beyond it.
        while bytes.count < 64 * bytesMaxDefault {
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
