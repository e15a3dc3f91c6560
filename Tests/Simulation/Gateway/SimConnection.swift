import Connectivity
import DriverRuntime
import MQTTClient
import Primitives
import SimulationWorld

@testable import HubTransport
@testable import Uplink

/// The gateway's end: the real session, on a network that is not.
final class SimConnection: HubConnection, ClientEnd, @unchecked Sendable {
    private let host: String
    private let wake: () -> Void
    private var session: ClientSession
    private var arrived: [[UInt8]] = []
    private var ending: Ending?
    private var isConnected = false
    private var hasStarted = false
    private var wasAccepted = false
    private var wire: Wire?
    /// The machine has no power: nobody is told.
    var isSilent: () -> Bool

    init(host: String, login: ClientLogin, isSilent: @escaping () -> Bool, wake: @escaping () -> Void) {
        self.host = host
        self.wake = wake
        self.isSilent = isSilent
        session = ClientSession(login)
    }

    deinit { wire?.clientClosed(isSilent: isSilent()) }

    func open(on network: SimNetwork) { wire = network.open(self) }

    // From the network.

    func isUp() {
        isConnected = true
        wake()
    }

    func receive(_ bytes: [UInt8]) {
        arrived.append(bytes)
        wake()
    }

    func ended(_ ending: Ending) {
        self.ending = self.ending ?? ending
        wake()
    }

    // For the uplink.

    var isAccepted: Bool { session.isAccepted }
    var hasRoom: Bool { session.canPublish && session.output.count < 256 * 1024 }
    var date: HubDate? { nil }
    var statistics: LinkStatistics? { nil }
    var wireBytes: WireBytes? { nil }
    var certificateEnd: Int64? { nil }
    var overdueProblem: LinkProblem {
        isConnected ? .silent(host: host) : .unreachable(host: host, port: 8883, detail: "timed out")
    }

    func wait(until deadline: MonotonicInstant) {}

    func read(now: MonotonicInstant) throws(LinkFailure) -> [ClientEvent] {
        if isConnected, !hasStarted {
            hasStarted = true
            session.started(now: now)
        }
        var events: [ClientEvent] = []
        let pieces = arrived
        arrived = []
        for piece in pieces {
            let result = piece.withUnsafeBytes { bytes in
                Result { () throws(ClientError) in try session.received(bytes, now: now) }
            }
            switch result {
            case .success(let more): events += more
            case .failure(let error):
                if case .refused = error { wire?.network.world.count(.connectRefused) }
                throw LinkFailure(problem(of: error))
            }
        }
        wasAccepted = wasAccepted || session.isAccepted
        // What was in the socket's buffer is read before its end.
        if events.isEmpty, let ending { throw LinkFailure(problem(of: ending)) }
        if ending != nil { wake() }
        return events
    }

    func write(now: MonotonicInstant) throws(LinkFailure) {
        do throws(ClientError) {
            if hasStarted { try session.timerFired(now: now) }
        } catch {
            throw LinkFailure(problem(of: error))
        }
        let bytes = session.output.withBytes { Array($0) }
        guard isConnected, !bytes.isEmpty else { return }
        session.output.removeFirst(bytes.count)
        wire?.up(bytes)
    }

    func publish(_ topic: String, _ payload: [UInt8], now: MonotonicInstant) -> PublishID? {
        session.publish(topic, payload, now: now)
    }

    func subscribe(_ filters: [String], now: MonotonicInstant) { session.subscribe(filters, now: now) }
    func acknowledge(_ ticket: ClientMessage.Ticket, now: MonotonicInstant) {
        session.acknowledge(ticket, now: now)
    }

    func disconnect(now: MonotonicInstant) {
        guard session.isAccepted else { return }
        session.disconnect()
        try? write(now: now)
    }

    private func problem(of error: ClientError) -> LinkProblem {
        switch error {
        case .refused(let code): .refused(code: Int(code), host: host, device: session.clientID)
        case .silent: .silent(host: host)
        case .malformed(let what): .lost(detail: "the hub sent \(what)")
        case .tooManyUnacknowledged: .lost(detail: "the hub sent too much")
        }
    }

    private func problem(of ending: Ending) -> LinkProblem {
        switch ending {
        case .refused: .connectionRefused(host: host, port: 8883)
        case .reset: .lost(detail: "connection reset by peer")
        case .closed: .lost(detail: "the hub closed the connection")
        }
    }
}

/// The question for the date, answered by the hub's web server.
final class SimDateQuestion: HubConnection, @unchecked Sendable {
    var date: HubDate?
    private var problem: LinkProblem?
    var isAccepted: Bool { false }
    var hasRoom: Bool { false }
    var statistics: LinkStatistics? { nil }
    var wireBytes: WireBytes? { nil }
    var certificateEnd: Int64? { nil }
    var overdueProblem: LinkProblem { .silent(host: "hub.example") }

    init(_ network: SimNetwork, clock: @escaping () -> MonotonicInstant, wake: @escaping () -> Void) {
        let (world, asked) = (network.world, clock())
        world.at(network.arrival()) { [weak self] in
            guard network.hub.isUp else {
                if network.hub.isPowered { self?.problem = .connectionRefused(host: "hub.example", port: 443) }
                return wake()
            }
            let second = WallInstant(milliseconds: network.hub.wall.unixSeconds * 1000)
            world.at(network.arrival()) {
                self?.date = HubDate(after: second, asked: asked, heard: clock())
                wake()
            }
        }
    }

    func wait(until deadline: MonotonicInstant) {}
    func read(now: MonotonicInstant) throws(LinkFailure) -> [ClientEvent] {
        if let problem { throw LinkFailure(problem) }
        return []
    }
    func write(now: MonotonicInstant) throws(LinkFailure) {}
    func publish(_ topic: String, _ payload: [UInt8], now: MonotonicInstant) -> PublishID? { nil }
    func subscribe(_ filters: [String], now: MonotonicInstant) {}
    func acknowledge(_ ticket: ClientMessage.Ticket, now: MonotonicInstant) {}
    func disconnect(now: MonotonicInstant) {}
}
