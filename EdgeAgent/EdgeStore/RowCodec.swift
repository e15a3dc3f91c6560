internal import CZstd
internal import Outbox

/// How the fragments of a row lie in the file: as they are, or compressed with zstd when that makes them smaller.
final class RowCodec {
    /// Stored in the row.
    enum Encoding: Int { case plain = 0, zstd = 1 }

    /// Below this nothing is saved: a row of one record fits a page either way.
    static let bytesMin = 400
    /// The fastest of zstd's ordinary levels; records repeat so much that higher ones hardly save more.
    private static let level: Int32 = 1

    // Zstd's contexts keep their tables from row to row: a quarter of a megabyte in all.
    private let compressor: OpaquePointer?
    private let decompressor: OpaquePointer?

    init() {
        compressor = ZSTD_createCCtx()
        decompressor = ZSTD_createDCtx()
    }

    deinit {
        ZSTD_freeCCtx(compressor)
        ZSTD_freeDCtx(decompressor)
    }

    func encoded(_ fragments: [UInt8]) -> (encoding: Encoding, bytes: [UInt8]) {
        guard fragments.count >= Self.bytesMin, let compressor else { return (.plain, fragments) }
        let capacity = ZSTD_compressBound(fragments.count)
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            let written = ZSTD_compressCCtx(
                compressor, buffer.baseAddress, capacity, fragments, fragments.count, Self.level)
            count = ZSTD_isError(written) == 0 ? written : 0
        }
        return bytes.isEmpty || bytes.count >= fragments.count ? (.plain, fragments) : (.zstd, bytes)
    }

    /// - Parameter count: the size of the fragments, as stored beside them.
    /// - Returns: `nil` when the bytes are damaged.
    func decoded(_ bytes: [UInt8], encoding: Int, count: Int) -> [UInt8]? {
        guard (0...OutboxLimits.rowBytesMax).contains(count) else { return nil }
        switch Encoding(rawValue: encoding) {
        case .plain: return bytes
        case .zstd:
            let fragments = [UInt8](unsafeUninitializedCapacity: count) { buffer, written in
                let size = ZSTD_decompressDCtx(decompressor, buffer.baseAddress, count, bytes, bytes.count)
                written = ZSTD_isError(size) == 0 ? size : 0
            }
            return fragments.count == count ? fragments : nil
        case nil: return nil
        }
    }
}
