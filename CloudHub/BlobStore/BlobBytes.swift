import NIOCore
import Primitives
import S3Store

/// Bytes of a blob in their order, read as they are asked for, as often as somebody begins anew.
struct BlobBytes: AsyncSequence, Sendable {
    /// Bytes at a time.
    private static let chunkBytes: Int64 = 64 << 10

    enum Piece: Sendable {
        case file(UniqueID, Range<Int64>)
        /// Of the object that the blob is in the bucket.
        case object(Range<Int64>)

        var bytes: Int64 {
            switch self {
            case .file(_, let range), .object(let range): range.upperBound - range.lowerBound
            }
        }

        func clamped(_ wanted: Range<Int64>) -> Piece {
            let shifted = { (range: Range<Int64>) in
                range.lowerBound + wanted.lowerBound..<range.lowerBound + wanted.upperBound
            }
            switch self {
            case .file(let file, let range): return .file(file, shifted(range))
            case .object(let range): return .object(shifted(range))
            }
        }
    }

    typealias Element = ByteBuffer

    let pieces: [Piece]
    let folder: BlobFolder
    /// Reads a range of the object.
    let object: @Sendable (Range<Int64>) async throws -> S3Content

    var bytes: Int64 { pieces.reduce(0) { $0 + $1.bytes } }

    /// The same, without what is outside of the range.
    subscript(range: Range<Int64>) -> BlobBytes {
        var start: Int64 = 0
        var chosen: [Piece] = []
        for piece in pieces {
            let wanted = range.clamped(to: start..<start + piece.bytes)
            if !wanted.isEmpty { chosen.append(piece.clamped(wanted.lowerBound - start..<wanted.upperBound - start)) }
            start += piece.bytes
        }
        return BlobBytes(pieces: chosen, folder: folder, object: object)
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        let source: BlobBytes
        var index = 0
        /// Bytes of the current piece that are done.
        var done: Int64 = 0
        var file: OpenFile?
        var content: S3Content.AsyncIterator?

        mutating func next() async throws -> ByteBuffer? {
            while index < source.pieces.count {
                let piece = source.pieces[index]
                guard done < piece.bytes else {
                    index += 1
                    done = 0
                    file = nil
                    content = nil
                    continue
                }
                let chunk = try await chunk(of: piece)
                guard chunk.readableBytes > 0, done + Int64(chunk.readableBytes) <= piece.bytes else {
                    throw BlobError(.internalError, "the bytes of a file are not those that were stored")
                }
                done += Int64(chunk.readableBytes)
                return chunk
            }
            return nil
        }

        private mutating func chunk(of piece: Piece) async throws -> ByteBuffer {
            switch piece {
            case .file(let id, let range):
                let open: OpenFile
                if let file { open = file } else { open = try await source.folder.open(id) }
                file = open
                return try await source.folder.read(
                    open, at: range.lowerBound + done, most: Int(Swift.min(BlobBytes.chunkBytes, piece.bytes - done)))
            case .object(let range):
                var content: S3Content.AsyncIterator
                if let open = self.content {
                    content = open
                } else {
                    content = try await source.object(range).makeAsyncIterator()
                }
                let chunk = try await content.next()
                self.content = content
                return chunk ?? ByteBuffer()
            }
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(source: self) }
}
