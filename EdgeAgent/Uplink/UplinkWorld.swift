internal import Connectivity
internal import DriverRuntime
internal import HubTransport
internal import MQTTClient
internal import Primitives

/// The clock, the waiting and the network of an uplink: the system's, or those of a simulation.
protocol UplinkWorld: AnyObject {
    var now: MonotonicInstant { get }

    /// Waits for a ring, at most until `deadline`, and clears it.
    func wait(for wake: WakeSignal, until deadline: MonotonicInstant)

    /// Begins a connection. Does not block; see `HubLink`.
    func connect(
        to endpoint: HubEndpoint, login: ClientLogin, certificateTime: Int64, wake: WakeSignal
    ) throws(LinkFailure) -> any HubConnection
}

/// One connection to the hub, as the loop drives it; `HubLink` documents what it does.
protocol HubConnection: AnyObject {
    var isAccepted: Bool { get }
    var hasRoom: Bool { get }
    var date: HubDate? { get }
    var statistics: LinkStatistics? { get }
    var wireBytes: WireBytes? { get }
    var certificateEnd: Int64? { get }
    var overdueProblem: LinkProblem { get }
    func wait(until deadline: MonotonicInstant)
    func read(now: MonotonicInstant) throws(LinkFailure) -> [ClientEvent]
    func write(now: MonotonicInstant) throws(LinkFailure)
    func publish(_ topic: String, _ payload: [UInt8], now: MonotonicInstant) -> PublishID?
    func subscribe(_ filters: [String], now: MonotonicInstant)
    func acknowledge(_ ticket: ClientMessage.Ticket, now: MonotonicInstant)
    func disconnect(now: MonotonicInstant)
}

extension HubLink: HubConnection {}

/// The system's. Made on the thread that drives the connections.
final class SystemWorld: UplinkWorld {
    /// Keeps TLS settings and session from one connection to the next.
    private let hub: HubTransport

    init(_ endpoint: HubEndpoint) { hub = HubTransport(endpoint) }

    var now: MonotonicInstant { SystemTime.monotonic }

    func wait(for wake: WakeSignal, until deadline: MonotonicInstant) { wake.wait(until: deadline) }

    func connect(
        to endpoint: HubEndpoint, login: ClientLogin, certificateTime: Int64, wake: WakeSignal
    ) throws(LinkFailure) -> any HubConnection {
        var transport = hub
        if case .date = endpoint.inner { transport = HubTransport(endpoint) }
        return try HubLink(transport, login: login, certificateTime: certificateTime, wake: wake, now: now)
    }
}
