package import EventLog
import Foundation
package import Gaps
import HubContract
import HubHarness
import Ingest
import JSON
import Logging
import NIOCore
import NIOEmbedded
package import Primitives
import Sessions
import SimulatedDisk
package import SimulationWorld
import Telemetry

@testable import Listeners
@testable import SQLiteHubStore

let silent = Logger(label: "simulation", factory: { _ in SwiftLogNoOpLogHandler() })

/// A machine with a hub on it: connections, ingest, the event log and the gap machine are the real ones.
package final class SimHub: HubSide, @unchecked Sendable {
    /// What ends with the process.
    private struct Process {
        let log: SteppedLog
        let loop: EmbeddedEventLoop
        let shard: LoopShard
        let shared: ListenerShared
        let connected: ConnectedDevices
        var channels: [SimChannel] = []
        var gaps: GapMachine
        var gapsReadTo = WallInstant(milliseconds: 0)
        var asked: [String: (outbox: GapMachine.Outbox, until: Int64)] = [:]
        var stall: WakeToken?
    }

    package static let key = Array("a key for simulations".utf8)

    package let world: World
    package let disk: Int32
    private let folder: String
    private let children: [DeviceID: DeviceID]
    private var process: Process?
    package private(set) var isPowered = true
    private let ripeAfter: Duration
    private var runs = 0
    private var isPumping = false
    private var isMovePlanned = false
    private var requests = 0
    package var onStarted: () -> Void = {}

    package init(_ world: World, folder: String, children: [DeviceID: DeviceID]) {
        self.world = world
        self.folder = folder
        self.children = children
        disk = simulated_disk_make(folder, world.random.next())
        ripeAfter = .seconds(world.number(1...30))
    }

    package var isUp: Bool { process != nil }
    package var isDiskCut: Bool { simulated_disk_is_cut(disk) != 0 }
    package var log: (any EventLog)? { process?.log }
    package var repeatsDropped: Int { Int(process?.log.counters.repeatsDropped ?? 0) }
    package var wall: WallInstant { world.trueTime }

    // MARK: Life

    package func start() {
        guard process == nil, isPowered else { return }
        do {
            process = try makeProcess()
        } catch {
            // As a service manager does.
            world.note("hub", "did not start")
            world.after(.seconds(2)) { self.start() }
            checkPower()
            return
        }
        runs += 1
        let run = runs
        world.note("hub", "started", UInt64(runs))
        let stall = process?.log.onCondition { [weak self] condition in
            self?.process?.shard.stallChanged(condition != .storing)
        }
        process?.stall = stall
        tick(run)
        onStarted()
    }

    private func makeProcess() throws -> Process {
        var options = SQLiteEventLog.Options()
        options.partitionCount = 2
        options.reserveBytes = 0
        options.walBytesMax = 256 << 10
        options.pageBytes = 4096
        let world = world
        let log = try SteppedLog(path: folder + "/log.sqlite", options: options, now: { world.trueTime })
        log.onWork = { [weak self] in self?.logHasWork() }
        let loop = EmbeddedEventLoop()
        loop.advanceTime(to: .uptimeNanoseconds(UInt64(world.now)))
        let children = children
        let connected = ConnectedDevices { children[$0] }
        let dependencies = MQTTDependencies(
            authority: HarnessAuthority(key: Self.key), services: SimServices(self), connected: connected,
            eventLog: log, intake: TelemetryIntake { child in children[child].map { ($0, true) } }, logger: silent,
            now: { world.trueTime })
        let shard = LoopShard(
            eventLoop: loop, log: log, bytesMax: 8 << 20, metrics: ListenerMetrics(), throttles: nil)
        return Process(
            log: log, loop: loop, shard: shard,
            shared: ListenerShared(dependencies: dependencies, connectTimeout: .seconds(30)), connected: connected,
            gaps: GapMachine(GapMachine.Pace(ripeAfter: ripeAfter)))
    }

    /// Ends the process in an orderly way.
    package func stop() {
        guard let log = process?.log else { return }
        world.note("hub", "stops")
        moved()
        log.step()
        pumpAll()
        log.end()
        forget(isSilent: false)
        log.close()
    }

    /// The process ends without a word; what the system has of its files stays.
    package func kill() {
        guard let log = process?.log else { return }
        world.note("hub", "is killed")
        simulated_disk_freeze(disk)
        forget(isSilent: false)
        log.abandon()
        simulated_disk_thaw(disk)
    }

    package func cutPower() {
        world.note("hub", "loses power")
        simulated_disk_cut(disk)
        lostPower()
    }

    private func lostPower() {
        isPowered = false
        let log = process?.log
        forget(isSilent: true)
        log?.abandon()
    }

    package func restorePower() {
        guard !isPowered else { return }
        isPowered = true
        if simulated_disk_restore(disk) != 0 { world.violated("the hub's disk could not be written") }
        start()
    }

    private func forget(isSilent: Bool) {
        guard let gone = process else { return }
        process = nil
        for channel in gone.channels { channel.closed(isSilent: isSilent) }
        for channel in gone.channels { channel.channel.close(promise: nil) }
        gone.loop.run()
        gone.log.onWork = {}
    }

    /// The power may have failed in the middle of a write.
    private func checkPower() {
        guard isDiskCut, isPowered else { return }
        world.count(.hubPowerCutInCommit)
        world.note("hub", "lost power in the middle")
        lostPower()
        world.after(world.milliseconds(500...20_000)) { self.restorePower() }
    }

    // MARK: Work

    package func accept(_ wire: Wire) -> (any ServerEnd)? {
        guard let process,
            let channel = try? SimChannel(
                wire, shard: process.shard, shared: process.shared, loop: process.loop,
                moved: { [weak self] in self?.moved() })
        else { return nil }
        self.process?.channels.append(channel)
        moved()
        return channel
    }

    /// Something arrived: the event loop takes its turn.
    func moved() {
        guard !isMovePlanned else { return }
        isMovePlanned = true
        world.after(.microseconds(50)) {
            self.isMovePlanned = false
            self.pumpAll()
        }
    }

    private func pumpAll() {
        guard let process, !isPumping else { return }
        isPumping = true
        process.loop.advanceTime(to: .uptimeNanoseconds(UInt64(world.now)))
        process.loop.run()
        var isMoved = true
        while isMoved {
            isMoved = false
            for channel in self.process?.channels ?? [] where channel.pump() { isMoved = true }
            process.loop.run()
        }
        isPumping = false
        let gone = self.process?.channels.filter { !$0.channel.isActive } ?? []
        guard !gone.isEmpty else { return }
        self.process?.channels.removeAll { !$0.channel.isActive }
        for channel in gone { channel.closed(isSilent: false) }
    }

    private func logHasWork() {
        world.after(world.milliseconds(0...8)) { [log = process?.log] in
            guard let log, log === self.process?.log else { return }
            log.step()
            self.afterStep(log)
        }
    }

    private func afterStep(_ log: SteppedLog) {
        checkPower()
        guard log === process?.log else { return }
        pumpAll()
        guard log.isStalled else { return }
        world.note("hub", "cannot store")
        world.after(.seconds(1)) {
            guard log === self.process?.log else { return }
            log.retry()
            self.afterStep(log)
        }
    }

    private func tick(_ run: Int) {
        guard run == runs, isUp else { return }
        pumpAll()
        lookForGaps()
        if world.chance(5) { process?.log.maintain() }
        checkPower()
        world.after(.seconds(2)) { self.tick(run) }
    }

    // MARK: Gaps: what `GapKeeper` does, without its task

    package var gaps: [GapMachine.Outbox: GapMachine.Gap] { process?.gaps.gaps ?? [:] }

    private func lookForGaps() {
        guard let process else { return }
        let now = MonotonicInstant(nanoseconds: world.now)
        guard let books = try? process.log.sequences(changedFrom: process.gapsReadTo, countMax: 100) else { return }
        for book in books {
            self.process?.gaps.looked(
                at: .init(gateway: book.gateway, epoch: book.epoch), holes: book.gaps, now: now, wall: wall)
        }
        self.process?.gapsReadTo = books.last?.changedAt ?? process.gapsReadTo
        for (rid, one) in process.asked where one.until <= world.now { answered(rid, .failed("no answer")) }
        let due = self.process?.gaps.due(now: now) { process.connected.isSubscribed(HubIdentity(device: $0), .methods) }
        for (outbox, request) in due ?? [] { ask(outbox, request) }
    }

    private func ask(_ outbox: GapMachine.Outbox, _ request: ReplayRange) {
        requests += 1
        let rid = "\(requests)"
        world.count(.replayAsked)
        world.note("hub", "asks for a replay", request.runs.reduce(0) { $0 + $1.count })
        process?.asked[rid] = (outbox, world.now + 30_000_000_000)
        let who = HubIdentity(device: outbox.gateway)
        process?.connected.link(for: who, subscribed: .methods)?.deliver(
            .methodRequest(name: ReplayRange.methodName, rid: rid, payload: request.json.serialized()), to: who)
        moved()
    }

    func methodAnswered(_ rid: String, status: Int, payload: [UInt8]) {
        let answer = (try? JSONValue(parsing: payload)).flatMap { ReplayRange.Answer($0) }
        switch (status, answer) {
        case (200, let answer?):
            answered(
                rid,
                .replayed(
                    count: answer.replayedCount, gone: answer.gone.reduce(0) { $0 + $1.count }, rest: answer.rest))
        case (404, _): answered(rid, .lost)
        default: answered(rid, .failed("status \(status)"))
        }
    }

    private func answered(_ rid: String, _ outcome: GapMachine.Outcome) {
        guard let one = process?.asked.removeValue(forKey: rid) else { return }
        process?.gaps.answered(one.outbox, outcome, now: MonotonicInstant(nanoseconds: world.now))
    }
}

/// The rooms behind a session that these runs do not look at.
private final class SimServices: DeviceServices, @unchecked Sendable {
    private weak var hub: SimHub?

    init(_ hub: SimHub) { self.hub = hub }

    func twinRequested(_ who: HubIdentity, reply: @escaping @Sendable (TwinAnswer) -> Void) {
        reply(TwinAnswer(status: 200, body: Array(#"{"desired":{"$version":1},"reported":{"$version":1}}"#.utf8)))
    }

    func reportedPatched(
        _ who: HubIdentity, patch: [UInt8], ifVersion: Int64?, reply: @escaping @Sendable (TwinAnswer) -> Void
    ) { reply(TwinAnswer(status: 204, version: 2)) }

    func methodAnswered(_ who: HubIdentity, rid: String, status: Int, payload: [UInt8]) {
        hub?.methodAnswered(rid, status: status, payload: payload)
    }

    func storedSubscriptions(of who: HubIdentity) -> Set<StoredSubscription> { [] }
    func subscriptionsChanged(
        _ who: HubIdentity, to subscriptions: Set<StoredSubscription>, reply: @escaping @Sendable (Bool) -> Void
    ) { reply(true) }
    func cloudToDeviceReady(_ who: HubIdentity) {}
    func cloudToDeviceCompleted(_ who: HubIdentity, lockToken: UniqueID) {}
    func connected(_ who: HubIdentity, at: WallInstant) {}
    func disconnected(_ who: HubIdentity, at: WallInstant, reason: DisconnectReason) {}
}
