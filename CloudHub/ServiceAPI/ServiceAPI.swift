public import Devices
import HTTPTypes
import HubContract
public import Hummingbird
public import Logging
import NIOCore
public import Primitives
public import Registry
public import Throttles

/// The service REST API of IoT Hub: registry, twins, direct methods, statistics.
///
/// Callers prove themselves with a shared access signature of a policy (`skn`). Every error is answered with IoT Hub's
/// body and the header `iothub-errorcode`; what the hub itself failed at is logged under the answer's tracking id.
public struct ServiceAPI: Sendable {
    let registry: DeviceRegistry
    let devices: DeviceHub
    let clock: @Sendable () -> WallInstant
    private let throttles: Throttles?
    private let logger: Logger

    /// - Parameter throttles: `nil` lets everything through.
    public init(
        registry: DeviceRegistry, devices: DeviceHub, throttles: Throttles? = nil,
        clock: @escaping @Sendable () -> WallInstant,
        logger: Logger = Logger(label: "service-api")
    ) {
        self.registry = registry
        self.devices = devices
        self.throttles = throttles
        self.clock = clock
        self.logger = logger
    }

    /// Adds everything below `/devices`, `/twins`, `/statistics` and `/messages`.
    public func addRoutes<Context: RequestContext>(to router: Router<Context>) {
        for verb in ServiceVerb.allCases {
            guard let method = HTTPRequest.Method(rawValue: verb.rawValue) else { continue }
            for path in ["/devices", "/devices/:id", "/devices/:id/**", "/twins/**", "/statistics/**", "/messages/**"] {
                router.on(RouterPath(path), method: method) { request, _ in
                    Self.response(await self.answer(verb, request))
                }
            }
        }
    }

    private func answer(_ verb: ServiceVerb, _ request: Request) async -> ServiceAnswer {
        do throws(HubError) {
            return try await perform(try await call(verb, request))
        } catch {
            var random = SystemRandomNumberGenerator()
            let trackingID = UniqueID.random(using: &random).description.filter { $0 != "-" }
            if error.httpStatus >= 500 {
                logger.error(
                    "a service call failed", metadata: ["trackingID": "\(trackingID)", "error": "\(error)"])
            }
            return ServiceAnswer(error, trackingID: trackingID, at: clock())
        }
    }

    /// Who calls is checked before anything of the request is looked at but its path.
    private func call(_ verb: ServiceVerb, _ request: Request) async throws(HubError) -> ServiceCall {
        let path = try RequestPath.segments(request.uri.path)
        guard let route = try ServiceRoute(verb, path) else {
            throw HubError(
                .invalidOperation,
                "\(verb.rawValue) /\(path.joined(separator: "/").prefix(256)) is nothing this hub does")
        }
        do throws(ServiceRefusal) {
            try registry.authorize(
                request.headers[.authorization], path: path, needs: route.right, now: clock())
        } catch {
            logger.warning("a service call was refused", metadata: ["reason": "\(error)"])
            throw HubError(.iotHubUnauthorizedAccess, "Unauthorized")
        }
        if let throttled = route.isRegistryOperation ? throttles?.admit(.registry) : nil { throw HubError(throttled) }
        var query: [String: String] = [:]
        for (name, value) in request.uri.queryParameters.prefix(16) { query[String(name)] = String(value) }
        guard query["api-version"]?.isEmpty == false else {
            throw HubError(.invalidProtocolVersion, "the query has no api-version; add ?api-version=2021-04-12")
        }
        return ServiceCall(
            route: route, query: query, ifMatch: ETagCondition(header: request.headers[.ifMatch]),
            body: try await body(request, most: route.bodyMax))
    }

    private func body(_ request: Request, most: Int) async throws(HubError) -> [UInt8] {
        do {
            return Array((try await request.body.collect(upTo: most)).readableBytesView)
        } catch is NIOTooManyBytesError {
            throw HubError(.messageTooLarge, "the request's body is larger than \(most) bytes")
        } catch {
            throw HubError(.iotHubFormatError, "the request's body broke off")
        }
    }

    private func perform(_ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        switch call.route {
        case .listDevices: try listDevices(call)
        case .bulk: try await bulk(call)
        case .getDevice(let id): try getDevice(id)
        case .putDevice(let id): try await putDevice(id, call)
        case .deleteDevice(let id): try await deleteDevice(id, call)
        case .listModules(let id): try listModules(id)
        case .getModule(let device, let id): try getModule(id, of: device)
        case .putModule(let device, let id): try await putModule(id, of: device, call)
        case .deleteModule(let device, let id): try await deleteModule(id, of: device, call)
        case .getTwin(let who): try twin(who, try await devices.twin(who))
        case .patchTwin(let who):
            try twin(who, try await devices.patchTwin(who, try call.json(), ifMatch: call.ifMatch))
        case .replaceTwin(let who):
            try twin(who, try await devices.replaceTwin(who, with: try call.json(), ifMatch: call.ifMatch))
        case .invokeMethod(let who): try await invokeMethod(who, call)
        case .purgeMessages(let id): try await purge(id)
        case .takeFeedback: try await takeFeedback()
        case .completeFeedback(let lock): try await settleFeedback(lock, isDone: true)
        case .abandonFeedback(let lock): try await settleFeedback(lock, isDone: false)
        case .deviceStatistics: deviceStatistics()
        case .serviceStatistics: serviceStatistics()
        }
    }

    private static func response(_ answer: ServiceAnswer) -> Response {
        var headers = HTTPFields()
        for (name, value) in answer.headers {
            guard let field = HTTPField.Name(name) else { continue }
            headers[field] = value
        }
        return Response(
            status: HTTPResponse.Status(code: answer.status), headers: headers,
            body: answer.body.isEmpty ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body)))
    }
}
