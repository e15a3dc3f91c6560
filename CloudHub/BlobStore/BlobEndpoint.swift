import HTTPTypes
public import Hummingbird
import Logging
import NIOCore
import Primitives

/// The HTTP side of the blobs: the part of Azure Blob Storage's protocol that an upload needs.
///
/// Source: Azure Blob Storage REST API (Put Blob, Put Block, Put Block List, Get Block List, Get Blob, Delete Blob).
public struct BlobEndpoint: Sendable {
    /// The first part of every path.
    public static let container = "device-files"
    /// The account that signatures are made for.
    public static let account = "fieldline"
    /// A block list of 10,000 entries has less than 1 MiB.
    private static let listBytesMax = 2 << 20

    let blobs: Blobs
    private let access: SharedAccess
    private let mayWrite: @Sendable (BlobName) -> Bool

    /// - Parameter mayWrite: whether the device that a blob belongs to may still upload; asked with every write.
    public init(_ blobs: Blobs, access: SharedAccess, mayWrite: @escaping @Sendable (BlobName) -> Bool) {
        self.blobs = blobs
        self.access = access
        self.mayWrite = mayWrite
    }

    /// Adds everything below the container.
    public func addRoutes<Context: RequestContext>(to router: Router<Context>) {
        let path = RouterPath("/\(Self.container)/**")
        for method in [HTTPRequest.Method.get, .head, .put, .delete, .post] {
            router.on(path, method: method) { request, _ in await answer(request) }
        }
    }

    private func answer(_ request: Request) async -> Response {
        var random = SystemRandomNumberGenerator()
        let id = UniqueID.random(using: &random)
        var response: Response
        do throws(BlobError) {
            response = try await perform(request)
        } catch {
            response = refusal(error, isHead: request.method == .head, id)
            tell(error, request, id)
        }
        response.headers.set("x-ms-request-id", "\(id)")
        response.headers.set("x-ms-version", request.headers.value("x-ms-version") ?? SharedAccess.version)
        if let client = request.headers.value("x-ms-client-request-id"), client.utf8.count <= 1024 {
            response.headers.set("x-ms-client-request-id", client)
        }
        return response
    }

    private func refusal(_ error: BlobError, isHead: Bool, _ id: UniqueID) -> Response {
        var headers: HTTPFields = [.contentType: "application/xml"]
        headers.set("x-ms-error-code", error.problem.rawValue)
        let status = HTTPResponse.Status(code: error.problem.httpStatus)
        guard !isHead else { return Response(status: status, headers: headers) }
        let body = error.body(requestID: id, at: blobs.clock())
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: body)))
    }

    private func tell(_ error: BlobError, _ request: Request, _ id: UniqueID) {
        let level: Logger.Level
        switch error.problem {
        case .internalError: level = .error
        case .serverBusy, .authenticationFailed, .authorizationPermissionMismatch, .quotaExceeded, .requestBodyTooLarge:
            level = .warning
        default: level = .debug
        }
        blobs.logger.log(
            level: level, "a request for a file was refused",
            metadata: [
                "path": "\(request.uri.path.prefix(256))", "error": "\(error)", "requestID": "\(id)",
            ])
    }

    // MARK: - What it does

    private func perform(_ request: Request) async throws(BlobError) -> Response {
        let asked = try BlobRequest(request, container: Self.container)
        let granted = try access.permissions(asked.parameter, for: asked.name, now: blobs.clock())
        guard !granted.isDisjoint(with: asked.needs) else {
            throw BlobError(.authorizationPermissionMismatch, "the signature does not permit this")
        }
        if asked.needs.contains(.write) {
            guard mayWrite(asked.name) else {
                throw BlobError(.authenticationFailed, "the device that the signature was made for is disabled or gone")
            }
        }
        // Who may only create may replace nothing.
        let condition = granted.contains(.write) ? asked.condition : BlobCondition(ifNoneMatch: "*")
        switch asked.verb {
        case .putBlob: return try await putBlob(asked, request, condition)
        case .putBlock(let block): return try await putBlock(asked, request, block)
        case .putBlockList: return try await putBlockList(asked, request, condition)
        case .getBlockList(let type): return try await getBlockList(asked, type)
        case .get: return try await get(asked)
        case .head: return Response(status: .ok, headers: Self.headers(of: try await stored(asked).facts))
        case .delete:
            do {
                guard try await blobs.remove(asked.name) else { throw Self.notFound(asked.name) }
            } catch { throw Blobs.wrapped(error) }
            return Response(status: .accepted)
        }
    }

    private func putBlob(
        _ asked: BlobRequest, _ request: Request, _ condition: BlobCondition
    ) async throws(BlobError) -> Response {
        guard asked.header("x-ms-blob-type").map({ $0 == "BlockBlob" }) ?? false else {
            throw BlobError(
                .invalidHeaderValue, "x-ms-blob-type has to be BlockBlob, the only kind that this hub keeps")
        }
        let headers = try asked.keptHeaders()
        let claim = try asked.claim()
        let facts = try await blobs.receive(request.body, claim, for: asked.name.owner) { body in
            let now = blobs.clock()
            let facts = BlobFacts(
                name: asked.name, bytes: body.bytes, etag: Self.newETag(), md5: body.md5, headers: headers,
                createdAt: now, modifiedAt: now)
            let blob = StoredBlob(facts: facts, parts: [body.part()])
            return (facts, try await blobs.put(blob, if: condition))
        }
        return Self.created(facts, md5: facts.md5)
    }

    private func putBlock(
        _ asked: BlobRequest, _ request: Request, _ block: String
    ) async throws(BlobError) -> Response {
        let md5 = try await blobs.receive(request.body, try asked.claim(), for: asked.name.owner) { body in
            (body.md5, try await blobs.index.stage(body.part(block: block), of: asked.name, at: blobs.clock()))
        }
        var response = Response(status: .created)
        response.headers.set("content-md5", Base64.encode(md5))
        response.headers.set("x-ms-request-server-encrypted", "false")
        return response
    }

    private func putBlockList(
        _ asked: BlobRequest, _ request: Request, _ condition: BlobCondition
    ) async throws(BlobError) -> Response {
        let headers = try asked.keptHeaders()
        let md5 = try asked.digest("x-ms-blob-content-md5", count: 16)
        let bytes: ByteBuffer
        do { bytes = try await request.body.collect(upTo: Self.listBytesMax) } catch is NIOTooManyBytesError {
            throw BlobError(.requestBodyTooLarge, "a block list has \(Self.listBytesMax) bytes at most")
        } catch { throw BlobError(.incompleteBody, "the connection broke in the middle of the block list") }
        let list = try BlockListReader.read(String(buffer: bytes), most: Blobs.blocksMax)
        let now = blobs.clock()
        let facts = BlobFacts(
            name: asked.name, bytes: 0, etag: Self.newETag(), md5: md5, headers: headers, createdAt: now,
            modifiedAt: now)
        do {
            try await blobs.commit(facts, of: list, if: condition)
        } catch { throw Blobs.wrapped(error) }
        return Self.created(facts, md5: nil)
    }

    private func getBlockList(_ asked: BlobRequest, _ type: String) async throws(BlobError) -> Response {
        let found: (committed: [BlobPart], staged: [BlobPart])
        let blob: StoredBlob?
        do {
            blob = try await blobs.index.blob(asked.name)
            found = try await blobs.index.blocks(of: asked.name)
        } catch { throw Blobs.wrapped(error) }
        guard blob != nil || !found.staged.isEmpty else { throw Self.notFound(asked.name) }
        let lines = { (parts: [BlobPart]) in
            parts.map { "<Block><Name>\($0.block)</Name><Size>\($0.bytes)</Size></Block>" }.joined()
        }
        var xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>"
        if type != "uncommitted" {
            // A blob that was written at once has no blocks.
            xml += "<CommittedBlocks>\(lines(found.committed.filter { !$0.block.isEmpty }))</CommittedBlocks>"
        }
        if type != "committed" { xml += "<UncommittedBlocks>\(lines(found.staged))</UncommittedBlocks>" }
        xml += "</BlockList>"
        var response = Response(status: .ok, body: ResponseBody(byteBuffer: ByteBuffer(string: xml)))
        response.headers[.contentType] = "application/xml"
        if let facts = blob?.facts {
            response.headers[.eTag] = "\"\(facts.etag)\""
            response.headers[.lastModified] = facts.modifiedAt.httpDate
            response.headers.set("x-ms-blob-content-length", "\(facts.bytes)")
        }
        return response
    }

    private func get(_ asked: BlobRequest) async throws(BlobError) -> Response {
        let blob = try await stored(asked)
        let range = try asked.range(of: blob.facts.bytes)
        if let problem = asked.condition.problem(etag: blob.facts.etag) {
            throw BlobError(problem, Blobs.sentence(problem))
        }
        var headers = Self.headers(of: blob.facts)
        let wanted = range ?? 0..<blob.facts.bytes
        headers[.contentLength] = nil  // that of the body counts
        if range != nil {
            headers[.contentRange] = "bytes \(wanted.lowerBound)-\(wanted.upperBound - 1)/\(blob.facts.bytes)"
            headers.set("content-md5", nil)
        }
        return Response(
            status: range == nil ? .ok : .partialContent, headers: headers, body: try await body(of: blob, wanted))
    }

    private func stored(_ asked: BlobRequest) async throws(BlobError) -> StoredBlob {
        do {
            if let blob = try await blobs.index.blob(asked.name) { return blob }
        } catch { throw Blobs.wrapped(error) }
        throw Self.notFound(asked.name)
    }

    private static func notFound(_ name: BlobName) -> BlobError {
        BlobError(.blobNotFound, "there is no blob of that name")
    }
}
