import NIOHTTP1
import Primitives
import Testing

@testable import S3Store

struct AnswerTests {
    static let now = WallInstant(milliseconds: 1_795_251_180_000)

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let status: Int
        let code: String
        let problem: S3Error.Problem
        let isRetryable: Bool
        var region = ""
    }

    static let rows: [Row] = [
        Row(
            testDescription: "no such key", status: 403, code: "InvalidAccessKeyId", problem: .accessKeyUnknown,
            isRetryable: false),
        Row(
            testDescription: "wrong secret", status: 403, code: "SignatureDoesNotMatch", problem: .signatureRefused,
            isRetryable: false),
        Row(
            testDescription: "skewed clock", status: 403, code: "RequestTimeTooSkewed",
            problem: .clocksDiffer(store: "Sat, 21 Nov 2026 10:00:00 GMT", own: now), isRetryable: false),
        Row(
            testDescription: "denied", status: 403, code: "AccessDenied",
            problem: .accessDenied("AccessDenied: it's <so>"),
            isRetryable: false),
        Row(
            testDescription: "no bucket", status: 404, code: "NoSuchBucket", problem: .bucketMissing, isRetryable: false
        ),
        Row(testDescription: "no object", status: 404, code: "NoSuchKey", problem: .objectMissing, isRetryable: false),
        Row(
            testDescription: "no upload", status: 404, code: "NoSuchUpload", problem: .uploadMissing, isRetryable: false
        ),
        Row(
            testDescription: "moved", status: 301, code: "PermanentRedirect", problem: .wrongRegion(nil),
            isRetryable: false),
        Row(
            testDescription: "another region", status: 400, code: "AuthorizationHeaderMalformed",
            problem: .wrongRegion("eu-west-1"), isRetryable: false, region: "<Region>eu-west-1</Region>"),
        Row(testDescription: "slow down", status: 503, code: "SlowDown", problem: .throttled, isRetryable: true),
        Row(testDescription: "429", status: 429, code: "", problem: .throttled, isRetryable: true),
        Row(
            testDescription: "500", status: 500, code: "InternalError",
            problem: .server(status: 500, "InternalError: it's <so>"), isRetryable: true),
        Row(
            testDescription: "damaged on its way", status: 400, code: "XAmzContentSHA256Mismatch",
            problem: .server(status: 400, "XAmzContentSHA256Mismatch: it's <so>"), isRetryable: true),
        Row(
            testDescription: "full", status: 507, code: "QuotaExceeded", problem: .full("QuotaExceeded: it's <so>"),
            isRetryable: false),
        Row(
            testDescription: "any other 400", status: 400, code: "EntityTooSmall",
            problem: .refused(status: 400, "EntityTooSmall: it's <so>"), isRetryable: false),
        Row(
            testDescription: "no S3 at all", status: 404, code: "", problem: .unreadable("status 404 without a reason"),
            isRetryable: true),
    ]

    @Test("a refusal says what is wrong", arguments: rows)
    func refusal(row: Row) {
        let code = row.code.isEmpty ? "" : "<Code>\(row.code)</Code>"
        let answer = S3Answer(
            status: row.status, headers: ["Date": "Sat, 21 Nov 2026 10:00:00 GMT"],
            body: "<?xml version=\"1.0\"?><Error>\(code)<Message>it&apos;s &lt;so&gt;</Message>\(row.region)</Error>")
        let problem = S3Error.problem(answer, at: Self.now)
        #expect(problem == row.problem)
        let error = S3Error(problem, doing: "put an object", which: "d/a")
        #expect(error.isRetryable == row.isRetryable)
        #expect(error.description.hasPrefix("could not put an object (d/a): ") && !error.advice.isEmpty)
    }

    @Test("text that breaks off is no text", arguments: ["", "<Code>", "</Code><Code>", "<Code>a", "Code>a</Code>"])
    func brokenText(body: String) {
        #expect(S3Answer(status: 500, headers: [:], body: body).text("Code") == nil)
    }

    @Test("a trouble that goes on is not told again, another one is")
    func repeats() {
        let error = { (problem: S3Error.Problem) in S3Error(problem, doing: "d", which: "w") }
        #expect(error(.unreachable("a")).repeats(error(.unreachable("b"))))
        #expect(!error(.bucketMissing).repeats(error(.signatureRefused)))
        #expect(!error(.bucketMissing).repeats(nil))
    }
}
