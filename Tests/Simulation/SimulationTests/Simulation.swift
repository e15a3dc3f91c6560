import Glibc
import EventLog
import Primitives
import SimulatedDisk
import SimulationHub
import SimulationWorld

@_silgen_name("simulated_gateways_register")
private func registerGateways()

/// One run: gateways, network and hub as the seed has them; trouble for some minutes; then everything heals and all that
/// was accepted has to arrive.
final class Simulation: @unchecked Sendable {
    struct Outcome {
        let seed: UInt64
        let violations: [String]
        let hash: UInt64
        let coverage: [String: Int]
        let accepted: Int
    }

    private let world: World
    private let hub: SimHub
    private let gateways: [any GatewaySide]
    private let folder: String

    private init?(seed: UInt64, below root: String, isLoud: Bool) {
        simulated_disk_install()
        registerGateways()
        world = World(seed: seed)
        world.isLoud = isLoud
        folder = "\(root)/\(seed)"
        mkdir(folder, 0o700)
        mkdir(folder + "/hub", 0o700)
        let names = (1...(world.chance(70) ? 1 : 2)).compactMap { DeviceID("gateway-\($0)") }
        var children: [DeviceID: DeviceID] = [:]
        var sensors: [[DeviceID]] = []
        for name in names {
            let own = (1...3).compactMap { DeviceID("\(name)-sensor-\($0)") }
            for sensor in own { children[sensor] = name }
            sensors.append(own)
        }
        let hub = SimHub(world, folder: folder + "/hub", children: children)
        self.hub = hub
        var gateways: [any GatewaySide] = []
        for (name, own) in zip(names, sensors) {
            let place = "\(folder)/\(name)"
            mkdir(place, 0o700)
            let order = GatewayOrder(
                name: name, sensors: own, folder: place, hub: hub, key: SimHub.key, traits: Self.traits(world))
            guard let gateway = GatewayFactory.make?(world, order) else { return nil }
            gateways.append(gateway)
        }
        self.gateways = gateways
        hub.onStarted = { [unowned self] in checkHub() }
    }

    private static func traits(_ world: World) -> GatewayTraits {
        var traits = GatewayTraits()
        if world.chance(25) {
            traits.quotaBytes = 64 * 1024 + world.number(0...4) * 16 * 1024
            traits.readingsMax = 60
        }
        if world.chance(40) { traits.timeToLive = .seconds(world.number(5...120)) }
        traits.hasClockChip = world.chance(60)
        traits.isDisciplined = world.chance(50)
        traits.isNew = !traits.isDisciplined && world.chance(30)
        return traits
    }

    static func run(seed: UInt64, below root: String, isLoud: Bool = false) -> Outcome {
        guard let simulation = Simulation(seed: seed, below: root, isLoud: isLoud) else {
            preconditionFailure("a simulation can always be made")
        }
        return simulation.run()
    }

    private func run() -> Outcome {
        hub.start()
        for gateway in gateways { gateway.start() }
        let trouble = Trouble(world, hub, gateways)
        let end = Int64(world.number(40...240)) * 1_000_000_000
        trouble.plan(until: end)
        world.run(until: end)
        heal()
        world.run(until: end + 4 * 3_600_000_000_000) { self.isSettled }
        if world.violations.isEmpty { finish() }
        return outcome()
    }

    /// Nothing stands in the way any more.
    private func heal() {
        world.note("world", "heals")
        for disk in [hub.disk] + gateways.map(\.disk) {
            simulated_disk_limit(disk, -1)
            simulated_disk_fail_syncs(disk, 0)
            simulated_disk_fail_writes(disk, 0)
            simulated_disk_cut_after(disk, 0)
        }
        hub.restorePower()
        hub.start()
        for gateway in gateways {
            gateway.isQuiet = true
            gateway.network.partitionedUntil = 0
            gateway.restorePower()
            gateway.start()
        }
    }

    private var isSettled: Bool {
        hub.isUp && hub.gaps.isEmpty && gateways.allSatisfy { $0.isEmpty == true }
    }

    private func checkHub() {
        guard let log = hub.log else { return }
        for gateway in gateways { gateway.check(afterStartOf: log) }
    }

    private func finish() {
        guard let log = hub.log, isSettled else {
            for gateway in gateways {
                world.violated(
                    "\(gateway.name) has not delivered everything after hours: \(gateway.summary), gaps \(hub.gaps)")
            }
            return
        }
        for gateway in gateways { gateway.check(atEndOf: log) }
        world.count(.recordsRepeated, hub.repeatsDropped)
    }

    private func outcome() -> Outcome {
        for disk in [hub.disk] + gateways.map(\.disk) {
            let counts = simulated_disk_report(disk)
            world.note("disk", "has seen", counts.trace, counts.writes, counts.syncs)
            world.count(.writeTorn, Int(counts.torn))
            world.count(.writeLost, Int(counts.lost))
        }
        let outcome = Outcome(
            seed: world.seed, violations: world.violations, hash: world.hash, coverage: world.coverage,
            accepted: gateways.reduce(0) { $0 + $1.acceptedCount })
        for gateway in gateways { gateway.kill() }
        hub.kill()
        world.end()
        for disk in [hub.disk] + gateways.map(\.disk) { simulated_disk_free(disk) }
        removeFolder()
        return outcome
    }

    private func removeFolder() {
        for place in ["hub"] + gateways.map(\.name.text) {
            for name in ["log.sqlite", "outbox.sqlite"] {
                for end in ["", "-wal", "-shm", "-journal", ".lock", ".reserve"] {
                    unlink("\(folder)/\(place)/\(name)\(end)")
                }
            }
            rmdir("\(folder)/\(place)")
        }
        rmdir(folder)
    }
}
