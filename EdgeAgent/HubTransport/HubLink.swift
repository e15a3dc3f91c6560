internal import COpenSSL
public import Connectivity
public import DriverRuntime
internal import Glibc
public import MQTTClient
public import Primitives
internal import Tunnels

/// One MQTT connection to the hub, driven by one thread that never blocks but in `wait`.
///
///     lookingUp ─► dialling ─► [tunnelling] ─► securing ─► [upgrading] ─► open
///                                                 └─► asking (for the date alone)
///        any of them ── throws ──► over
///
/// One turn is `wait`, `read`, whatever the events ask for, `write`. Made for one connection and thrown away with it.
public final class HubLink {
    enum Phase {
        case lookingUp
        case dialling(TCPDial)
        /// The proxy's answer is awaited.
        case tunnelling(SocketHandle)
        case securing(TLSConnection)
        /// The WebSocket's answer is awaited.
        case upgrading(TLSConnection, WebSocketUpgrade)
        /// The date or a document is awaited; there is no way on.
        case asking(TLSConnection)
        case open(TLSConnection)
    }

    /// Pieces that are read in one turn: others want to be served too.
    private static let piecesMax = 16
    /// Nothing new is published while more than this waits for the socket.
    private static let waitingBytesMax = 256 * 1024

    let transport: HubTransport
    let endpoint: HubEndpoint
    let certificateTime: Int64?
    var phase = Phase.lookingUp
    var session: ClientSession
    var frames = WebSocketFrames()
    /// With a WebSocket: frames that wait for the socket, and what arrived of frames.
    var framesOut = ByteQueue()
    var framesIn = ByteQueue()
    var random = SystemRandomNumberGenerator()
    /// What the hub's web server said about the time, where one was asked.
    public internal(set) var date: HubDate?
    /// What came of the document that was asked for.
    var document: WebDocument?
    /// Why it did not come.
    var documentProblem: DocumentFailure?
    var asked = MonotonicInstant(nanoseconds: 0)
    /// CONNACK 0 has come on this connection.
    private(set) var wasAccepted = false
    private var isReady = false
    private var mayHaveMore = false
    private var events: [ClientEvent] = []
    private let wake: WakeSignal
    let dialDeadline: MonotonicInstant

    /// Begins to look the hub's name up. Does not block.
    ///
    /// - Parameters:
    ///   - certificateTime: what the certificate check takes for the present, in seconds since 1970; `nil` for the
    ///     system's clock.
    ///   - wake: rung when the name is known; the same that `wait` is given.
    public init(
        _ transport: HubTransport, login: ClientLogin, certificateTime: Int64?, wake: WakeSignal, now: MonotonicInstant
    ) throws(LinkFailure) {
        self.transport = transport
        endpoint = transport.endpoint
        self.certificateTime = certificateTime
        self.wake = wake
        session = ClientSession(login)
        dialDeadline = now + endpoint.connectTimeMax
        // What is wrong with our own files is told before anybody is called.
        _ = try transport.context()
        guard transport.resolver.begin(endpoint.proxy?.host ?? endpoint.host, wake: wake) else {
            throw LinkFailure(.unreachable(host: endpoint.host, port: endpoint.port, detail: systemText(EAGAIN)))
        }
    }

    public var isAccepted: Bool { session.isAccepted }

    /// Whether something new may be published: there is a place, and what was published before is on its way.
    public var hasRoom: Bool {
        session.canPublish && session.output.count + framesOut.count <= Self.waitingBytesMax
    }

    /// How it came up; `nil` without TLS.
    public var statistics: LinkStatistics? {
        tls.map { LinkStatistics(isResumed: $0.isResumed, bytesSent: $0.bytesSent, bytesReceived: $0.bytesReceived) }
    }

    /// When the hub's certificate ends, in seconds since 1970; `nil` before it was shown.
    public var certificateEnd: Int64? { tls.flatMap(\.certificateEnd) }

    /// What crossed the network so far; `nil` before TLS begins.
    public var wireBytes: WireBytes? { tls.flatMap { WireBytes(socket: $0.descriptor) } }

    /// What to report when the whole attempt took too long.
    public var overdueProblem: LinkProblem {
        switch phase {
        case .lookingUp:
            endpoint.proxy.map { .proxyFailed(proxy: $0.name, detail: "its name cannot be resolved") }
                ?? .nameNotResolved(host: endpoint.host)
        case .dialling: unreachable(ETIMEDOUT)
        case .tunnelling: .proxyFailed(proxy: endpoint.proxy?.name ?? "", detail: "it does not answer")
        case .securing, .upgrading, .asking, .open: .silent(host: endpoint.host)
        }
    }

    // MARK: One turn

    /// Waits for the socket or the wake signal, at most until `deadline` or until something of its own is due.
    public func wait(until deadline: MonotonicInstant) {
        let until = min(deadline, ownDeadline ?? deadline)
        var entries = [pollfd(fd: wake.descriptor, events: Int16(POLLIN), revents: 0)]
        if let (descriptor, interest) = interest {
            entries.append(pollfd(fd: descriptor, events: interest, revents: 0))
        }
        poll(&entries, nfds_t(entries.count), mayHaveMore ? 0 : SystemTime.pollMilliseconds(until: until))
        if entries[0].revents != 0 { wake.clear() }
        isReady = entries.count > 1 && entries[1].revents != 0
    }

    /// Goes on as far as it can without waiting, and returns what the hub did.
    public func read(now: MonotonicInstant) throws(LinkFailure) -> [ClientEvent] {
        do throws(LinkFailure) {
            try advance(now: now)
        } catch {
            if !wasAccepted { transport.attemptFailed() }
            throw error
        }
        defer { events = [] }
        return events
    }

    private func advance(now: MonotonicInstant) throws(LinkFailure) {
        switch phase {
        case .lookingUp: try lookUp(now: now)
        case .dialling(let dial): try proceed(dial, isReady: isReady, now: now)
        case .tunnelling(let socket): if isReady { try tunnel(socket) }
        case .securing(let tls): if isReady { try secure(tls, now: now) }
        case .upgrading, .asking, .open: try receive(now: now)
        }
    }

    /// Writes what is queued, as far as the socket takes it, and keeps the connection alive.
    public func write(now: MonotonicInstant) throws(LinkFailure) {
        do throws(ClientError) {
            try session.timerFired(now: now)
        } catch {
            throw LinkFailure(problem(of: error))
        }
        switch phase {
        case .lookingUp, .dialling, .tunnelling, .securing: return
        case .upgrading(let tls, _), .asking(let tls): try flush(tls, &framesOut)
        case .open(let tls):
            guard case .webSocket = endpoint.inner else { return try flush(tls, &session.output) }
            if framesOut.count < Self.waitingBytesMax {
                frames.wrap(&session.output, mask: random.next(), into: &framesOut)
            }
            try flush(tls, &framesOut)
        }
    }

    /// Queues a message at QoS 1. `nil` when there is no place left for it.
    public func publish(_ topic: String, _ payload: [UInt8], now: MonotonicInstant) -> PublishID? {
        session.publish(topic, payload, now: now)
    }

    /// Asks for QoS 1 on every filter, in one SUBSCRIBE.
    public func subscribe(_ filters: [String], now: MonotonicInstant) { session.subscribe(filters, now: now) }

    /// What a message asked for is dealt with; before that the hub keeps it.
    public func acknowledge(_ ticket: ClientMessage.Ticket, now: MonotonicInstant) {
        session.acknowledge(ticket, now: now)
    }

    /// Says goodbye, as far as the socket takes it at once.
    public func disconnect(now: MonotonicInstant) {
        guard session.isAccepted, let tls else { return }
        session.disconnect()
        try? write(now: now)
        if case .webSocket = endpoint.inner {
            frames.close(mask: random.next(), into: &framesOut)
            try? write(now: now)
        }
        tls.close()
    }

    // MARK: Waiting

    private var ownDeadline: MonotonicInstant? {
        switch phase {
        case .dialling(let dial): dial.attemptDeadline
        case .lookingUp, .tunnelling, .securing, .upgrading, .asking: nil
        case .open: session.deadline
        }
    }

    private var interest: (descriptor: Int32, events: Int16)? {
        switch phase {
        case .lookingUp: nil
        case .dialling(let dial): dial.socket.map { ($0.descriptor, Int16(POLLOUT)) }
        case .tunnelling(let socket): (socket.descriptor, Int16(POLLIN))
        case .securing(let tls), .upgrading(let tls, _), .asking(let tls), .open(let tls):
            (tls.descriptor, Int16(POLLIN) | (tls.wantsWrite ? Int16(POLLOUT) : 0))
        }
    }

    private var tls: TLSConnection? {
        switch phase {
        case .lookingUp, .dialling, .tunnelling: nil
        case .securing(let tls), .upgrading(let tls, _), .asking(let tls), .open(let tls): tls
        }
    }

    // MARK: Bytes

    private func flush(_ tls: TLSConnection, _ bytes: inout ByteQueue) throws(LinkFailure) {
        do throws(TLSFailure) {
            try tls.write(&bytes)
        } catch {
            throw LinkFailure(problem(of: error))
        }
    }

    private func receive(now: MonotonicInstant) throws(LinkFailure) {
        guard isReady || mayHaveMore, let tls else { return }
        mayHaveMore = false
        for _ in 0..<Self.piecesMax {
            let piece: UnsafeRawBufferPointer?
            do throws(TLSFailure) {
                piece = try tls.read()
            } catch {
                if document != nil { return endDocument(error) }
                throw LinkFailure(problem(of: error))
            }
            guard let piece else { return }
            try take(piece, now: now)
            // What a server does after its document is of no interest; many just hang up.
            if documentProblem != nil || document?.body != nil { return }
        }
        mayHaveMore = true
    }

    private func take(_ piece: UnsafeRawBufferPointer, now: MonotonicInstant) throws(LinkFailure) {
        if case .mqtt = endpoint.inner { return try decode(piece, now: now) }
        if case .document = endpoint.inner { return takeDocument(piece) }
        framesIn.append(contentsOf: piece)
        do throws(TunnelError) {
            if case .asking = phase {
                guard try noteDate(now: now), date == nil else { return }
                throw .malformed("the answer has no date")
            }
            if case .upgrading(let tls, let upgrade) = phase {
                // Also of a refusal: a hub that says no still says when.
                _ = try noteDate(now: now)
                guard try upgrade.opened(&framesIn, sha1: SHA1Digest.of) else { return }
                opened(tls, now: now)
            }
            while let data = try frames.next(from: &framesIn, mask: random.next(), answersInto: &framesOut) {
                pending.append(data)
            }
        } catch {
            throw LinkFailure(webSocketProblem(of: error))
        }
        defer { pending = [] }
        for data in pending {
            try data.withUnsafeBufferPointer { (all) throws(LinkFailure) in
                try decode(UnsafeRawBufferPointer(all), now: now)
            }
        }
    }

    /// Data of the piece that is being taken.
    private var pending: [[UInt8]] = []

    private func decode(_ bytes: UnsafeRawBufferPointer, now: MonotonicInstant) throws(LinkFailure) {
        do throws(ClientError) {
            events += try session.received(bytes, now: now)
            wasAccepted = wasAccepted || session.isAccepted
        } catch {
            throw LinkFailure(problem(of: error))
        }
    }
}

enum SHA1Digest {
    /// 20 bytes. WebSocket's handshake asks for it; nothing is kept secret by it.
    static func of(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        SHA1(bytes, bytes.count, &digest)
        return digest
    }
}

extension HubEndpoint.Proxy {
    var name: String { "\(host):\(port)" }
}
