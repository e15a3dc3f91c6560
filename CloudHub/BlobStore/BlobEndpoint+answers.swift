import HTTPTypes
import Hummingbird
import NIOCore
import Primitives

extension BlobEndpoint {
    static func newETag() -> String {
        var random = SystemRandomNumberGenerator()
        return "0x" + Hex.encode(UniqueID.random(using: &random).bytes.prefix(8)).uppercased()
    }

    static func created(_ facts: BlobFacts, md5: [UInt8]?) -> Response {
        var response = Response(status: .created)
        response.headers[.eTag] = "\"\(facts.etag)\""
        response.headers[.lastModified] = facts.modifiedAt.httpDate
        response.headers.set("content-md5", md5.map(Base64.encode))
        response.headers.set("x-ms-request-server-encrypted", "false")
        return response
    }

    static func headers(of facts: BlobFacts) -> HTTPFields {
        var headers: HTTPFields = [
            .eTag: "\"\(facts.etag)\"", .lastModified: facts.modifiedAt.httpDate, .contentLength: "\(facts.bytes)",
            .acceptRanges: "bytes", .contentType: "application/octet-stream",
        ]
        for (name, value) in facts.headers { headers.set(name, value) }
        headers.set("content-md5", facts.md5.map(Base64.encode))
        headers.set("x-ms-blob-type", "BlockBlob")
        headers.set("x-ms-creation-time", facts.createdAt.httpDate)
        headers.set("x-ms-lease-state", "available")
        headers.set("x-ms-lease-status", "unlocked")
        headers.set("x-ms-server-encrypted", "false")
        // What a device sent must never run as a page of this hub.
        headers.set("content-disposition", "attachment")
        headers.set("content-security-policy", "default-src 'none'; sandbox")
        headers.set("x-content-type-options", "nosniff")
        return headers
    }

    /// Bytes of a blob, read as the peer takes them.
    func body(of blob: StoredBlob, _ range: Range<Int64>) async throws(BlobError) -> ResponseBody {
        guard !range.isEmpty else { return ResponseBody() }
        let length = Int(range.upperBound - range.lowerBound)
        // What is wrong with the store has to be known before the answer begins.
        do {
            guard blob.isInBucket else { return Self.body(blobs.bytes(of: blob)[range], length) }
            return Self.body(try await blobs.content(of: blob, range), length)
        } catch { throw Blobs.wrapped(error) }
    }

    private static func body(
        _ chunks: some AsyncSequence<ByteBuffer, any Error> & Sendable, _ length: Int
    ) -> ResponseBody {
        ResponseBody(contentLength: length) { writer in
            var rest = length
            for try await chunk in chunks {
                rest -= chunk.readableBytes
                guard rest >= 0 else { break }
                try await writer.write(chunk)
            }
            // The peer knows by the broken connection that this is not what it was promised.
            guard rest == 0 else {
                throw BlobError(.internalError, "the bytes of a file are not those that were stored")
            }
            try await writer.finish(nil)
        }
    }
}

extension HTTPFields {
    func value(_ name: String) -> String? { HTTPField.Name(name).flatMap { self[$0] } }

    /// `nil` takes the header out; a name or value that can be none is left out.
    mutating func set(_ name: String, _ value: String?) {
        guard let name = HTTPField.Name(name) else { return }
        self[name] = value.flatMap { HTTPField.isValidValue($0) ? $0 : nil }
    }
}
