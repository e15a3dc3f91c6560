import CNIOBoringSSL

/// A server's certificate and its key, as their files say.
public struct TLSIdentity: Sendable, Hashable {
    /// In PEM: the server's own first, then what leads to its CA.
    public let certificates: [UInt8]
    /// In PEM, not encrypted.
    let key: [UInt8]

    private static let fileBytesMax = 1 << 20

    /// - Throws: `TLSError.unusable` when one of the files cannot be read or has more than 1 MiB. What is in them is
    ///   looked at by `TLSServerContext`.
    public init(certificatePath: String, keyPath: String) throws(TLSError) {
        certificates = try Self.contents(of: certificatePath)
        key = try Self.contents(of: keyPath)
    }

    private static func contents(of path: String) throws(TLSError) -> [UInt8] {
        defer { ERR_clear_error() }  // the end of a file may count as an error
        guard let file = BIO_new_file(path, "r") else {
            throw .unusable("\(path) cannot be read; let the hub's account read it")
        }
        defer { BIO_free(file) }
        let bytes = [UInt8](unsafeUninitializedCapacity: fileBytesMax + 1) { buffer, count in
            while count < buffer.count, let start = buffer.baseAddress {
                let taken = BIO_read(file, start + count, Int32(clamping: buffer.count - count))
                guard taken > 0 else { return }
                count += Int(taken)
            }
        }
        guard bytes.count <= fileBytesMax else {
            throw .unusable("\(path) has more than \(fileBytesMax) bytes; it is hardly what it should be")
        }
        return bytes
    }
}
