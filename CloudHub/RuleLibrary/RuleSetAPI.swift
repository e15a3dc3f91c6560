public import DeviceAPI
import HTTPTypes
public import HubContract
public import Hummingbird
import JSON
import NIOCore
public import Primitives
public import RuleSets

/// Gives a gateway the text of the set that its twin names, and nobody anything else.
///
/// Source: Fieldline's own, `GET /devices/{id}/rulesets/{sha256}`; the device proves itself as everywhere in the device
/// API.
public struct RuleSetAPI: Sendable {
    private let library: RuleLibrary
    private let devices: DeviceAPI
    private let wish: @Sendable (DeviceID) async throws(HubError) -> RuleSetWish

    /// - Parameters:
    ///   - devices: who proves the devices.
    ///   - wish: what the device's twin asks for.
    public init(
        _ library: RuleLibrary, devices: DeviceAPI,
        wish: @escaping @Sendable (DeviceID) async throws(HubError) -> RuleSetWish
    ) {
        self.library = library
        self.devices = devices
        self.wish = wish
    }

    static func path(of sha256: String, for gateway: DeviceID) -> String {
        "/devices/\(PercentEncoding.encode(gateway.text))/rulesets/\(sha256)"
    }

    /// - Parameter peer: what the request's connection showed.
    public func addRoutes<Context: RequestContext>(
        to router: Router<Context>, peer: @escaping @Sendable (Context) -> DevicePeer = { _ in DevicePeer() }
    ) {
        router.on("/devices/:id/rulesets/:hash", method: .get) { request, context in
            await answer(request, peer(context))
        }
    }

    private func answer(_ request: Request, _ peer: DevicePeer) async -> Response {
        do throws(HubError) {
            let path = try RequestPath.segments(request.uri.path)
            guard path.count == 4, let id = DeviceID(path[1]) else {
                throw HubError(.argumentInvalid, "the path names no device")
            }
            // Who calls is checked before anything of the request is looked at but its path.
            try await devices.prove(id, request, peer)
            return await devices.answering(id, peer) { () throws(HubError) in
                try await text(path[3], for: id)
            }
        } catch {
            return devices.answer(error)
        }
    }

    private func text(_ hash: String, for id: DeviceID) async throws(HubError) -> Response {
        guard case .set(let reference) = try await wish(id), reference.sha256 == hash else { return Self.notFound }
        let text: [UInt8]?
        do { text = try await library.text(sha256: hash) } catch {
            throw HubError(.serviceUnavailable, "the hub's store does not give the rule set: \(error)")
        }
        guard let text else { return Self.notFound }
        return Response(
            status: .ok, headers: [.contentType: "application/toml; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: text)))
    }

    private static var notFound: Response {
        let json: JSONValue = ["Message": "the twin of this device names no such rule set"]
        return Response(
            status: .notFound, headers: [.contentType: "application/json; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: json.serialized())))
    }
}
