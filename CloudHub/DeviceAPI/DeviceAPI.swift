public import Devices
public import EventLog
import HTTPTypes
public import HubContract
public import Hummingbird
public import Ingest
public import Journal
public import Logging
import NIOCore
public import Primitives
public import Sessions
public import Throttles

/// What the far end of a request showed below HTTP.
public struct DevicePeer: Sendable {
    /// Its IP address.
    public var address: String?
    /// Thumbprints of its client certificate's DER form, lower-case hex.
    public var leafSHA1: String?
    public var leafSHA256: String?
    /// The certificate in DER, then what the client sent after it; unchecked.
    public var chain: [[UInt8]]

    public init(
        address: String? = nil, leafSHA1: String? = nil, leafSHA256: String? = nil, chain: [[UInt8]] = []
    ) {
        self.address = address
        self.leafSHA1 = leafSHA1
        self.leafSHA256 = leafSHA256
        self.chain = chain
    }
}

/// The device REST API of IoT Hub: events up, cloud-to-device messages down.
///
/// A device proves itself with each request, by a shared access signature or by its client certificate. What it is told
/// of a failed proof is 401 and nothing more; the reason stands in the hub's log and in the device's journal.
public struct DeviceAPI: Sendable {
    /// The rooms behind it.
    public struct Rooms: Sendable {
        public let authority: any ConnectAuthority
        public let devices: DeviceHub
        public let eventLog: any EventLog
        public let intake: TelemetryIntake
        public let throttles: Throttles
        public let journal: DeviceJournal

        public init(
            authority: any ConnectAuthority, devices: DeviceHub, eventLog: any EventLog, intake: TelemetryIntake,
            throttles: Throttles, journal: DeviceJournal
        ) {
            self.authority = authority
            self.devices = devices
            self.eventLog = eventLog
            self.intake = intake
            self.throttles = throttles
            self.journal = journal
        }
    }

    let rooms: Rooms
    let writer: EventWriter
    private let hostName: String
    let clock: @Sendable () -> WallInstant
    let logger: Logger

    /// - Parameters:
    ///   - hostName: the hub's own name.
    ///   - waitingBytesMax: bytes of events that wait for the disk; beyond that the answer is 503.
    public init(
        rooms: Rooms, hostName: String, waitingBytesMax: Int, clock: @escaping @Sendable () -> WallInstant,
        logger: Logger = Logger(label: "device-api")
    ) {
        self.rooms = rooms
        self.hostName = hostName
        self.clock = clock
        self.logger = logger
        writer = EventWriter(log: rooms.eventLog, intake: rooms.intake, bytesMax: waitingBytesMax)
    }

    /// Adds everything below `/devices/{id}/messages`.
    /// - Parameter peer: what the request's connection showed.
    public func addRoutes<Context: RequestContext>(
        to router: Router<Context>, peer: @escaping @Sendable (Context) -> DevicePeer = { _ in DevicePeer() }
    ) {
        for method in [HTTPRequest.Method.get, .put, .post, .patch, .delete] {
            router.on("/devices/:id/messages/**", method: method) { request, context in
                await self.answer(request, peer(context))
            }
        }
    }

    private func answer(_ request: Request, _ peer: DevicePeer) async -> Response {
        do throws(HubError) {
            let call = try await proven(request, peer)
            return await answering(call.device, peer) { () throws(HubError) in
                Self.response(try await perform(call, request, peer))
            }
        } catch {
            return answer(error)
        }
    }

    /// Answers a device that has proven who it is; why it does not get what it asked for is told to the log and the
    /// journal, unless that was done.
    public func answering(
        _ device: DeviceID, _ peer: DevicePeer, _ body: () async throws(HubError) -> Response
    ) async -> Response {
        do throws(HubError) {
            return try await body()
        } catch {
            if error.code != .throttlingException {
                note(.denied, device, "its request was refused with \(error.httpStatus): \(error.message)", peer)
            }
            return answer(error)
        }
    }

    /// What a device's request is answered when it fails. A fault of the hub's own is logged under the same tracking id.
    public func answer(_ error: HubError) -> Response {
        var random = SystemRandomNumberGenerator()
        let trackingID = UniqueID.random(using: &random).description.filter { $0 != "-" }
        if error.httpStatus >= 500 {
            logger.error("a device's request failed", metadata: ["trackingID": "\(trackingID)", "error": "\(error)"])
        }
        return Self.response(DeviceAnswer(error, trackingID: trackingID, at: clock()))
    }

    private struct Call {
        let route: DeviceRoute
        let origin: EventOrigin
        var device: DeviceID { origin.device }
    }

    private func proven(_ request: Request, _ peer: DevicePeer) async throws(HubError) -> Call {
        let path = try RequestPath.segments(request.uri.path)
        let query = request.uri.query ?? ""
        let isReject = RequestPath.hasParameter("reject", inQuery: query)
        guard let route = try DeviceRoute(request.method.rawValue, path, isReject: isReject) else {
            let error = HubError(
                .invalidOperation,
                "\(request.method.rawValue) /\(path.joined(separator: "/").prefix(256)) is nothing this hub does")
            if path.count > 1, let device = DeviceID(path[1]) {
                note(.denied, device, error.message, peer, isProven: false)
            }
            throw error
        }
        // Who calls is checked before anything of the request is looked at but its path.
        return Call(route: route, origin: try await origin(of: route.device, request, peer))
    }

    private func perform(
        _ call: Call, _ request: Request, _ peer: DevicePeer
    ) async throws(HubError) -> DeviceAnswer {
        let query = request.uri.query ?? ""
        guard RequestPath.hasParameter("api-version", inQuery: query) else {
            throw HubError(.invalidProtocolVersion, "the query has no api-version; add ?api-version=2021-04-12")
        }
        switch call.route {
        case .sendEvent(let device): return try await send(request, from: device, call.origin, peer)
        case .receiveMessage(let device): return try await receive(device)
        case .completeMessage(let device, let lock): return try await settle(device, lock, .completed)
        case .rejectMessage(let device, let lock): return try await settle(device, lock, .rejected)
        case .abandonMessage(let device, let lock): return try await settle(device, lock, .abandoned)
        }
    }

    private func origin(
        of device: DeviceID, _ request: Request, _ peer: DevicePeer
    ) async throws(HubError) -> EventOrigin {
        let password = request.headers[.authorization].map { Secret(Array($0.utf8)) }
        let shown = password == nil ? peer : DevicePeer()
        let attempt = ConnectRequest(
            userName: ConnectUserName(host: hostName, identity: HubIdentity(device)), password: password,
            leafSHA1: shown.leafSHA1, leafSHA256: shown.leafSHA256, chain: shown.chain)
        switch await verdict(on: attempt) {
        case .accepted(let grant):
            return EventOrigin(
                device: device, module: nil, authGeneration: grant.generationID, authScope: grant.authScope,
                authType: grant.authType)
        case .refused(let sentence): note(.refused, device, sentence, peer, isProven: false)
        case .chainUnchecked:
            note(.refused, device, "the chain of its certificate was not checked", peer, isProven: false)
        }
        throw HubError(.iotHubUnauthorized, "Unauthorized")
    }

    private func verdict(on attempt: ConnectRequest) async -> ConnectVerdict {
        let verdict = rooms.authority.authenticate(attempt, now: clock())
        guard case .chainUnchecked = verdict else { return verdict }
        return await withCheckedContinuation { continuation in
            rooms.authority.checkChain(of: attempt, now: clock()) { continuation.resume(returning: $0) }
        }
    }

    // MARK: - For the rest of the device API

    /// Whether a request comes from this device.
    /// - Throws: 401 when it does not; the reason is told to the log and the journal.
    public func prove(_ device: DeviceID, _ request: Request, _ peer: DevicePeer) async throws(HubError) {
        _ = try await origin(of: device, request, peer)
    }

    /// Whether the device may do this now.
    /// - Throws: 429 when it did so too often.
    public func admit(_ kind: ThrottledKind, _ device: DeviceID, _ peer: DevicePeer) throws(HubError) {
        guard let throttled = rooms.throttles.admit(kind, device) else { return }
        note(.throttled, device, throttled.sentence, peer)
        throw HubError(throttled)
    }

    // MARK: - Events

    private func send(
        _ request: Request, from device: DeviceID, _ origin: EventOrigin, _ peer: DevicePeer
    ) async throws(HubError) -> DeviceAnswer {
        let isBatch = EventBatch.isBatch(contentType: request.headers[.contentType])
        let body = try await body(of: request)
        let events: [NewEvent]
        if isBatch {
            events = try EventBatch.events(parsing: body)
        } else {
            let bag = try MessageHeaders.bag(request.headers.map { (name: $0.name.rawName, value: $0.value) })
            events = [NewEvent(bagText: bag.encoded(), body: body)]
        }
        if let throttled = rooms.throttles.admit(.telemetry, device, count: events.count) {
            note(.throttled, device, throttled.sentence, peer)
            throw HubError(throttled)
        }
        try await writer.append(events, from: origin)
        rooms.devices.active(HubIdentity(device), at: clock())
        return .done
    }

    private func body(of request: Request) async throws(HubError) -> [UInt8] {
        let most = SessionDispatch.messageBytesMax
        do {
            return Array((try await request.body.collect(upTo: most)).readableBytesView)
        } catch is NIOTooManyBytesError {
            throw HubError(.messageTooLarge, "the request's body is larger than \(most) bytes")
        } catch {
            throw HubError(.iotHubFormatError, "the request's body broke off")
        }
    }

    // MARK: - Messages to the device

    private func receive(_ device: DeviceID) async throws(HubError) -> DeviceAnswer {
        guard let locked = try await rooms.devices.receiveCloudToDevice(device) else { return .done }
        var answer = DeviceAnswer(status: 200)
        answer.headers = MessageHeaders.headers(of: locked)
        answer.headers.append((name: "Content-Type", value: "application/octet-stream"))
        answer.body = locked.waiting.message.payload
        return answer
    }

    private func settle(
        _ device: DeviceID, _ lock: String, _ settlement: C2DSettlement
    ) async throws(HubError) -> DeviceAnswer {
        let text = lock.filter { $0 != "\"" }
        guard let lock = UniqueID(text) else {
            throw HubError(.deviceMessageLockLost, "'\(text.prefix(64))' is no lock of this hub")
        }
        try await rooms.devices.settleCloudToDevice(device, lock: lock, as: settlement)
        return .done
    }

    // MARK: - Telling

    private func note(
        _ kind: JournalEntry.Kind, _ device: DeviceID, _ sentence: String, _ peer: DevicePeer, isProven: Bool = true
    ) {
        let isNews = rooms.journal.note(
            kind, of: device.text, sentence, address: peer.address, isProven: isProven)
        guard isNews else { return }
        logger.warning(
            kind == .throttled ? "a device was throttled" : "a device was refused",
            metadata: [
                "device": "\(device)", "reason": "\(sentence)", "address": "\(peer.address ?? "unknown")",
            ])
    }

    private static func response(_ answer: DeviceAnswer) -> Response {
        var headers = HTTPFields()
        for (name, value) in answer.headers {
            guard let field = HTTPField.Name(name) else { continue }
            headers.append(HTTPField(name: field, value: value))
        }
        return Response(
            status: HTTPResponse.Status(code: answer.status), headers: headers,
            body: answer.body.isEmpty ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body)))
    }
}
