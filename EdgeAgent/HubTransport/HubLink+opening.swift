internal import Connectivity
internal import DriverRuntime
internal import Glibc
internal import MQTTClient
internal import Primitives
internal import Tunnels

/// The way up: name, TCP, proxy, TLS, WebSocket, CONNECT.
extension HubLink {
    func lookUp(now: MonotonicInstant) throws(LinkFailure) {
        guard let addresses = transport.resolver.take() else { return }
        guard !addresses.isEmpty else { throw LinkFailure(overdueProblem) }
        let port = endpoint.proxy?.port ?? endpoint.port
        let dial = TCPDial(addresses, port: port, until: dialDeadline, now: now)
        try proceed(dial, isReady: false, now: now)
    }

    func proceed(_ before: TCPDial, isReady: Bool, now: MonotonicInstant) throws(LinkFailure) {
        var dial = before
        switch dial.advance(isReady: isReady, now: now) {
        case .waiting: phase = .dialling(dial)
        case .failed(let error): throw LinkFailure(unreachable(error))
        case .stands(let socket):
            guard let proxy = endpoint.proxy else { return try beginTLS(socket, now: now) }
            let request = ProxyTunnel.request(host: endpoint.host, port: endpoint.port, login: proxy.login)
            // A socket that was just connected takes these few bytes at once.
            guard send(socket.descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
                throw LinkFailure(.proxyFailed(proxy: proxy.name, detail: systemText(errno)))
            }
            phase = .tunnelling(socket)
        }
    }

    func tunnel(_ socket: SocketHandle) throws(LinkFailure) {
        guard let proxy = endpoint.proxy else { return }
        var piece = [UInt8](repeating: 0, count: 1024)
        // Nothing follows the proxy's answer before we speak, so all of it is the answer.
        let count = recv(socket.descriptor, &piece, piece.count, 0)
        if count < 0, errno == EAGAIN { return }
        guard count > 0 else {
            let reason = count == 0 ? "it closed the connection" : systemText(errno)
            throw LinkFailure(.proxyFailed(proxy: proxy.name, detail: reason))
        }
        framesIn.append(contentsOf: Array(piece[..<count]))
        do throws(TunnelError) {
            guard try ProxyTunnel.opened(&framesIn) else { return }
        } catch {
            throw LinkFailure(proxyProblem(of: error, proxy))
        }
        guard framesIn.isEmpty else {
            throw LinkFailure(.proxyFailed(proxy: proxy.name, detail: "it sent more than its answer"))
        }
        try beginTLS(socket, now: SystemTime.monotonic)
    }

    func secure(_ tls: TLSConnection, now: MonotonicInstant) throws(LinkFailure) {
        do throws(TLSFailure) {
            guard try tls.handshake() else { return }
        } catch {
            throw LinkFailure(problem(of: error))
        }
        switch endpoint.inner {
        case .mqtt: opened(tls, now: now)
        case .webSocket(let path):
            let nonce = (0..<16).map { _ in UInt8.random(in: 0...255, using: &random) }
            let upgrade = WebSocketUpgrade(host: endpoint.host, port: endpoint.port, nonce: nonce)
            framesOut.append(contentsOf: upgrade.request(path: path))
            asked = now
            phase = .upgrading(tls, upgrade)
        case .date:
            framesOut.append(contentsOf: DateQuestion.request(host: endpoint.host, port: endpoint.port))
            asked = now
            phase = .asking(tls)
        case .document:
            guard let request = endpoint.request else { preconditionFailure("a document is asked for with a request") }
            framesOut.append(contentsOf: request.bytes)
            document = WebDocument(bytesMax: request.bytesMax)
            phase = .asking(tls)
        }
    }

    /// The head of an answer has arrived: its date is the hub's, because the certificate was checked.
    ///
    /// - Returns: whether it is complete.
    func noteDate(now: MonotonicInstant) throws(TunnelError) -> Bool {
        let read = try framesIn.withBytes { (bytes) throws(TunnelError) in try ResponseHead.read(bytes) }
        guard let (head, _) = read else { return false }
        date = DateQuestion.date(in: head).map { HubDate(after: $0, asked: asked, heard: now) }
        return true
    }

    /// The way for MQTT stands.
    func opened(_ tls: TLSConnection, now: MonotonicInstant) {
        phase = .open(tls)
        session.started(now: now)
    }

    private func beginTLS(_ socket: SocketHandle, now: MonotonicInstant) throws(LinkFailure) {
        let context = try transport.context()
        let tls: TLSConnection
        do throws(TLSFailure) {
            tls = try TLSConnection(context, on: socket, certificateTime: certificateTime)
        } catch {
            throw LinkFailure(problem(of: error))
        }
        phase = .securing(tls)
        try secure(tls, now: now)
    }
}
