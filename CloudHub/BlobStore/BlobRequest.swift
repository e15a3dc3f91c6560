import HTTPTypes
import Hummingbird
import Primitives

/// A request as the endpoint sees it.
struct BlobRequest: Sendable {
    enum Verb: Sendable, Hashable {
        case putBlob, putBlock(String), putBlockList, getBlockList(String), get, head, delete
    }

    let verb: Verb
    let name: BlobName
    private let query: [String: String]
    private let headers: HTTPFields

    /// - Parameter container: the first part of the path.
    /// - Throws: `.invalidURI` when the path names no blob; `.unsupportedHTTPVerb`.
    init(_ request: Request, container: String) throws(BlobError) {
        headers = request.headers
        var query: [String: String] = [:]
        for pair in (request.uri.query ?? "").split(separator: "&").prefix(32) {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            query[String(halves[0])] = halves.count == 2 ? PercentEncoding.decode(halves[1]) : ""
        }
        self.query = query
        let prefix = "/\(container)/"
        guard request.uri.path.hasPrefix(prefix),
            let text = PercentEncoding.decode(request.uri.path.dropFirst(prefix.count)), let name = BlobName(text)
        else {
            throw BlobError(
                .invalidURI, "the path names no blob: 1 to 1024 characters, no empty part, no control character")
        }
        self.name = name
        verb = try Self.verb(request.method, query)
    }

    private static func verb(
        _ method: HTTPRequest.Method, _ query: [String: String]
    ) throws(BlobError) -> Verb {
        switch (method, query["comp"]) {
        case (.put, nil): return .putBlob
        case (.put, "block"):
            guard let block = query["blockid"], let bytes = Base64.decode(block), (1...64).contains(bytes.count) else {
                throw BlobError(.invalidQueryParameterValue, "blockid is base64 of 1 to 64 bytes")
            }
            return .putBlock(block)
        case (.put, "blocklist"): return .putBlockList
        case (.get, "blocklist"): return .getBlockList(query["blocklisttype"] ?? "committed")
        case (.get, nil): return .get
        case (.head, nil): return .head
        case (.delete, nil): return .delete
        default:
            throw BlobError(
                .unsupportedHTTPVerb,
                "this endpoint has Put Blob, Put Block, Put Block List, Get Block List, Get and Delete")
        }
    }

    func parameter(_ name: String) -> String? { query[name] }

    func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }

    /// What the verb needs of the signature; any of them will do.
    var needs: SharedAccess.Permissions {
        switch verb {
        case .putBlob, .putBlock, .putBlockList: [.write, .create]
        case .getBlockList, .get, .head: .read
        case .delete: .delete
        }
    }

    var condition: BlobCondition {
        let bare = { (text: String?) in text.map { $0.filter { $0 != "\"" } } }
        return BlobCondition(ifMatch: bare(header("if-match")), ifNoneMatch: bare(header("if-none-match")))
    }

    /// What is said of the body.
    /// - Throws: `.missingContentLengthHeader`, `.invalidHeaderValue`.
    func claim() throws(BlobError) -> BodyClaim {
        guard let text = header("content-length") else {
            throw BlobError(.missingContentLengthHeader, "a body needs Content-Length")
        }
        guard let bytes = Int64(text), bytes >= 0 else {
            throw BlobError(.invalidHeaderValue, "Content-Length is no count of bytes")
        }
        guard header("x-ms-structured-body") == nil else {
            throw BlobError(.unsupportedHeader, "this endpoint takes plain bodies only; send no x-ms-structured-body")
        }
        return BodyClaim(
            bytes: bytes, md5: try digest("content-md5", count: 16), crc64: try digest("x-ms-content-crc64", count: 8))
    }

    func digest(_ name: String, count: Int) throws(BlobError) -> [UInt8]? {
        guard let text = header(name) else { return nil }
        guard let bytes = Base64.decode(text), bytes.count == count else {
            throw BlobError(.invalidHeaderValue, "\(name) is base64 of \(count) bytes")
        }
        return bytes
    }

    private static let keptHeaders = ["content-type", "content-encoding", "content-language", "cache-control"]
    private static let keptBytesMax = 8 << 10

    /// Headers that are stored with the blob.
    /// - Throws: `.metadataTooLarge`
    func keptHeaders() throws(BlobError) -> [String: String] {
        var kept: [String: String] = [:]
        for name in Self.keptHeaders { kept[name] = header("x-ms-blob-\(name)") }
        for field in headers where field.name.canonicalName.hasPrefix("x-ms-meta-") {
            kept[field.name.canonicalName] = field.value
        }
        guard kept.reduce(0, { $0 + $1.key.utf8.count + $1.value.utf8.count }) <= Self.keptBytesMax else {
            throw BlobError(.metadataTooLarge, "metadata has \(Self.keptBytesMax) bytes at most")
        }
        return kept
    }

    /// The bytes that are asked for; `nil`: all.
    /// - Throws: `.invalidRange` when there are none.
    func range(of bytes: Int64) throws(BlobError) -> Range<Int64>? {
        guard let text = header("x-ms-range") ?? header("range"), text.hasPrefix("bytes=") else { return nil }
        let halves = text.dropFirst(6).split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard halves.count == 2, !halves[1].contains(","), let first = Int64(halves[0]) else { return nil }
        let last = halves[1].isEmpty ? bytes - 1 : Int64(halves[1]) ?? -1
        guard first >= 0, first < bytes, last >= first else {
            throw BlobError(.invalidRange, "the blob has \(bytes) bytes")
        }
        return first..<min(bytes - 1, last) + 1
    }
}
