internal import CZstd
internal import Synchronization

/// Reads zstd frames, of any thread. Keeps as many working areas as were ever in use at once.
public final class BatchDecompressor: Sendable {
    /// What can stand in `$.ce` of a compressed batch; the one with the newest dictionary first, `zstd` without one last.
    public static let encodings = TelemetryDictionary.allCases.reversed().map(\.encoding) + [plain]
    private static let plain = "zstd"

    /// Constant after they are made, and safe to read on any thread.
    private struct Digested: @unchecked Sendable {
        let dictionaries: [TelemetryDictionary: OpaquePointer]
    }

    /// One working area; only ever used by the one who took it.
    private struct Area: @unchecked Sendable {
        let context: OpaquePointer
    }

    private let digested: Digested
    private let areas = Mutex<[Area]>([])

    public init() {
        var dictionaries: [TelemetryDictionary: OpaquePointer] = [:]
        for dictionary in TelemetryDictionary.allCases {
            let bytes = dictionary.bytes
            dictionaries[dictionary] = ZSTD_createDDict(bytes.baseAddress, bytes.count)
        }
        digested = Digested(dictionaries: dictionaries)
    }

    deinit {
        for dictionary in digested.dictionaries.values { ZSTD_freeDDict(dictionary) }
        for area in areas.withLock({ $0 }) { ZSTD_freeDCtx(area.context) }
    }

    /// - Parameters:
    ///   - encoding: one of `encodings`.
    ///   - bytesMax: what the content may have at most.
    public func decompress(
        _ frame: [UInt8], encoding: String, bytesMax: Int
    ) throws(CompressionError) -> [UInt8] {
        var dictionary: OpaquePointer?
        if encoding != Self.plain {
            guard let named = TelemetryDictionary(encoding: encoding) else { throw .unknownEncoding(encoding) }
            guard let found = digested.dictionaries[named] else { throw .noMemory }
            dictionary = found
        }
        guard let area = areas.withLock({ $0.popLast() }) ?? ZSTD_createDCtx().map(Area.init) else { throw .noMemory }
        defer { areas.withLock { $0.append(area) } }
        // Most frames tell their size; what they say is not trusted.
        let told = frame.withUnsafeBytes { ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
        guard told != contentSizeError() else { throw .damaged("it does not begin as one") }
        let capacity = told <= UInt64(bytesMax) ? Int(told) : bytesMax
        var result = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            result = frame.withUnsafeBytes {
                ZSTD_decompress_usingDDict(
                    area.context, buffer.baseAddress, buffer.count, $0.baseAddress, $0.count, dictionary)
            }
            count = ZSTD_isError(result) == 0 ? result : 0
        }
        guard ZSTD_isError(result) != 0 else { return bytes }
        if ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall { throw .tooLarge(bytesMax: bytesMax) }
        throw .damaged(String(cString: ZSTD_getErrorName(result)))
    }
}

/// Why compressed bytes cannot be read. Not retryable but for `noMemory`.
public enum CompressionError: Error, Equatable, CustomStringConvertible {
    case unknownEncoding(String)
    case damaged(String)
    case tooLarge(bytesMax: Int)
    case noMemory

    public var isRetryable: Bool { self == .noMemory }

    public var description: String {
        switch self {
        case .unknownEncoding(let encoding):
            "'\(encoding.prefix(64))' is no encoding that this hub knows; it takes "
                + BatchDecompressor.encodings.joined(separator: ", ")
        case .damaged(let detail): "it is no whole zstd frame: \(detail)"
        case .tooLarge(let bytesMax): "decompressed it has more than \(bytesMax) bytes; send smaller batches"
        case .noMemory: "there is no memory to decompress it"
        }
    }
}
