import Connectivity
import DriverRuntime
import EdgeStore
import EventLog
import HubContract
import HubTransport
import JSON
import Logging
import MQTTClient
import Outbox
import Pipeline
import Primitives
import RuleSets
import Rules
import Signals
import SimulatedDisk
import SimulationWorld
import SouthboundAPI
import Telemetry
import Timekeeping

@testable import Uplink

let silent = Logger(label: "simulation", factory: { _ in SwiftLogNoOpLogHandler() })

/// A board with a gateway on it: pipeline, outbox, clock and uplink are the real ones. What stands here is what
/// `AgentCore` and the command router do with their threads.
final class SimGateway: GatewaySide, @unchecked Sendable {
    /// What ends with the process.
    private struct Process {
        let store: WatchedStore
        let clock: GatewayClock
        let mailbox: UplinkMailbox
        let restamper: Restamper
        var pipeline: Pipeline?
        var uplink: UplinkLoop?
        var nextStep: Int64 = .max
    }

    static let earliest = WallInstant(milliseconds: 1_793_491_200_000)

    let world: World
    let name: DeviceID
    let sensors: [DeviceID]
    let network: SimNetwork
    let traits: GatewayTraits
    private let key: [UInt8]
    let ledger: Ledger
    let disk: Int32
    private let folder: String
    private var process: Process?
    private(set) var isPowered = true
    private var runs = 0
    /// The machine's own clocks.
    private var bootedAt: Int64 = 0
    private var boots: UInt8 = 1
    private var wallOffset = Duration.zero
    private var isDisciplined: Bool
    /// Sensors speak until this is set.
    var isQuiet = false
    private var temperatures: [Double]
    private var reportAt: Int64 = 0

    init(_ world: World, _ order: GatewayOrder) {
        let (name, sensors, folder, hub, traits) = (order.name, order.sensors, order.folder, order.hub, order.traits)
        key = order.key
        self.world = world
        self.name = name
        self.sensors = sensors
        self.folder = folder
        self.traits = traits
        network = SimNetwork(world, hub)
        ledger = Ledger(
            world, gateway: name, mayDrop: traits.quotaBytes < 1 << 20, timeToLive: traits.timeToLive,
            isHubCut: { hub.isDiskCut })
        disk = simulated_disk_make(folder, world.random.next())
        isDisciplined = traits.isDisciplined
        temperatures = sensors.map { _ in 20 }
        if traits.isNew { loseClock() }
    }

    var isUp: Bool { process?.pipeline != nil }
    /// Nothing waits, not even a declaration. `nil` while nobody can say.
    var isEmpty: Bool? {
        guard isUp, let status = try? process?.store.status() else { return nil }
        return status.recordCount == 0 && status.undeclaredCount == 0
    }

    var summary: String { String(describing: try? process?.store.status()) }
    var acceptedCount: Int { ledger.acceptedCount }
    func check(afterStartOf log: any EventLog) { ledger.check(afterStartOf: log) }
    func check(atEndOf log: any EventLog) { ledger.check(atEndOf: log) }

    // MARK: Clocks

    private var monotonic: MonotonicInstant { MonotonicInstant(nanoseconds: world.now - bootedAt + 1_000_000_000) }

    private var look: Timekeeper.SystemLook {
        Timekeeper.SystemLook(
            monotonic: monotonic, wall: world.trueTime + wallOffset, isDisciplined: isDisciplined)
    }

    func jump(by duration: Duration) {
        world.note(name.text, "clock jumps", UInt64(bitPattern: duration.components.seconds))
        wallOffset += duration
        isDisciplined = false
    }

    private func loseClock() {
        world.count(.clockLost)
        wallOffset = .milliseconds(-World.startOfTime - world.now / 1_000_000)
    }

    func synchroniseClock() {
        wallOffset = .zero
        isDisciplined = true
    }

    private var storeClock: OutboxClock {
        OutboxClock { [self] in
            let look = self.look
            var (wall, quality) = (look.wall, ClockQuality.unset)
            if let reading = process?.clock.now() {
                (wall, quality) = (reading.time, reading.quality)
            } else if look.wall >= Self.earliest {
                quality = look.isDisciplined ? .synchronised : .guessed
            }
            return KnownElapsed.Clocks(monotonic: look.monotonic, wall: wall, quality: quality, boot: [boots])
        }
    }

    // MARK: Life

    func start() {
        guard process == nil, isPowered else { return }
        let (world, run) = (world, runs + 1)
        runs = run
        do throws(OutboxError) {
            var limits = OutboxLimits(quotaBytes: traits.quotaBytes)
            limits.replayKeep = traits.replayKeep
            let outbox = try SQLiteOutbox(
                path: folder + "/outbox.sqlite", limits: limits, clock: storeClock,
                newEpoch: { world.random.next() })
            let store = WatchedStore(outbox, ledger)
            let status = try outbox.status()
            ledger.opened(epoch: outbox.epoch, next: status.nextSequence)
            guard let mailbox = UplinkMailbox() else { preconditionFailure("no descriptor is left") }
            let memory = ((try? store.kept(ClockMemory.key)) ?? nil).flatMap { ClockMemory($0) }
            let clock = GatewayClock(
                earliest: Self.earliest, lastRun: status.lastWallTime, lowest: memory?.lowest,
                look: { [weak self] in
                    self?.look ?? .init(monotonic: .init(nanoseconds: 0), wall: .never, isDisciplined: false)
                })
            let restamper = Restamper(clock.at(), first: status.nextSequence, boot: "\(boots)", after: memory)
            process = Process(store: store, clock: clock, mailbox: mailbox, restamper: restamper)
            // Before anything is stamped: what is stamped from here on is this run's.
            _ = try? store.keep(clock, restamper)
            world.note(name.text, "started", status.nextSequence, status.recordCount)
            begin(run)
        } catch {
            world.note(name.text, "did not start")
            if checkPower() { return }
            world.after(.seconds(3)) { if run == self.runs { self.start() } }
        }
    }

    /// Takes over what an earlier run kept; tries until the store answers.
    private func begin(_ run: Int) {
        guard run == runs, let process else { return }
        var pipeline = Self.pipeline(epoch: process.store.epoch, timeToLive: traits.timeToLive)
        do throws(OutboxError) {
            let first = try process.store.status().nextSequence
            let output = pipeline.begin(
                restoring: try process.store.kept("pipeline"), at: now(process.clock), firstSequence: first
            ) { _ in true }
            try commit(output, process)
            self.process?.pipeline = pipeline
            startUplink(process)
            tick(run)
            speak(run)
        } catch {
            if checkPower() { return }
            world.after(.seconds(1)) { self.begin(run) }
        }
    }

    private static func pipeline(epoch: Epoch, timeToLive: Duration?) -> Pipeline {
        var pipeline = Pipeline(rules: rules, epoch: epoch, sha1: GatewayCrypto.sha1)
        if timeToLive != nil {
            var fleeting = SignalSettings(metric: "value")
            fleeting.retention = Retention(timeToLive: timeToLive)
            pipeline.signals = Signals(settings: [fleeting])
        }
        return pipeline
    }

    private static let rules: [EdgeRule] = {
        let hot = try? Rule(
            name: "hot", metric: "temperature", condition: .above(30), hysteresis: 2, severity: .critical)
        let quiet = try? Rule(name: "quiet", metric: nil, condition: .silent, holdTime: .seconds(20))
        return [hot, quiet].compactMap { $0.map { EdgeRule(rule: $0) } }
    }()

    private func startUplink(_ process: Process) {
        let settings = UplinkSettings(
            hubHost: "hub.example", gateway: name, credentials: .sharedAccessKey(Secret(key)))
        let surroundings = UplinkLoop.Surroundings(
            store: process.store.forUplink, handler: SimCommands(process.store), clock: process.clock,
            restamper: process.restamper, report: { _ in Array("{}".utf8) }, desired: { _ in },
            logger: silent, mailbox: process.mailbox)
        let uplink = UplinkLoop(settings, surroundings, in: SimWorld(self), seed: world.random.next())
        self.process?.uplink = uplink
        uplink.begin()
        wakeUplink()
    }

    /// Ends the process in an orderly way.
    func stop() {
        guard let process else { return }
        world.note(name.text, "stops")
        if let first = try? process.store.status().nextSequence {
            var pipeline = process.pipeline
            if let output = pipeline?.stop(at: now(process.clock), firstSequence: first) {
                try? commit(output, process)
            }
        }
        process.uplink?.end()
        forget()
    }

    /// What ends looks at the clock once more, so nothing may be in the middle of a change here.
    private func forget() {
        runs += 1
        let gone = process
        process = nil
        withExtendedLifetime(gone) {}
    }

    /// The process ends without a word; what the system has of its files stays.
    func kill() {
        guard process != nil else { return }
        world.note(name.text, "is killed")
        simulated_disk_freeze(disk)
        forget()
        simulated_disk_thaw(disk)
    }

    func cutPower() {
        guard isPowered else { return }
        world.note(name.text, "loses power")
        simulated_disk_cut(disk)
        lostPower()
    }

    private func lostPower() {
        isPowered = false
        forget()
    }

    func restorePower() {
        guard !isPowered else { return }
        isPowered = true
        bootedAt = world.now
        boots &+= 1
        isDisciplined = traits.isDisciplined && world.chance(70)
        if isDisciplined { wallOffset = .zero }
        if !traits.hasClockChip, !isDisciplined { loseClock() }
        if simulated_disk_restore(disk) != 0 { world.violated("a gateway's disk could not be written") }
        start()
    }

    @discardableResult
    private func checkPower() -> Bool {
        guard isPowered else { return true }
        guard simulated_disk_is_cut(disk) != 0 else { return false }
        world.count(.gatewayPowerCutInCommit)
        world.note(name.text, "lost power in the middle")
        lostPower()
        world.after(world.milliseconds(500...20_000)) { self.restorePower() }
        return true
    }

    // MARK: The core

    private func now(_ clock: GatewayClock) -> PipelineTime {
        let (monotonic, wall) = clock.at()
        return PipelineTime(monotonic: monotonic, wall: wall.time, clock: wall.quality)
    }

    private func commit(
        _ output: PipelineOutput, _ process: Process, reporting losses: [SensorLoss] = []
    ) throws(OutboxError) {
        var kept = output.state.map { [KeptState(key: "pipeline", bytes: $0)] } ?? []
        kept += output.signalRows.map { KeptState(key: $0.key, bytes: $0.bytes) }
        let reading = process.clock.now()
        var (records, retentions, reported) = (output.records, output.retentions, [SensorLoss]())
        var next = try process.store.status().nextSequence + UInt64(records.count)
        if retentions.isEmpty, !losses.isEmpty { retentions = records.map { _ in .standard } }
        for loss in losses {
            guard let device = DeviceID(loss.sensor.device), let count = DecimalText("\(loss.count)") else { continue }
            let report = Reading(
                device: device, metric: LossReport.metric(loss), value: .number(count), time: reading.time,
                clock: reading.quality)
            records.append(SequencedRecord(sequence: next, record: .reading(report)))
            retentions.append(Retention(priority: .high))
            reported.append(loss)
            next += 1
        }
        guard !records.isEmpty || !kept.isEmpty else { return }
        _ = try process.store.append(
            OutboxCommit(
                records: records, retentions: retentions, reported: reported, kept: kept, wallTime: reading.time,
                clock: reading.quality))
        if !records.isEmpty { process.mailbox.post { $0.hasNewRecords = true } }
        wakeUplink()
    }

    /// A driver delivers; whether it is acknowledged to the sensor is the ledger's business.
    private func deliver(_ readings: [Reading]) {
        guard let process, var trial = process.pipeline else { return }
        do throws(OutboxError) {
            let first = try process.store.status().nextSequence
            try commit(
                trial.deliveryReceived(
                    readings: readings, health: [], at: now(process.clock), firstSequence: first), process)
            self.process?.pipeline = trial
        } catch {
            world.count(.commitRefused)
            world.note(name.text, "refuses readings")
        }
        checkPower()
    }

    private func speak(_ run: Int) {
        guard run == runs, let process, isUp else { return }
        if !isQuiet {
            let reading = process.clock.now()
            deliver((0..<world.number(1...traits.readingsMax)).compactMap { _ in next(reading) })
        }
        world.after(world.milliseconds(100...2500)) { self.speak(run) }
    }

    /// What a sensor says next: a number that nobody else says, a temperature that wanders, or much text.
    private func next(_ now: Timekeeper.Reading) -> Reading? {
        let index = world.number(0...(sensors.count - 1))
        var reading = Reading(
            device: sensors[index], metric: "temperature", value: .boolean(false), time: now.time, clock: now.quality)
        if traits.readingsMax > 4, world.chance(30) {
            reading.metric = "text"
            reading.value = .text((0..<12).map { _ in String(world.random.next(), radix: 36) }.joined())
            return reading
        }
        temperatures[index] = max(10, min(40, temperatures[index] + Double(world.number(-40...40)) / 10))
        let isNumbered = world.chance(60)
        if isNumbered { reading.metric = "value" }
        guard let text = DecimalText(isNumbered ? Double(ledger.nextValue()) : temperatures[index]) else { return nil }
        reading.value = .number(text)
        return reading
    }

    private func speakUp(_ process: Process) {
        guard let sensor = sensors.first else { return }
        let reading = process.clock.now()
        deliver([
            Reading(
                device: sensor, metric: "temperature", value: .number(DecimalText(20)), time: reading.time,
                clock: reading.quality)
        ])
    }

    /// What the core does every second or so.
    private func tick(_ run: Int) {
        guard run == runs, let process, var trial = process.pipeline else { return }
        do throws(OutboxError) {
            _ = try process.store.tidy()
            if world.now >= reportAt {
                reportAt = world.now + 60_000_000_000
                try commit(PipelineOutput(), process, reporting: try process.store.losses())
            }
            if let deadline = trial.nextDeadline, deadline <= monotonic {
                let first = try process.store.status().nextSequence
                try commit(trial.timeReached(at: now(process.clock), firstSequence: first), process)
                self.process?.pipeline = trial
            }
            // Declarations travel with records.
            if isQuiet, let status = try? process.store.status(), status.recordCount == 0, status.undeclaredCount > 0 {
                speakUp(process)
            }
        } catch {
            world.note(name.text, "cannot tidy up")
        }
        if checkPower() { return }
        world.after(.seconds(1)) { self.tick(run) }
    }

    // MARK: The uplink

    func wakeUplink() { stepUplink(after: .milliseconds(1)) }

    private func stepUplink(after delay: Duration) {
        guard let process, process.uplink != nil else { return }
        let at = world.now + max(0, delay.nanosecondsClamped)
        guard at < process.nextStep else { return }
        self.process?.nextStep = at
        let run = runs
        world.at(at) {
            guard run == self.runs, let process = self.process, process.nextStep == at else { return }
            self.process?.nextStep = .max
            process.uplink?.step()
            if self.checkPower() { return }
            self.stepUplink(after: .seconds(1))
        }
    }

    /// The system around the uplink.
    private final class SimWorld: UplinkWorld, @unchecked Sendable {
        private unowned let gateway: SimGateway

        init(_ gateway: SimGateway) { self.gateway = gateway }

        var now: MonotonicInstant { gateway.monotonic }

        func wait(for wake: WakeSignal, until deadline: MonotonicInstant) { wake.clear() }

        func connect(
            to endpoint: HubEndpoint, login: ClientLogin, certificateTime: Int64, wake: WakeSignal
        ) throws(LinkFailure) -> any HubConnection {
            let gateway = gateway
            let ring: () -> Void = { gateway.wakeUplink() }
            if case .date = endpoint.inner {
                return SimDateQuestion(gateway.network, clock: { gateway.monotonic }, wake: ring)
            }
            let connection = SimConnection(
                host: endpoint.host, login: login, isSilent: { !gateway.isPowered }, wake: ring)
            connection.open(on: gateway.network)
            return connection
        }
    }
}

/// The gateway's own methods, as the command router has them.
private struct SimCommands: CommandHandler {
    let store: WatchedStore

    init(_ store: WatchedStore) { self.store = store }

    func perform(_ call: CommandCall, reply: @escaping @Sendable (CommandAnswer) -> Void) {
        guard let request = (try? JSONValue(parsing: call.payload)).flatMap({ ReplayRange($0) }) else {
            return reply(CommandAnswer(status: 400, payload: []))
        }
        guard request.epoch == store.epoch else { return reply(CommandAnswer(status: 404, payload: [])) }
        var (count, gone, left): (UInt64, [Run], [Run]) = (0, [], request.runs)
        do throws(OutboxError) {
            for _ in 0..<8 {
                guard let asked = left.first else { break }
                let outcome = try store.replay(asked)
                count += outcome.restored.reduce(0) { $0 + $1.count }
                gone += outcome.gone
                left.replaceSubrange(0..<1, with: outcome.rest.map { [$0] } ?? [])
            }
            let answer = ReplayRange.Answer(replayedCount: count, gone: gone, rest: left)
            reply(CommandAnswer(status: 200, payload: answer.json.serialized()))
        } catch {
            reply(CommandAnswer(status: 500, payload: []))
        }
    }
}

@_cdecl("simulated_gateways_register")
package func register() { GatewayFactory.make = { SimGateway($0, $1) } }
