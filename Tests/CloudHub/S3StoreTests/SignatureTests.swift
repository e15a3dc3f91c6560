import Foundation
import JSON
import Primitives
import Testing

@testable import S3Store

/// Tests/Golden/s3/signatures.json: what Amazon's library signs, made by Tests/Compatibility/test_s3_signatures.py.
struct SignatureTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let method: String
        let key: String
        let query: [(name: String, value: String)]
        let headers: [String: String]
        let isVirtualHost: Bool
        let path: String
        let authorization: String

        var testDescription: String { "\(method) \(key.prefix(20))\(isVirtualHost ? " by host" : "")" }
    }

    static let rows: [Row] = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(
            path: "../../Golden/s3/signatures.json")
        let bytes = (try? Data(contentsOf: file.standardizedFileURL)) ?? Data()
        let texts = { (value: JSONValue?) in
            (value?.objectValue?.members ?? []).map { (name: $0.key, value: $0.value.stringValue ?? "") }
        }
        return ((try? JSONValue(parsing: Array(bytes)))?.arrayValue ?? []).map { row in
            Row(
                method: row["method"]?.stringValue ?? "", key: row["key"]?.stringValue ?? "",
                query: texts(row["query"]),
                headers: Dictionary(uniqueKeysWithValues: texts(row["headers"]).map { ($0.name, $0.value) }),
                isVirtualHost: row["virtualHost"]?.boolValue ?? false, path: row["path"]?.stringValue ?? "",
                authorization: row["authorization"]?.stringValue ?? "")
        }
    }()

    @Test("the table has its rows")
    func tableIsThere() { #expect(Self.rows.count == 28) }

    @Test("a request is signed as Amazon's library signs it", arguments: rows)
    func sameSignature(row: Row) throws {
        let location = S3Location(
            endpoint: "https://s3.example:9000", region: "eu-central-1", bucket: "bucket", prefix: "pre/",
            addressing: row.isVirtualHost ? .virtualHost : .path)
        #expect(location.path(of: row.key) == row.path)
        let signature = SignatureV4(
            id: "AKIDEXAMPLE", secret: Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".utf8), region: location.region)
        let request = SignatureV4.Request(
            row.method, path: location.path(of: row.key), query: row.query,
            headers: [("host", location.host)] + row.headers.map { ($0.key, $0.value) },
            bodyHash: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072")
        let now = try #require(WallInstant("2026-11-21T08:53:07.9Z"))
        let headers = signature.signed(request, at: now)
        #expect(headers.last?.value == row.authorization)
        #expect(headers.contains { $0.name == "x-amz-date" && $0.value == "20261121T085307Z" })
    }

    @Test("the secret stands in no header")
    func secretStaysHere() {
        let signature = SignatureV4(id: "id", secret: Secret("top-secret".utf8), region: "r")
        let request = SignatureV4.Request(
            "GET", path: "/b/k", headers: [("host", "h")], bodyHash: SignatureV4.emptyHash)
        let headers = signature.signed(request, at: WallInstant(milliseconds: 0))
        #expect(!headers.contains { $0.value.contains("top-secret") })
        #expect(!"\(S3Key(id: "id", secret: Secret("top-secret".utf8)))".contains("top-secret"))
    }
}
