import BlobStore
import HTTPTypes
import HubContract
public import Hummingbird
import JSON
public import Logging
import NIOCore
public import Primitives
public import Sessions

/// The file upload of IoT Hub's device API.
///
/// Source: Azure IoT Hub, file upload: `POST /devices/{id}/files`, `POST /devices/{id}/files/notifications`.
public struct FileUploadAPI: Sendable {
    /// A name of 1024 characters, escaped, and some more.
    private static let bodyBytesMax = 16 << 10

    private let uploads: FileUploads
    private let authority: any ConnectAuthority
    private let hostName: String
    private let clock: @Sendable () -> WallInstant
    private let logger: Logger

    /// - Parameter hostName: the hub's own name.
    public init(
        _ uploads: FileUploads, authority: any ConnectAuthority, hostName: String,
        clock: @escaping @Sendable () -> WallInstant, logger: Logger = Logger(label: "files")
    ) {
        self.uploads = uploads
        self.authority = authority
        self.hostName = hostName
        self.clock = clock
        self.logger = logger
    }

    /// - Parameter proof: what the request's connection showed; its `authorization` is filled in here.
    public func addRoutes<Context: RequestContext>(
        to router: Router<Context>, proof: @escaping @Sendable (Context) -> RequestProof = { _ in RequestProof() }
    ) {
        let paths = ["", "/notifications", "/notifications/:correlation"]
        for path in paths {
            router.on(RouterPath("/devices/:id/files\(path)"), method: .post) { request, context in
                await answer(request, proof(context))
            }
        }
    }

    private func answer(_ request: Request, _ proof: RequestProof) async -> Response {
        do throws(HubError) {
            return try await perform(request, proof)
        } catch {
            var random = SystemRandomNumberGenerator()
            let trackingID = UniqueID.random(using: &random).description.filter { $0 != "-" }
            let body = error.body(trackingID: trackingID, at: clock()).serialized()
            var response = Response(
                status: HTTPResponse.Status(code: error.httpStatus),
                headers: [.contentType: "application/json; charset=utf-8"],
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
            if let name = HTTPField.Name(HubError.headerName) { response.headers[name] = error.code.name }
            return response
        }
    }

    private func perform(_ request: Request, _ proof: RequestProof) async throws(HubError) -> Response {
        let parts = request.uri.path.split(separator: "/")
        guard parts.count >= 3, let id = PercentEncoding.decode(parts[1]).flatMap({ DeviceID($0) }) else {
            throw HubError(.argumentInvalid, "the path names no device")
        }
        try await demand(proof, request, id)
        guard request.uri.queryParameters.contains(where: { $0.key == "api-version" && !$0.value.isEmpty }) else {
            throw HubError(.invalidProtocolVersion, "the query has no api-version; add ?api-version=2021-04-12")
        }
        let body = try await json(request)
        guard parts.count > 3 else { return try await start(id, body, host: host(of: request)) }
        let pathID = parts.count > 4 ? PercentEncoding.decode(parts[4]) : nil
        try await uploads.end(id, try UploadReport(parsing: body, pathID: pathID))
        return Response(status: .noContent)
    }

    private func demand(_ proof: RequestProof, _ request: Request, _ id: DeviceID) async throws(HubError) {
        var proof = proof
        proof.authorization = request.headers[.authorization]
        switch await authority.authenticate(proof, as: id, host: hostName, now: clock()) {
        case .accepted: return
        case .refused(let sentence): tell(id, sentence)
        case .chainUnchecked: tell(id, "the chain of its certificate could not be checked")
        }
        throw HubError(.iotHubUnauthorized, "Unauthorized")
    }

    private func tell(_ id: DeviceID, _ sentence: String) {
        logger.warning("a device was refused", metadata: ["device": "\(id)", "reason": "\(sentence)"])
    }

    private func start(_ id: DeviceID, _ body: JSONValue, host: String) async throws(HubError) -> Response {
        guard let path = body["blobName"]?.stringValue else { throw HubError(.argumentNull, "blobName is missing") }
        let ticket = try await uploads.start(id, path: path, host: host)
        let json: JSONValue = [
            "correlationId": .string(ticket.correlation.description), "hostName": .string(ticket.host),
            "containerName": .string(ticket.container), "blobName": .string(ticket.blob.text),
            "sasToken": .string(ticket.sasToken),
        ]
        return Response(
            status: .ok, headers: [.contentType: "application/json; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: json.serialized())))
    }

    /// The name and port that the device called the hub by: what reached the hub once reaches it again, whatever
    /// forwards the port in between.
    private func host(of request: Request) -> String {
        guard let text = request.head.authority, (1...260).contains(text.utf8.count),
            text.utf8.allSatisfy({ byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "-._:[]".utf8.contains(byte)
                }
            })
        else { return hostName }
        return text
    }

    private func json(_ request: Request) async throws(HubError) -> JSONValue {
        let bytes: ByteBuffer
        do { bytes = try await request.body.collect(upTo: Self.bodyBytesMax) } catch is NIOTooManyBytesError {
            throw HubError(.messageTooLarge, "the request's body is larger than \(Self.bodyBytesMax) bytes")
        } catch { throw HubError(.iotHubFormatError, "the request's body broke off") }
        do throws(JSONError) { return try JSONValue(parsing: Array(bytes.readableBytesView)) } catch {
            throw HubError(.iotHubFormatError, "the request's body is no JSON: \(error)")
        }
    }
}
