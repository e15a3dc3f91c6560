package import Primitives

/// The hub, seen from the network.
package protocol HubSide: AnyObject {
    /// The process runs.
    var isUp: Bool { get }
    /// The machine does.
    var isPowered: Bool { get }
    /// The power has gone from its disk, though the process may not have noticed yet.
    var isDiskCut: Bool { get }
    var wall: WallInstant { get }
    func accept(_ wire: Wire) -> (any ServerEnd)?
}

package protocol ServerEnd: AnyObject {
    func receive(_ bytes: [UInt8])
    func peerClosed()
}

/// How a connection ends for the gateway.
package enum Ending: Sendable { case refused, reset, closed }

package protocol ClientEnd: AnyObject {
    func isUp()
    func receive(_ bytes: [UInt8])
    func ended(_ ending: Ending)
}

/// The network between one gateway and the hub.
package final class SimNetwork: @unchecked Sendable {
    package let world: World
    package let hub: any HubSide
    /// Of a packet in one direction.
    let latency: ClosedRange<Int>
    let lossPercent: Int
    /// In each direction; `nil` for as many as there are.
    let bytesPerSecond: Int?
    /// Nothing passes before.
    package var partitionedUntil: Int64 = 0
    private var wires: [Wire] = []

    package init(_ world: World, _ hub: any HubSide) {
        self.world = world
        self.hub = hub
        latency = 1...world.number(5...150)
        lossPercent = world.chance(50) ? world.number(1...20) : 0
        bytesPerSecond = world.chance(40) ? world.number(1000...8000) : nil
        world.note("network", "bytes a second, loss in percent", UInt64(bytesPerSecond ?? 0), UInt64(lossPercent))
    }

    /// When what is sent now arrives: TCP sends again what is lost.
    package func arrival(bytes: Int = 0) -> Int64 {
        var delay = world.milliseconds(latency)
        if let bytesPerSecond { delay += .milliseconds(bytes * 1000 / bytesPerSecond) }
        var timeout = Duration.milliseconds(200)
        while lossPercent > 0, world.chance(lossPercent), timeout < .seconds(20) {
            world.count(.packetLost)
            delay += timeout
            timeout *= 2
        }
        guard partitionedUntil > world.now else { return world.now + delay.nanosecondsClamped }
        return partitionedUntil + delay.nanosecondsClamped + Int64(world.number(0...2000)) * 1_000_000
    }

    /// Behind what was sent before on the same connection.
    func arrival(after last: Int64, bytes: Int) -> Int64 {
        let alone = arrival(bytes: bytes)
        guard let bytesPerSecond else { return max(last, alone) }
        return max(last + Int64(bytes) * 1_000_000_000 / Int64(bytesPerSecond), alone)
    }

    package func open(_ connection: any ClientEnd) -> Wire {
        let wire = Wire(self)
        wire.client = connection
        wires.append(wire)
        wires.removeAll { $0.isOver }
        world.at(arrival()) { wire.reachedHub() }
        return wire
    }

    /// The open connections end for both sides, or for one of them that the other hears nothing of.
    package func breakConnections(isHalf: Bool) {
        for wire in wires where !wire.isOver { wire.breakDown(isHalf ? (world.chance(50) ? .client : .hub) : nil) }
    }
}

/// One TCP connection.
package final class Wire: @unchecked Sendable {
    package enum End { case client, hub }

    package let network: SimNetwork
    weak var client: (any ClientEnd)?
    private(set) var server: (any ServerEnd)?
    private(set) var isOver = false
    private var upArrival: Int64 = 0
    private var downArrival: Int64 = 0

    init(_ network: SimNetwork) { self.network = network }

    private var world: World { network.world }

    /// SYN.
    func reachedHub() {
        guard !isOver else { return }
        guard network.hub.isUp else {
            // A machine that is off says nothing; one without the hub on it refuses.
            if network.hub.isPowered { world.at(network.arrival()) { self.client?.ended(.refused) } }
            return
        }
        server = network.hub.accept(self)
        world.at(network.arrival()) { self.client?.isUp() }
    }

    package func up(_ bytes: [UInt8]) {
        upArrival = network.arrival(after: upArrival, bytes: bytes.count)
        world.at(upArrival) {
            guard !self.isOver else { return }
            if let server = self.server {
                server.receive(bytes)
            } else if self.network.hub.isUp {
                // Whoever was there before has forgotten this connection.
                self.world.at(self.network.arrival()) { self.client?.ended(.reset) }
            }
        }
    }

    package func down(_ bytes: [UInt8]) {
        downArrival = network.arrival(after: downArrival, bytes: bytes.count)
        world.at(downArrival) { if !self.isOver { self.client?.receive(bytes) } }
    }

    /// The gateway's process let go of it.
    package func clientClosed(isSilent: Bool) {
        client = nil
        guard !isSilent else { return }
        upArrival = max(upArrival, network.arrival())
        world.at(upArrival) {
            self.server?.peerClosed()
            self.isOver = true
        }
    }

    /// The hub closed it, or is gone.
    package func serverClosed(isSilent: Bool) {
        server = nil
        guard !isSilent else { return }
        downArrival = max(downArrival, network.arrival())
        world.at(downArrival) { self.client?.ended(.closed) }
    }

    func breakDown(_ only: End?) {
        if only != .client { server?.peerClosed() }
        if only != .hub { client?.ended(.reset) }
        if only == nil { isOver = true }
    }
}
