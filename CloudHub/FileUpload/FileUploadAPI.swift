import BlobStore
public import DeviceAPI
import HTTPTypes
import HubContract
public import Hummingbird
import JSON
import NIOCore
import Primitives
import Throttles

/// The file upload of IoT Hub's device API.
///
/// Source: Azure IoT Hub, file upload: `POST /devices/{id}/files`, `POST /devices/{id}/files/notifications`.
public struct FileUploadAPI: Sendable {
    /// A name of 1024 characters, escaped, and some more.
    private static let bodyBytesMax = 16 << 10

    private let uploads: FileUploads
    private let devices: DeviceAPI
    private let hostName: String

    /// - Parameters:
    ///   - devices: who proves and throttles the devices.
    ///   - hostName: the hub's own name.
    public init(_ uploads: FileUploads, devices: DeviceAPI, hostName: String) {
        self.uploads = uploads
        self.devices = devices
        self.hostName = hostName
    }

    /// - Parameter peer: what the request's connection showed.
    public func addRoutes<Context: RequestContext>(
        to router: Router<Context>, peer: @escaping @Sendable (Context) -> DevicePeer = { _ in DevicePeer() }
    ) {
        for path in ["", "/notifications", "/notifications/:correlation"] {
            router.on(RouterPath("/devices/:id/files\(path)"), method: .post) { request, context in
                await answer(request, peer(context))
            }
        }
    }

    private func answer(_ request: Request, _ peer: DevicePeer) async -> Response {
        do throws(HubError) {
            let path = try RequestPath.segments(request.uri.path)
            guard path.count >= 3, let id = DeviceID(path[1]) else {
                throw HubError(.argumentInvalid, "the path names no device")
            }
            // Who calls is checked before anything of the request is looked at but its path.
            try await devices.prove(id, request, peer)
            return await devices.answering(id, peer) { () throws(HubError) in
                try await perform(id, path, request, peer)
            }
        } catch {
            return devices.answer(error)
        }
    }

    private func perform(
        _ id: DeviceID, _ path: [String], _ request: Request, _ peer: DevicePeer
    ) async throws(HubError) -> Response {
        guard RequestPath.hasParameter("api-version", inQuery: request.uri.query ?? "") else {
            throw HubError(.invalidProtocolVersion, "the query has no api-version; add ?api-version=2021-04-12")
        }
        let isStart = path.count == 3
        if isStart { try devices.admit(.fileUploads, id, peer) }
        let body = try await json(request)
        guard !isStart else { return try await start(id, body, host: host(of: request)) }
        try await uploads.end(id, try UploadReport(parsing: body, pathID: path.count > 4 ? path[4] : nil))
        return Response(status: .noContent)
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
