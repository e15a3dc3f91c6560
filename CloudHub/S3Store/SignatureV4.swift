import Crypto
package import Primitives

/// Signs requests to a store: AWS Signature Version 4 in the `Authorization` header, for the service `s3`.
///
/// Source: Amazon S3 API reference, "Authenticating requests: using the Authorization header".
package struct SignatureV4: Sendable {
    /// What a signature covers.
    package struct Request: Sendable {
        package var method: String
        /// Percent-encoded as it is sent.
        package var path: String
        /// Not yet encoded.
        package var query: [(name: String, value: String)]
        /// `host` among them.
        package var headers: [(name: String, value: String)]
        /// SHA-256 of the body in hex.
        package var bodyHash: String

        package init(
            _ method: String, path: String, query: [(name: String, value: String)] = [],
            headers: [(name: String, value: String)], bodyHash: String
        ) {
            self.method = method
            self.path = path
            self.query = query
            self.headers = headers
            self.bodyHash = bodyHash
        }

        /// Sorted by the encoded name, then by the value; empty without any.
        package var queryText: String {
            query.map { (PercentEncoding.encode($0.name), PercentEncoding.encode($0.value)) }
                .sorted { $0 < $1 }.map { "\($0)=\($1)" }.joined(separator: "&")
        }
    }

    package static let emptyHash = hash([])

    private let id: String
    private let secret: Secret
    private let region: String

    package init(id: String, secret: Secret, region: String) {
        self.id = id
        self.secret = secret
        self.region = region
    }

    package static func hash(_ bytes: [UInt8]) -> String { Hex.encode(SHA256.hash(data: bytes)) }

    /// The headers to send: those of the request, and the three that carry the signature.
    package func signed(_ request: Request, at now: WallInstant) -> [(name: String, value: String)] {
        // 20261121T085300Z
        let time = WallInstant(milliseconds: now.unixSeconds * 1000).description.filter { $0 != "-" && $0 != ":" }
        let headers = request.headers + [("x-amz-content-sha256", request.bodyHash), ("x-amz-date", time)]
        let lines = headers.map { (name: $0.name.lowercased(), value: Self.folded($0.value)) }
            .sorted { $0.name < $1.name }
        let names = lines.map(\.name).joined(separator: ";")
        let canonical = [
            request.method, request.path, request.queryText, lines.map { "\($0.name):\($0.value)\n" }.joined(), names,
            request.bodyHash,
        ].joined(separator: "\n")
        let date = String(time.prefix(8))
        let scope = "\(date)/\(region)/s3/aws4_request"
        let text = ["AWS4-HMAC-SHA256", time, scope, Self.hash(Array(canonical.utf8))].joined(separator: "\n")
        var key = SymmetricKey(data: Array("AWS4".utf8) + secret.bytes)
        for step in [date, region, "s3", "aws4_request"] {
            key = SymmetricKey(data: HMAC<SHA256>.authenticationCode(for: Array(step.utf8), using: key))
        }
        let signature = Hex.encode(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key))
        let authorization =
            "AWS4-HMAC-SHA256 Credential=\(id)/\(scope), SignedHeaders=\(names), Signature=\(signature)"
        return headers + [("authorization", authorization)]
    }

    /// Without space at the ends, and with one where there were several.
    private static func folded(_ value: String) -> String {
        value.split(separator: " ").joined(separator: " ")
    }
}
