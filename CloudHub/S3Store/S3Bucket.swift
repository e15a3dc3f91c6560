public import AsyncHTTPClient
import Logging
import NIOCore
import NIOHTTP1
public import Primitives

/// A bucket of an S3-compatible store: single requests, each signed, and repeated while the store is only in trouble.
///
/// Source: Amazon S3 API reference; only what every compatible store has is used.
public final class S3Bucket: Sendable {
    public struct Limits: Sendable, Equatable {
        /// How often one request is sent in all.
        public var attemptsMax = 4
        /// Between two of them.
        public var backoff = Backoff(first: .milliseconds(250), most: .seconds(4))
        /// From the request to the head of its answer; a body gets a second more for each 32 KiB.
        public var answerTimeMax = Duration.seconds(60)

        public init() {}
    }

    /// The parts of one multipart upload.
    public static let partsMax = 10_000

    public let location: S3Location
    private let signature: SignatureV4
    private let http: HTTPClient
    /// That of all connections: bodies are read no faster than it sends them.
    private let loop: any EventLoop
    private let limits: Limits
    private let clock: @Sendable () -> WallInstant
    private let logger: Logger

    /// What the HTTP client has to be made with; add trust roots when the store's certificate needs them.
    public static var httpConfiguration: HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration()
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.timeout.connect = .seconds(10)
        configuration.timeout.read = .seconds(60)
        configuration.timeout.write = .seconds(60)
        configuration.redirectConfiguration = .disallow
        return configuration
    }

    /// - Parameters:
    ///   - http: made with `httpConfiguration`, and on one event loop.
    ///   - clock: stands in the signatures.
    public init(
        _ location: S3Location, key: S3Key, http: HTTPClient, limits: Limits = Limits(),
        clock: @escaping @Sendable () -> WallInstant
    ) {
        self.location = location
        signature = SignatureV4(id: key.id, secret: key.secret, region: location.region)
        self.http = http
        loop = http.eventLoopGroup.any()
        self.limits = limits
        self.clock = clock
        logger = Logger(label: "s3")
    }

    // MARK: - Objects

    /// Puts an object in one request. It is there, whole, when this returns.
    ///
    /// - Parameter headers: `content-type` and the like.
    public func put<Chunks>(
        _ key: String, _ body: S3Body<Chunks>, headers: [String: String] = [:]
    ) async throws(S3Error) {
        _ = try await answer(Call(.PUT, key, headers: headers, doing: "put an object"), body)
    }

    /// Bytes of an object; they come as they are asked for.
    ///
    /// - Parameter range: `nil` for all.
    /// - Throws: `.objectMissing` and the rest, before any byte came.
    public func read(_ key: String, _ range: Range<Int64>? = nil) async throws(S3Error) -> S3Content {
        var call = Call(.GET, key, doing: "read an object")
        if let range { call.headers["range"] = "bytes=\(range.lowerBound)-\(range.upperBound - 1)" }
        return try await repeated(call) { () async throws(S3Error) in
            let response = try await self.send(call, S3Body.none)
            let status = Int(response.status.code)
            guard status == (range == nil ? 200 : 206) else {
                // A whole object in place of a range would be taken for the range.
                guard status != 200 else {
                    throw S3Error(.unreadable("a range was answered with 200"), doing: call.doing, which: key)
                }
                throw self.error(call, try await self.collected(response, call))
            }
            return S3Content(body: response.body)
        }
    }

    /// An object that is not there counts as deleted.
    public func delete(_ key: String) async throws(S3Error) {
        do {
            _ = try await answer(Call(.DELETE, key, doing: "delete an object"), S3Body.none)
        } catch {
            guard error.problem != .objectMissing else { return }
            throw error
        }
    }

    // MARK: - Multipart uploads

    /// - Returns: the upload's id.
    public func startUpload(_ key: String, headers: [String: String] = [:]) async throws(S3Error) -> String {
        let call = Call(.POST, key, query: [("uploads", "")], headers: headers, doing: "begin an upload in parts")
        let answer = try await answer(call, S3Body.none)
        guard let id = answer.text("UploadId"), !id.isEmpty else {
            throw S3Error(.unreadable("no UploadId"), doing: call.doing, which: key)
        }
        return id
    }

    /// - Parameter number: 1 … 10,000.
    /// - Returns: what `finishUpload` wants to have for this part.
    public func putPart<Chunks>(
        _ number: Int, of upload: String, _ key: String, _ body: S3Body<Chunks>
    ) async throws(S3Error) -> String {
        let query = [(name: "partNumber", value: "\(number)"), (name: "uploadId", value: upload)]
        let call = Call(.PUT, key, query: query, doing: "put part \(number) of an object")
        let answer = try await answer(call, body)
        // It goes back in XML.
        guard let tag = answer.header("etag"), !tag.isEmpty, !tag.contains(where: { "<>&".contains($0) }) else {
            throw S3Error(.unreadable("no ETag"), doing: call.doing, which: key)
        }
        return tag
    }

    /// Makes the object of its parts; it is there, whole, when this returns.
    ///
    /// - Parameter tags: of the parts from 1 on.
    public func finishUpload(_ upload: String, _ key: String, tags: [String]) async throws(S3Error) {
        var xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        for (index, tag) in tags.enumerated() {
            xml += "<Part><PartNumber>\(index + 1)</PartNumber><ETag>\(tag)</ETag></Part>"
        }
        xml += "</CompleteMultipartUpload>"
        var call = Call(.POST, key, query: [("uploadId", upload)], doing: "finish an upload in parts")
        call.headers["content-type"] = "application/xml"
        _ = try await answer(call, S3Body(text: xml))
    }

    /// Drops the parts of an upload; one that is gone counts as dropped.
    public func dropUpload(_ upload: String, _ key: String) async throws(S3Error) {
        do {
            let call = Call(.DELETE, key, query: [("uploadId", upload)], doing: "drop an unfinished upload")
            _ = try await answer(call, S3Body.none)
        } catch {
            switch error.problem {
            case .uploadMissing, .objectMissing: return
            default: throw error
            }
        }
    }

    /// Tries what the hub needs of the store: puts a small object, reads it and deletes it.
    public func check() async throws(S3Error) {
        // One name for all times: with a key that may not delete, no more than one object is left behind.
        let key = ".cloud-hub-check"
        try await put(key, S3Body(text: "cloud-hub looks whether it may write here"))
        do {
            for try await _ in try await read(key) {}
        } catch let error as S3Error {
            try? await delete(key)
            throw error
        } catch {
            try? await delete(key)
            throw S3Error(.unreachable("\(error)"), doing: "read an object", which: key)
        }
        try await delete(key)
    }

    // MARK: - Requests

    private struct Call: Sendable {
        let method: HTTPMethod
        let key: String
        let query: [(name: String, value: String)]
        var headers: [String: String]
        let doing: String

        init(
            _ method: HTTPMethod, _ key: String, query: [(name: String, value: String)] = [],
            headers: [String: String] = [:], doing: String
        ) {
            self.method = method
            self.key = key
            self.query = query
            self.headers = headers
            self.doing = doing
        }
    }

    private func answer<Chunks>(_ call: Call, _ body: S3Body<Chunks>) async throws(S3Error) -> S3Answer {
        try await repeated(call) { () async throws(S3Error) in
            let answer = try await self.collected(try await self.send(call, body), call)
            // Some refusals come after a 200: the store had begun to answer while it still worked.
            guard answer.isSuccess, !answer.body.contains("<Error>") else { throw self.error(call, answer) }
            return answer
        }
    }

    private func repeated<Value>(
        _ call: Call, _ attempt: () async throws(S3Error) -> Value
    ) async throws(S3Error) -> Value {
        var backoff = limits.backoff
        var random = SystemRandomNumberGenerator()
        var count = 1
        while true {
            do throws(S3Error) {
                return try await attempt()
            } catch {
                guard error.isRetryable, count < limits.attemptsMax, !Task.isCancelled else { throw error }
                count += 1
                logger.debug("a request to the store is sent again", metadata: ["error": "\(error)"])
                do { try await Task.sleep(for: backoff.next(using: &random)) } catch {
                    throw S3Error(.cancelled, doing: call.doing, which: call.key)
                }
            }
        }
    }

    private func send<Chunks>(_ call: Call, _ body: S3Body<Chunks>) async throws(S3Error) -> HTTPClientResponse {
        let unsigned = SignatureV4.Request(
            call.method.rawValue, path: location.path(of: call.key), query: call.query,
            headers: [("host", location.host)] + call.headers.map { ($0.key, $0.value) }, bodyHash: body.hash)
        let scheme = location.isPlain ? "http" : "https"
        let query = unsigned.queryText.isEmpty ? "" : "?" + unsigned.queryText
        var request = HTTPClientRequest(url: "\(scheme)://\(location.host)\(unsigned.path)\(query)")
        request.method = call.method
        for (name, value) in signature.signed(unsigned, at: clock()) { request.headers.add(name: name, value: value) }
        if let chunks = body.chunks { request.body = .stream(PacedChunks(chunks, loop), length: .known(body.bytes)) }
        let time = limits.answerTimeMax + .seconds(body.bytes >> 15)
        do {
            return try await http.execute(request, timeout: TimeAmount(time))
        } catch {
            throw wrapped(error, call)
        }
    }

    private func collected(_ response: HTTPClientResponse, _ call: Call) async throws(S3Error) -> S3Answer {
        do {
            let body = try await response.body.collect(upTo: S3Answer.bytesMax)
            return S3Answer(
                status: Int(response.status.code), headers: response.headers, body: String(buffer: body))
        } catch {
            throw wrapped(error, call)
        }
    }

    private func error(_ call: Call, _ answer: S3Answer) -> S3Error {
        S3Error(S3Error.problem(answer, at: clock()), doing: call.doing, which: call.key)
    }

    private func wrapped(_ error: any Error, _ call: Call) -> S3Error {
        let text = "\(error)"
        let problem: S3Error.Problem
        if error is CancellationError || error as? HTTPClientError == .cancelled {
            problem = .cancelled
        } else if text.contains("CERTIFICATE_VERIFY_FAILED") || text.contains("failedToValidateHostname") {
            problem = .certificate(text.contains("VERIFY_FAILED") ? "unknown authority" : "another name")
        } else {
            problem = .unreachable(text)
        }
        return S3Error(problem, doing: call.doing, which: call.key)
    }
}
