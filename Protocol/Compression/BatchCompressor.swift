internal import CZstd

/// Makes zstd frames. Not for two threads at once. Holds about 0.4 MiB.
public final class BatchCompressor {
    /// Levels beyond cost a small board much and save little on batches.
    private static let level: Int32 = 3
    /// 128 KiB: all of a batch is rarely larger, and the tables of the matcher stay small.
    private static let windowLog: Int32 = 17

    private let context: OpaquePointer

    /// - Returns: `nil` when there is no memory for it.
    public init?(_ dictionary: TelemetryDictionary = .first) {
        guard let context = ZSTD_createCCtx() else { return nil }
        self.context = context
        let bytes = dictionary.bytes
        for result in [
            ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Self.level),
            ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, Self.windowLog),
            ZSTD_CCtx_loadDictionary(context, bytes.baseAddress, bytes.count),
        ] where ZSTD_isError(result) != 0 { return nil }
    }

    deinit { ZSTD_freeCCtx(context) }

    /// One frame; `nil` when there is no memory for it, or when it would not be smaller than the bytes.
    public func compress(_ bytes: [UInt8]) -> [UInt8]? {
        guard bytes.count > 1 else { return nil }
        var failed = false
        let frame = [UInt8](unsafeUninitializedCapacity: bytes.count - 1) { buffer, count in
            let result = bytes.withUnsafeBytes {
                ZSTD_compress2(context, buffer.baseAddress, buffer.count, $0.baseAddress, $0.count)
            }
            failed = ZSTD_isError(result) != 0
            count = failed ? 0 : result
        }
        return failed ? nil : frame
    }
}
