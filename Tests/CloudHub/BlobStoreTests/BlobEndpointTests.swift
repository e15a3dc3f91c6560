@testable import BlobStore
import Foundation
import HTTPTypes
import HubTestSupport
import Hummingbird
import HummingbirdTesting
import NIOCore
import Primitives
import SQLiteHubStore
import Testing

@Suite struct BlobEndpointTests {
    let fixture: HubFixture
    let index: SQLiteBlobIndex
    let access: SharedAccess

    init() async throws {
        fixture = try await HubFixture()
        index = SQLiteBlobIndex(fixture.database)
        access = SharedAccess(
            account: BlobEndpoint.account, container: BlobEndpoint.container, key: try await index.signingKey())
    }

    private var files: String { fixture.folder.file("files") }

    private func onDisk() -> Set<String> { Set((try? FileManager.default.contentsOfDirectory(atPath: files)) ?? []) }

    private func open(_ change: (inout Blobs.Limits) -> Void = { _ in }) async throws -> Blobs {
        var limits = Blobs.Limits()
        change(&limits)
        let clock = fixture.clock
        return try await Blobs(
            path: files, index: index, limits: limits,
            names: { (try? FileManager.default.contentsOfDirectory(atPath: $0)) ?? [] }, clock: { clock.now })
    }

    struct Answer {
        let status: Int
        let text: String
        let headers: HTTPFields

        subscript(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
        var code: String? { self["x-ms-error-code"] }
    }

    /// A server with these blobs, and calls to it with a signature for `name`.
    private func serve(
        _ blobs: Blobs, mayWrite: Bool = true, _ body: @escaping @Sendable (Caller) async throws -> Void
    ) async throws {
        let router = Router()
        BlobEndpoint(blobs, access: access) { _ in mayWrite }.addRoutes(to: router)
        try await Application(router: router).test(.router) { client in
            try await body(Caller(client: client, access: access, now: fixture.clock.now))
        }
    }

    struct Caller: Sendable {
        let client: any TestClientProtocol
        let access: SharedAccess
        let now: WallInstant

        func call(
            _ method: HTTPRequest.Method, _ name: String = "dev-1/a.log", _ query: String = "", _ text: String? = nil,
            headers: [String: String] = [:], permits: SharedAccess.Permissions = [.read, .write]
        ) async throws -> Answer {
            let blob = try #require(BlobName(name))
            let token = access.token(for: blob, permits, until: now + .seconds(60))
            var fields = HTTPFields()
            if method == .put { fields[.contentLength] = "\((text ?? "").utf8.count)" }
            for (name, value) in headers { fields[try #require(HTTPField.Name(name))] = value }
            let path = name.split(separator: "/").map { PercentEncoding.encode($0) }.joined(separator: "/")
            let sent = fields
            return try await client.execute(
                uri: "/\(BlobEndpoint.container)/\(path)\(token)\(query.isEmpty ? "" : "&" + query)", method: method,
                headers: sent, body: text.map { ByteBuffer(string: $0) }
            ) { Answer(status: $0.status.code, text: String(buffer: $0.body), headers: $0.headers) }
        }

        func put(_ text: String, _ name: String = "dev-1/a.log", headers: [String: String] = [:]) async throws -> Answer
        {
            try await call(.put, name, "", text, headers: ["x-ms-blob-type": "BlockBlob"].merging(headers) { $1 })
        }

        func block(_ id: String, _ text: String, _ name: String = "dev-1/a.log") async throws -> Answer {
            let id = PercentEncoding.encode(Base64.encode(Array(id.utf8)))
            return try await call(.put, name, "comp=block&blockid=\(id)", text)
        }

        func list(_ ids: [String], _ name: String = "dev-1/a.log", headers: [String: String] = [:]) async throws
            -> Answer
        {
            let lines = ids.map { "<Latest>\(Base64.encode(Array($0.utf8)))</Latest>" }.joined()
            return try await call(
                .put, name, "comp=blocklist", "<BlockList>\(lines)</BlockList>", headers: headers)
        }
    }

    @Test func aBlobIsPutAskedReadAndDeleted() async throws {
        let blobs = try await open()
        try await serve(blobs) { (caller: Caller) async throws in
            let put = try await caller.put(
                "hello", headers: ["x-ms-meta-kind": "log", "x-ms-blob-content-type": "text/html"])
            #expect(put.status == 201 && put["etag"]?.hasPrefix("\"0x") == true && put["last-modified"] != nil)
            #expect(put["x-ms-request-id"] != nil && put["x-ms-version"] != nil)
            let asked = try await caller.call(.head)
            #expect(asked.status == 200 && asked["etag"] == put["etag"] && asked["x-ms-meta-kind"] == "log")
            let read = try await caller.call(.get)
            #expect(read.text == "hello" && read["content-md5"] == "XUFAKrxLKna5cZ2REBfFkg==")
            // It may say that it is a page; it must not run as one.
            #expect(read["content-type"] == "text/html" && read["content-disposition"] == "attachment")
            #expect(read["content-security-policy"]?.contains("sandbox") == true)
            let part = try await caller.call(.get, headers: ["x-ms-range": "bytes=1-3"])
            #expect(part.status == 206 && part.text == "ell" && part["content-range"] == "bytes 1-3/5")
            #expect(try await caller.call(.get, headers: ["x-ms-range": "bytes=5-9"]).code == "InvalidRange")
            #expect(try await caller.call(.delete).code == "AuthorizationPermissionMismatch")
            #expect(try await caller.call(.delete, permits: .delete).status == 202)
            #expect(try await caller.call(.get).code == "BlobNotFound")
        }
        #expect(onDisk().isEmpty && blobs.bytesUsed == 0)
    }

    @Test func blocksBecomeABlobInTheOrderOfTheirList() async throws {
        let blobs = try await open()
        try await serve(blobs) { (caller: Caller) async throws in
            for (id, text) in [("b1", "one "), ("b2", "two "), ("b3", "three "), ("b2", "TWO ")] {
                #expect(try await caller.block(id, text).status == 201)
            }
            #expect(try await caller.call(.get).code == "BlobNotFound", "staged blocks are no blob")
            let waiting = try await caller.call(.get, "dev-1/a.log", "comp=blocklist&blocklisttype=all").text
            #expect(
                waiting.contains("<UncommittedBlocks><Block>")
                    && waiting.contains("<CommittedBlocks></CommittedBlocks>"))
            #expect(try await caller.list(["b2", "b4"]).code == "InvalidBlockList")
            #expect(try await caller.list(["b2", "b1"]).status == 201)
            #expect(try await caller.call(.get).text == "TWO one ")
            #expect(try await caller.call(.get, headers: ["range": "bytes=2-5"]).text == "O on")
            // A blob grows by committing what it has and what is new.
            #expect(try await caller.block("b5", "five").status == 201)
            #expect(try await caller.list(["b1", "b5"]).status == 201)
            #expect(try await caller.call(.get).text == "one five")
        }
        #expect(onDisk().count == 2, "blocks that no list chose are gone")
        #expect(blobs.bytesUsed == 2 * 4096)
    }

    @Test func conditionsHold() async throws {
        try await serve(try await open()) { (caller: Caller) async throws in
            let first = try await caller.put("1", headers: ["if-none-match": "*"])
            #expect(first.status == 201)
            #expect(try await caller.put("2", headers: ["if-none-match": "*"]).code == "BlobAlreadyExists")
            #expect(try await caller.put("2", headers: ["if-match": "\"0x0\""]).code == "ConditionNotMet")
            #expect(try await caller.put("2", headers: ["if-match": try #require(first["etag"])]).status == 201)
            let create = try await caller.call(
                .put, "dev-1/a.log", "", "3", headers: ["x-ms-blob-type": "BlockBlob"], permits: .create)
            #expect(create.code == "BlobAlreadyExists", "who may create may not replace")
            #expect(try await caller.call(.get).text == "2")
        }
    }

    struct Refusal: CustomTestStringConvertible, Sendable {
        let testDescription: String
        var headers: [String: String] = [:]
        let code: String
    }

    @Test(arguments: [
        Refusal(
            testDescription: "another MD5", headers: ["content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="], code: "Md5Mismatch"),
        Refusal(testDescription: "no MD5", headers: ["content-md5": "x"], code: "InvalidHeaderValue"),
        Refusal(testDescription: "another CRC", headers: ["x-ms-content-crc64": "AAAAAAAAAAA="], code: "Crc64Mismatch"),
        Refusal(testDescription: "a page blob", headers: ["x-ms-blob-type": "PageBlob"], code: "InvalidHeaderValue"),
        Refusal(
            testDescription: "much metadata", headers: ["x-ms-meta-a": String(repeating: "x", count: 8200)],
            code: "MetadataTooLarge"),
    ]) func aRefusedBodyLeavesNothing(_ refusal: Refusal) async throws {
        let blobs = try await open { $0.blobBytesMax = 10 }
        try await serve(blobs) { (caller: Caller) async throws in
            let answer = try await caller.put("hello", headers: refusal.headers)
            #expect(answer.code == refusal.code && answer.text.contains("<Code>\(refusal.code)</Code>"))
            #expect(try await caller.call(.get).code == "BlobNotFound")
        }
        #expect(onDisk().isEmpty && blobs.bytesUsed == 0)
    }

    @Test(arguments: [
        (9, BlobError.Problem.incompleteBody), (4, .incompleteBody), (11, .requestBodyTooLarge), (5, nil),
    ]) func aBodyOfAnotherLengthThanSaidLeavesNothing(_ said: Int, _ problem: BlobError.Problem?) async throws {
        let blobs = try await open { $0.blobBytesMax = 10 }
        let body = AsyncStream<ByteBuffer> { stream in
            for piece in ["he", "llo"] { stream.yield(ByteBuffer(string: piece)) }
            stream.finish()
        }
        var found: BlobError.Problem?
        do throws(BlobError) {
            try await blobs.receive(body, BodyClaim(bytes: Int64(said)), for: "dev-1") { _ in ((), .done(freed: [])) }
        } catch {
            found = error.problem
        }
        #expect(found == problem)
        #expect(onDisk().isEmpty == (problem != nil) && blobs.bytesUsed == (problem == nil ? 4096 : 0))
    }

    @Test func slowBodiesOfOneDeviceKeepNoOtherOut() async throws {
        let blobs = try await open { limits in
            limits.writesMax = 3
            limits.deviceWritesMax = 2
        }
        for _ in 0..<2 { try blobs.reserve(1, for: "dev-1") }
        #expect(throws: BlobError.self) { try blobs.reserve(1, for: "dev-1") }
        try blobs.reserve(1, for: "dev-2")
        #expect(throws: BlobError.self) { try blobs.reserve(1, for: "dev-3") }
        blobs.release(1, for: "dev-1", isKept: false)
        try blobs.reserve(1, for: "dev-1")
    }

    @Test func theRightChecksumsAreAccepted() async throws {
        try await serve(try await open()) { (caller: Caller) async throws in
            let sums = ["content-md5": "JfnnlDI7RTiF9RgfG2JNCw==", "x-ms-content-crc64": "iJh5CoYUi64="]
            #expect(try await caller.put("123456789", headers: sums).status == 201)
        }
    }

    @Test func theQuotaCountsEveryFileAndIsFreedWithIt() async throws {
        let blobs = try await open { $0.quota = 3 * 4096 }
        try await serve(blobs) { (caller: Caller) async throws in
            for name in ["dev-1/1", "dev-1/2", "dev-2/3"] { #expect(try await caller.put("x", name).status == 201) }
            let refused = try await caller.put("x", "dev-1/4")
            #expect(
                refused.status == 403 && refused.code == "FileQuotaExceeded" && refused.text.contains("files.quota"))
            #expect(!blobs.hasRoom())
            #expect(try await caller.call(.delete, "dev-2/3", permits: .delete).status == 202)
            #expect(try await caller.put("x", "dev-1/4").status == 201)
        }
    }

    @Test func blocksTogetherMayNotPassTheSizeOfAFile() async throws {
        try await serve(try await open { $0.blobBytesMax = 10 }) { (caller: Caller) async throws in
            for id in ["b1", "b2"] { #expect(try await caller.block(id, "123456").status == 201) }
            #expect(try await caller.list(["b1", "b2"]).code == "RequestBodyTooLarge")
        }
    }

    @Test func aDeviceThatIsGoneWritesNoMore() async throws {
        try await serve(try await open(), mayWrite: false) { (caller: Caller) async throws in
            #expect(try await caller.put("x").code == "AuthenticationFailed")
        }
    }

    @Test func whatIsOldGoesAndWhatIsYoungStays() async throws {
        let blobs = try await open { limits in
            limits.retentionAge = .seconds(1000)
            limits.stagedAge = .seconds(100)
        }
        try await serve(blobs) { (caller: Caller) async throws in
            #expect(try await caller.put("x", "dev-1/old").status == 201)
            #expect(try await caller.block("b1", "x", "dev-1/staged").status == 201)
        }
        fixture.clock.advance(by: .seconds(101))
        try await blobs.removeOld()
        #expect(onDisk().count == 1, "an abandoned block goes first")
        fixture.clock.advance(by: .seconds(500))
        try await serve(blobs) { (caller: Caller) async throws in
            #expect(try await caller.put("y", "dev-1/new").status == 201)
        }
        fixture.clock.advance(by: .seconds(500))
        try await blobs.removeOld()
        #expect(try await blobs.list(owner: nil, most: 10).map(\.name.text) == ["dev-1/new"])
        #expect(onDisk().count == 1 && blobs.bytesUsed == 4096)
    }

    @Test func aRestartKeepsBlobsAndSweepsWhatACrashLeft() async throws {
        let before = try await open()
        try await serve(before) { (caller: Caller) async throws in
            #expect(try await caller.put("kept", "dev-1/kept").status == 201)
            #expect(try await caller.put("lost", "dev-1/lost").status == 201)
            #expect(try await caller.block("b1", "staged", "dev-1/more").status == 201)
        }
        let blob = BlobName("dev-1/lost")
        let lost = try await index.blob(try #require(blob))
        try FileManager.default.removeItem(atPath: "\(files)/\(try #require(lost?.parts.first).file)")
        try Data("torn".utf8).write(to: URL(fileURLWithPath: "\(files)/9f86d081-884c-4d65-9a2f-eaa0c55ad015"))
        let after = try await open()
        #expect(onDisk().count == 2 && after.bytesUsed == 2 * 4096)
        try await serve(after) { (caller: Caller) async throws in
            #expect(try await caller.call(.get, "dev-1/kept").text == "kept")
            #expect(try await caller.call(.get, "dev-1/lost").code == "BlobNotFound")
            #expect(try await caller.list(["b1"], "dev-1/more").status == 201)
        }
    }
}
