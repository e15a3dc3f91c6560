internal import Connectivity
public import DriverRuntime
internal import MQTTClient
public import Primitives
internal import Tunnels

/// Why a document did not come.
public enum DocumentFailure: Error, Sendable, Equatable {
    /// The way to the server, or the server itself: trying again can help.
    case unreachable(String)
    /// The server answered with another status than 200. Redirections are not followed.
    case status(Int)
    /// What came is no document that could be used.
    case unusable(String)
    case stopped
}

extension HubLink {
    /// Fetches one document, on the calling thread.
    ///
    /// - Parameters:
    ///   - endpoint: with `inner` `.document` and its request.
    ///   - certificateTime: as for a link.
    ///   - wake: rung to have `isStopped` looked at; the calling thread's own.
    ///   - deadline: for everything together: name, connection, handshake and document.
    ///   - spent: told what it has cost of the network, in both directions and with headers, whatever came of it.
    public static func fetch(
        _ endpoint: HubEndpoint, certificateTime: Int64?, wake: WakeSignal, deadline: MonotonicInstant,
        spent: (UInt64) -> Void, isStopped: () -> Bool
    ) throws(DocumentFailure) -> [UInt8] {
        let outcome: Result<[UInt8], DocumentFailure>
        do throws(LinkFailure) {
            let link = try HubLink(
                HubTransport(endpoint), login: .nobody, certificateTime: certificateTime, wake: wake,
                now: SystemTime.monotonic)
            defer { if let bytes = link.wireBytes { spent(bytes.total) } }
            outcome = try link.drive(until: deadline, isStopped)
        } catch {
            throw .unreachable(error.problem.operatorText)
        }
        return try outcome.get()
    }

    private func drive(
        until deadline: MonotonicInstant, _ isStopped: () -> Bool
    ) throws(LinkFailure) -> Result<[UInt8], DocumentFailure> {
        while !isStopped() {
            wait(until: deadline)
            _ = try read(now: SystemTime.monotonic)
            if let documentProblem { return .failure(documentProblem) }
            if let body = document?.body { return .success(body) }
            try write(now: SystemTime.monotonic)
            guard SystemTime.monotonic < deadline else { throw LinkFailure(overdueProblem) }
        }
        return .failure(.stopped)
    }

    func takeDocument(_ piece: UnsafeRawBufferPointer) {
        guard documentProblem == nil else { return }
        do throws(TunnelError) { try document?.received(piece) } catch { documentProblem = DocumentFailure(error) }
    }

    /// The connection is over. What the network cut off may come whole the next time.
    func endDocument(_ reason: TLSFailure) {
        guard documentProblem == nil else { return }
        // Only a goodbye in proper form ends a document that does not say how long it is.
        if case .closed = reason { try? document?.ended() }
        guard document?.body == nil else { return }
        documentProblem = .unreachable("\(endpoint.host): the connection ended before the document was whole")
    }
}

extension DocumentFailure {
    fileprivate init(_ problem: TunnelError) {
        switch problem {
        case .refused(let status): self = .status(status)
        case .malformed(let detail): self = .unusable(detail)
        case .closed(let code): self = .unusable("a WebSocket that was closed with \(code)")
        }
    }
}

extension ClientLogin {
    /// For a connection that never speaks MQTT.
    fileprivate static var nobody: ClientLogin {
        guard let login = ClientLogin(clientID: "", userName: "", password: nil, keepAliveSeconds: 60) else {
            preconditionFailure("an empty name fits")
        }
        return login
    }
}
