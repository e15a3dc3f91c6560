import Primitives
import SimulatedDisk
import SimulationHub
import SimulationWorld

/// What goes wrong, and when.
struct Trouble {
    private let world: World
    private let hub: SimHub
    private let gateways: [any GatewaySide]

    init(_ world: World, _ hub: SimHub, _ gateways: [any GatewaySide]) {
        self.world = world
        self.hub = hub
        self.gateways = gateways
    }

    /// Each seed has some kinds of trouble and not others, so that a kind is also seen alone.
    func plan(until end: Int64) {
        let kinds = all.filter { _ in world.chance(40) }
        guard !kinds.isEmpty else { return }
        var at: Int64 = 1_000_000_000
        let pause = world.number(2...40)
        while true {
            at += Int64(world.number(200...(pause * 1000))) * 1_000_000
            guard at < end else { return }
            let kind = kinds[world.number(0...(kinds.count - 1))]
            world.at(at) { kind() }
        }
    }

    private var gateway: any GatewaySide { gateways[world.number(0...(gateways.count - 1))] }

    private var all: [() -> Void] {
        [
            breakConnections, halfOpen, partition, stopHub, killHub, cutHub, cutHubInCommit, fillHub, failHubSyncs,
            failHubWrites, stopGateway, killGateway, cutGateway, cutGatewayInCommit, fillGateway, failGatewaySyncs,
            failGatewayWrites, jump, synchronise,
        ]
    }

    private func breakConnections() {
        world.count(.connectionBroken)
        gateway.network.breakConnections(isHalf: false)
    }

    private func halfOpen() {
        world.count(.connectionHalfOpen)
        gateway.network.breakConnections(isHalf: true)
    }

    private func partition() {
        world.count(.partitioned)
        gateway.network.partitionedUntil = world.now + world.milliseconds(500...90_000).nanosecondsClamped
    }

    private func stopHub() {
        guard hub.isUp else { return }
        world.count(.hubStopped)
        hub.stop()
        world.after(world.milliseconds(100...20_000)) { hub.start() }
    }

    private func killHub() {
        guard hub.isUp else { return }
        world.count(.hubKilled)
        hub.kill()
        world.after(world.milliseconds(100...20_000)) { hub.start() }
    }

    private func cutHub() {
        guard hub.isPowered else { return }
        world.count(.hubPowerCut)
        hub.cutPower()
        world.after(world.milliseconds(500...20_000)) { hub.restorePower() }
    }

    private func cutHubInCommit() { simulated_disk_cut_after(hub.disk, Int32(world.number(1...12))) }

    private func fillHub() {
        world.count(.hubDiskFull)
        fill(hub.disk)
    }

    private func fill(_ disk: Int32) {
        simulated_disk_limit(disk, simulated_disk_used(disk) + Int64(world.number(0...64)) * 1024)
        world.after(world.milliseconds(1000...40_000)) { simulated_disk_limit(disk, -1) }
    }

    private func failHubSyncs() {
        world.count(.hubSyncFailed)
        simulated_disk_fail_syncs(hub.disk, Int32(world.number(1...3)))
    }

    private func failHubWrites() {
        world.count(.hubWriteFailed)
        simulated_disk_fail_writes(hub.disk, Int32(world.number(1...3)))
    }

    private func stopGateway() {
        let gateway = gateway
        guard gateway.isUp else { return }
        world.count(.gatewayStopped)
        gateway.stop()
        world.after(world.milliseconds(100...20_000)) { gateway.start() }
    }

    private func killGateway() {
        let gateway = gateway
        guard gateway.isUp else { return }
        world.count(.gatewayKilled)
        gateway.kill()
        world.after(world.milliseconds(100...20_000)) { gateway.start() }
    }

    private func cutGateway() {
        let gateway = gateway
        guard gateway.isPowered else { return }
        world.count(.gatewayPowerCut)
        gateway.cutPower()
        world.after(world.milliseconds(500...20_000)) { gateway.restorePower() }
    }

    private func cutGatewayInCommit() { simulated_disk_cut_after(gateway.disk, Int32(world.number(1...12))) }

    private func fillGateway() {
        world.count(.gatewayDiskFull)
        fill(gateway.disk)
    }

    private func failGatewaySyncs() {
        world.count(.gatewaySyncFailed)
        simulated_disk_fail_syncs(gateway.disk, Int32(world.number(1...3)))
    }

    private func failGatewayWrites() {
        world.count(.gatewayWriteFailed)
        simulated_disk_fail_writes(gateway.disk, Int32(world.number(1...3)))
    }

    private func jump() {
        world.count(.clockJumped)
        let jumps: [Int64] = [-3600, 3600, -86_400 * 365, 86_400 * 30, 30, -30]
        gateway.jump(by: .seconds(jumps[world.number(0...(jumps.count - 1))]))
    }

    private func synchronise() {
        world.count(.clockSynchronised)
        gateway.synchroniseClock()
    }
}
