import Glibc
import NIOCore
import NIOPosix
import Primitives

/// The folder with the bytes: one file a part, named by a random id and nothing else, readable by the hub alone.
///
/// All calls wait for the disk on threads of their own.
struct BlobFolder: Sendable {
    let path: String
    private let threads = NIOThreadPool.singleton

    /// - Throws: when the folder cannot be made or opened.
    init(path: String) throws(BlobFolderError) {
        self.path = path
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw BlobFolderError("make the folder for files", code: errno)
        }
    }

    /// A new file that is open for writing.
    func create(_ file: UniqueID) async throws(BlobFolderError) -> Int32 {
        let path = self.path(of: file)
        return try await perform("make a file") { () -> Result<Int32, Code> in
            let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
            return descriptor >= 0 ? .success(descriptor) : .failure(Code(errno))
        }
    }

    func write(_ bytes: ByteBuffer, to descriptor: Int32) async throws(BlobFolderError) {
        try await perform("write a file") { () -> Result<Void, Code> in
            var rest = bytes
            while rest.readableBytes > 0 {
                let count = rest.withUnsafeReadableBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                if count > 0 {
                    rest.moveReaderIndex(forwardBy: count)
                } else if errno != EINTR {
                    return .failure(Code(errno))
                }
            }
            return .success(())
        }
    }

    /// The file and its name are on the disk when it returns; the descriptor is closed in any case.
    func finish(_ descriptor: Int32) async throws(BlobFolderError) {
        let folder = path
        try await perform("sync a file") { () -> Result<Void, Code> in
            let code = fsync(descriptor) == 0 ? 0 : errno
            Glibc.close(descriptor)
            guard code == 0 else { return .failure(Code(code)) }
            let directory = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard directory >= 0 else { return .failure(Code(errno)) }
            defer { Glibc.close(directory) }
            return fsync(directory) == 0 ? .success(()) : .failure(Code(errno))
        }
    }

    /// After a failure: closes and removes.
    func abandon(_ descriptor: Int32, _ file: UniqueID) async {
        let path = self.path(of: file)
        try? await threads.runIfActive {
            Glibc.close(descriptor)
            unlink(path)
        }
    }

    func open(_ file: UniqueID) async throws(BlobFolderError) -> OpenFile {
        let path = self.path(of: file)
        return try await perform("open a file") { () -> Result<OpenFile, Code> in
            let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            return descriptor >= 0 ? .success(OpenFile(descriptor)) : .failure(Code(errno))
        }
    }

    /// - Returns: up to `most` bytes; none at the end of the file.
    func read(_ file: OpenFile, at offset: Int64, most: Int) async throws(BlobFolderError) -> ByteBuffer {
        try await perform("read a file") { () -> Result<ByteBuffer, Code> in
            var buffer = ByteBuffer()
            var code: Int32 = 0
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: most) { room in
                let count = pread(file.descriptor, room.baseAddress, min(most, room.count), Int(offset))
                if count < 0 { code = errno }
                return max(0, count)
            }
            return code == 0 ? .success(buffer) : .failure(Code(code))
        }
    }

    /// A file that cannot be removed is removed at the next start.
    func remove(_ files: [UniqueID]) async {
        let paths = files.map(path(of:))
        try? await threads.runIfActive { for path in paths { unlink(path) } }
    }

    private func path(of file: UniqueID) -> String { "\(path)/\(file)" }

    private func perform<Value: Sendable>(
        _ doing: String, _ body: @escaping @Sendable () -> Result<Value, Code>
    ) async throws(BlobFolderError) -> Value {
        let result: Result<Value, Code>
        do { result = try await threads.runIfActive(body) } catch {
            throw BlobFolderError(doing, code: ECANCELED)  // the hub is stopping
        }
        switch result {
        case .success(let value): return value
        case .failure(let code): throw BlobFolderError(doing, code: code.number)
        }
    }
}

/// A file that is being read; closed when nobody reads it any more.
final class OpenFile: Sendable {
    fileprivate let descriptor: Int32

    fileprivate init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}

/// `errno` of a call.
private struct Code: Error {
    let number: Int32

    init(_ number: Int32) { self.number = number }
}

/// What the system said about a file of the folder.
public struct BlobFolderError: Error, Sendable, CustomStringConvertible {
    public let doing: String
    public let code: Int32

    init(_ doing: String, code: Int32) {
        self.doing = doing
        self.code = code
    }

    /// Whether there is no room: the operator has to make some.
    public var isFull: Bool { code == ENOSPC || code == EDQUOT }
    public var isRetryable: Bool { true }
    public var description: String { "\(String(cString: strerror(code))), while the hub tried to \(doing)" }
}
