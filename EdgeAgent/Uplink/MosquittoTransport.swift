internal import CMosquitto
internal import COpenSSL
internal import Connectivity
internal import DriverRuntime
internal import Glibc
internal import Primitives

/// What the broker side did since the last look.
enum TransportEvent {
    /// CONNACK 0.
    case accepted
    /// PUBACK for a publish of ours.
    case acknowledged(Int32)
    /// SUBACK: the granted QoS of each filter, 128 for a refused one.
    case subscribed([Int32])
    case message(topic: String, payload: [UInt8], isAtLeastOnce: Bool)
}

/// One MQTT connection over libmosquitto, driven by hand on one thread.
///
/// Made for one connection and thrown away with it: the library's queue of unsent messages is uncapped and would be
/// sent after a reconnect. The library queues the PUBACK of a message before it calls back; because nothing is written
/// before `write()`, whoever makes the message durable between `read()` and `write()` acknowledges only what is.
final class MosquittoTransport {
    private let client: OpaquePointer
    private let tls: TLSContext
    private let settings: UplinkSettings
    private(set) var events: [TransportEvent] = []
    private(set) var isAccepted = false
    private var connackCode: Int32 = 0
    private var lastLibraryError = ""

    /// Longest payload that is taken from a message; the hub's own limit for methods is 128 KiB.
    static let payloadBytesMax = 256 * 1024

    /// Once in a process; the library counts, so that drivers may do the same.
    private static let libraryIsReady = mosquitto_lib_init() == Int32(MOSQ_ERR_SUCCESS.rawValue)

    init(_ settings: UplinkSettings, login: Login, certificateTime: Int64?) throws(LinkFailure) {
        tls = try TLSContext(settings, certificateTime: certificateTime)
        guard Self.libraryIsReady, let made = mosquitto_new(settings.gateway.text, false, nil) else {
            throw LinkFailure(.credentialsUnusable(detail: "libmosquitto gave no client"))
        }
        client = made
        self.settings = settings
        mosquitto_user_data_set(made, Unmanaged.passUnretained(self).toOpaque())
        // From now on the library does not write by itself.
        mosquitto_threaded_set(made, true)
        mosquitto_int_option(made, MOSQ_OPT_TCP_NODELAY, 1)
        // Our own window bounds the batches; the rest are method answers.
        mosquitto_max_inflight_messages_set(made, 200)
        mosquitto_void_option(made, MOSQ_OPT_SSL_CTX, UnsafeMutableRawPointer(tls.context))
        // Without this the library puts its own settings into our context, and wants a CA file of its own.
        mosquitto_int_option(made, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0)
        mosquitto_username_pw_set(made, login.userName, login.password)
        setCallbacks()
    }

    deinit { mosquitto_destroy(client) }

    /// Looks the host up and tries its addresses in turn until one takes the TCP connection; TLS and CONNECT follow in
    /// `read` and `write`. A host that drops packets holds it up until `deadline` at the most, an agent that stops ends
    /// it at once. Only the system's resolver blocks for as long as it likes.
    ///
    /// - Returns: `false` when `isStopping` ended it; the wake signal then stays rung.
    func connect(
        until deadline: MonotonicInstant, wake: WakeSignal, isStopping: () -> Bool
    ) throws(LinkFailure) -> Bool {
        var addresses: ArraySlice<String>
        do throws(HostAddresses.LookupFailure) {
            addresses = try HostAddresses.resolve(settings.hubHost)[...]
        } catch {
            throw LinkFailure(.nameNotResolved(host: settings.hubHost))
        }
        var failure = LinkProblem.nameNotResolved(host: settings.hubHost)
        while let address = addresses.popFirst() {
            let now = SystemTime.monotonic
            let share = now + max(deadline - now, .zero) / (addresses.count + 1)
            switch try attempt(address, until: share, wake: wake, isStopping: isStopping) {
            case .stands: return true
            case .stopped: return false
            case .failed(let problem): failure = problem
            }
        }
        throw LinkFailure(failure)
    }

    private enum Attempt {
        case stands
        case stopped
        case failed(LinkProblem)
    }

    private func attempt(
        _ address: String, until deadline: MonotonicInstant, wake: WakeSignal, isStopping: () -> Bool
    ) throws(LinkFailure) -> Attempt {
        let seconds = Int32(clamping: settings.keepAlive.components.seconds)
        errno = 0
        let code = mosquitto_connect_async(client, address, Int32(settings.port), max(5, seconds))
        let systemError = errno
        switch mosq_err_t(code) {
        case MOSQ_ERR_SUCCESS: break
        case MOSQ_ERR_ERRNO: return .failed(unreachable(systemError))
        default: throw LinkFailure(problem(of: code))
        }
        while !isStopping() {
            var entries = [
                pollfd(fd: mosquitto_socket(client), events: Int16(POLLOUT), revents: 0),
                pollfd(fd: wake.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            poll(&entries, 2, SystemTime.pollMilliseconds(until: deadline))
            if entries[0].revents != 0 {
                let error = HostAddresses.connectError(of: entries[0].fd)
                // On loopback the connection may have stood, begun the handshake and ended already: that is TLS's story.
                guard error == 0 || hasHandshakeBegun else { return .failed(unreachable(error)) }
                // Begins the handshake, which the library tried in vain before the connection stood.
                try check(mosquitto_loop_read(client, 1))
                return .stands
            }
            if SystemTime.monotonic >= deadline { return .failed(unreachable(ETIMEDOUT)) }
            if entries[1].revents != 0, !isStopping() { wake.clear() }
        }
        return .stopped
    }

    private func unreachable(_ error: Int32) -> LinkProblem {
        let (host, port) = (settings.hubHost, settings.port)
        if error == ECONNREFUSED { return .connectionRefused(host: host, port: port) }
        return .unreachable(host: host, port: port, detail: String(cString: strerror(error)))
    }

    private var hasHandshakeBegun: Bool {
        guard let connection = mosquitto_ssl_get(client) else { return false }
        return BIO_number_written(SSL_get_wbio(OpaquePointer(connection))) > 0
    }

    /// Until then the library wants to write although the handshake waits for the hub.
    private var isHandshakeOver: Bool {
        mosquitto_ssl_get(client).map { SSL_is_init_finished(OpaquePointer($0)) == 1 } ?? false
    }

    /// Waits for the socket or the wake signal, at most until `deadline`, and reads what came into `events`.
    func read(wake: WakeSignal, until deadline: MonotonicInstant) throws(LinkFailure) {
        let socket = mosquitto_socket(client)
        guard socket >= 0 else { throw LinkFailure(problem(of: Int32(MOSQ_ERR_CONN_LOST.rawValue))) }
        let output: Int16 = isHandshakeOver && mosquitto_want_write(client) ? Int16(POLLOUT) : 0
        var entries = [
            pollfd(fd: socket, events: Int16(POLLIN) | output, revents: 0),
            pollfd(fd: wake.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        poll(&entries, 2, SystemTime.pollMilliseconds(until: deadline))
        if entries[1].revents != 0 { wake.clear() }
        if entries[0].revents & ~Int16(POLLOUT) != 0 { try check(mosquitto_loop_read(client, 1)) }
    }

    func takeEvents() -> [TransportEvent] {
        defer { events = [] }
        return events
    }

    /// Writes what is queued, as far as the socket takes it, and keeps the connection alive.
    func write() throws(LinkFailure) {
        if mosquitto_want_write(client) { try check(mosquitto_loop_write(client, 1)) }
        try check(mosquitto_loop_misc(client))
    }

    /// Queues a message and returns its packet identifier.
    func publish(_ topic: String, _ payload: [UInt8]) throws(LinkFailure) -> Int32 {
        var identifier: Int32 = 0
        try check(mosquitto_publish(client, &identifier, topic, Int32(payload.count), payload, 1, false))
        return identifier
    }

    /// Asks for QoS 1 on every filter, in one SUBSCRIBE.
    func subscribe(_ filters: [String]) throws(LinkFailure) {
        var copies: [UnsafeMutablePointer<CChar>?] = filters.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        let code = copies.withUnsafeMutableBufferPointer { buffer in
            mosquitto_subscribe_multiple(client, nil, Int32(buffer.count), buffer.baseAddress, 1, 0, nil)
        }
        try check(code)
    }

    /// Queues DISCONNECT and writes it, as far as the socket takes it at once.
    func disconnect() {
        mosquitto_disconnect(client)
        mosquitto_loop_write(client, 1)
    }

    private func check(_ code: Int32) throws(LinkFailure) {
        guard mosq_err_t(code) != MOSQ_ERR_SUCCESS else { return }
        throw LinkFailure(problem(of: code))
    }

    private func problem(of code: Int32) -> LinkProblem {
        if let refused = tls.certificateProblem { return refused }
        if connackCode != 0 {
            return .refused(code: Int(connackCode), host: settings.hubHost, device: settings.gateway.text)
        }
        if !isAccepted, mosq_err_t(code) == MOSQ_ERR_TLS || !lastLibraryError.isEmpty {
            return .tlsFailed(
                host: settings.hubHost, detail: lastLibraryError.isEmpty ? text(of: code) : lastLibraryError)
        }
        if mosq_err_t(code) == MOSQ_ERR_KEEPALIVE { return .silent(host: settings.hubHost) }
        return .lost(detail: lastLibraryError.isEmpty ? text(of: code) : lastLibraryError)
    }

    private func text(of code: Int32) -> String { String(cString: mosquitto_strerror(code)) }

    // MARK: Callbacks: they copy and note, and decide nothing.

    private func setCallbacks() {
        mosquitto_connect_callback_set(client) { _, object, code in
            guard let transport = MosquittoTransport.from(object) else { return }
            transport.connackCode = code
            transport.isAccepted = code == 0
            if code == 0 { transport.events.append(.accepted) }
        }
        mosquitto_publish_callback_set(client) { _, object, identifier in
            MosquittoTransport.from(object)?.events.append(.acknowledged(identifier))
        }
        mosquitto_subscribe_callback_set(client) { _, object, _, count, granted in
            guard let granted else { return }
            let codes = Array(UnsafeBufferPointer(start: granted, count: Int(count)))
            MosquittoTransport.from(object)?.events.append(.subscribed(codes))
        }
        mosquitto_message_callback_set(client) { _, object, message in
            guard let message = message?.pointee, let topic = message.topic else { return }
            let count = min(Int(message.payloadlen), MosquittoTransport.payloadBytesMax)
            let payload = message.payload.map { Array(UnsafeRawBufferPointer(start: $0, count: count)) } ?? []
            MosquittoTransport.from(object)?.events.append(
                .message(topic: String(cString: topic), payload: payload, isAtLeastOnce: message.qos > 0))
        }
        mosquitto_log_callback_set(client) { _, object, level, text in
            // Debug lines name packets; only errors are kept, and of those only the reason at the end.
            guard level & MOSQ_LOG_ERR != 0, let text, let transport = MosquittoTransport.from(object) else { return }
            let line = String(cString: text)
            let reason = line.split(separator: ":").last.map(String.init) ?? line
            transport.lastLibraryError = String(reason.prefix(200))
        }
    }

    private static func from(_ object: UnsafeMutableRawPointer?) -> MosquittoTransport? {
        object.map { Unmanaged<MosquittoTransport>.fromOpaque($0).takeUnretainedValue() }
    }
}

/// User name and password of one CONNECT.
struct Login {
    let userName: String
    /// `nil` with a client certificate.
    let password: String?
}
