internal import Compression
internal import Outbox

/// How the fragments of a row lie in the file: as they are, or compressed when that makes them smaller.
final class RowCodec {
    /// Below this nothing is worth the time.
    private static let bytesMin = 64
    private static let dictionary = TelemetryDictionary.first

    private let compressor = BatchCompressor(dictionary)
    private let decompressor = BatchDecompressor()

    /// What stands in the row: 0 for plain bytes, else the number of the dictionary.
    func encoded(_ fragments: [UInt8]) -> (encoding: Int, bytes: [UInt8]) {
        guard fragments.count >= Self.bytesMin, let bytes = compressor?.compress(fragments) else {
            return (0, fragments)
        }
        return (Self.dictionary.rawValue, bytes)
    }

    /// - Parameter count: the size of the fragments, as stored beside them.
    /// - Returns: `nil` when the bytes are damaged.
    func decoded(_ bytes: [UInt8], encoding: Int, count: Int) -> [UInt8]? {
        guard encoding != 0 else { return bytes }
        guard let dictionary = TelemetryDictionary(rawValue: encoding), count <= OutboxLimits.rowBytesMax,
            let fragments = try? decompressor.decompress(bytes, encoding: dictionary.encoding, bytesMax: count)
        else { return nil }
        return fragments.count == count ? fragments : nil
    }
}
