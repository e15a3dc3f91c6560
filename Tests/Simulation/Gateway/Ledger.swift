import EventLog
import Outbox
import Primitives
import SimulationWorld
import Telemetry

/// What must be true of one gateway's records: written down where they are accepted, held against the hub's log.
final class Ledger: @unchecked Sendable {
    private struct Accepted {
        let record: Record
        let at: Int64
        /// When it was, by a clock that is never wrong.
        let trueTime: WallInstant
        /// Of refused ones nobody knows which of several tries it is that lies there.
        var others: [Record] = []
    }

    /// What a time may be off that is said to be synchronised.
    private static let timeErrorMax = Duration.seconds(2)

    private let world: World
    let gateway: DeviceID
    private let mayDrop: Bool
    private let timeToLive: Duration?
    /// The disk below the hub's log is away: then nobody can read it, and only then.
    private let isHubCut: () -> Bool
    private var epoch: Epoch?
    /// Acknowledged to the sensor.
    private var accepted: [UInt64: Accepted] = [:]
    /// Refused, but they may have reached the disk nevertheless, and then they count. By what the outbox said.
    private var doubtful: [UInt64: [Accepted]] = [:]
    private var next: UInt64 = 1
    /// What the outbox said it dropped or let expire.
    private var given: Set<UInt64> = []
    /// A refused change may have dropped records, too.
    private var isDropInDoubt = false
    /// Acknowledged by the hub.
    private var acknowledged: Set<UInt64> = []
    private var values = 0
    /// First live sequences, each time that the link came up.
    private var liveStarts: [UInt64] = []
    /// Put on their way again after a replay was asked for: they come in their own time.
    private var replayed: Set<UInt64> = []

    init(
        _ world: World, gateway: DeviceID, mayDrop: Bool, timeToLive: Duration?, isHubCut: @escaping () -> Bool
    ) {
        self.world = world
        self.gateway = gateway
        self.mayDrop = mayDrop
        self.timeToLive = timeToLive
        self.isHubCut = isHubCut
    }

    var acceptedCount: Int { accepted.count }

    func nextValue() -> Int {
        values += 1
        return values
    }

    // MARK: What the outbox said

    func opened(epoch: Epoch, next found: UInt64) {
        if let known = self.epoch, known != epoch { fail("has a new outbox") }
        self.epoch = epoch
        if found < next { fail("begins again at \(found), though \(next - 1) was accepted") }
        // What was refused and is there nevertheless.
        while next < found {
            guard let tries = doubtful[next], var late = tries.last else {
                return fail("has \(next), which nobody delivered")
            }
            late.others = tries.map(\.record)
            accepted[next] = late
            next += 1
        }
        doubtful = [:]
    }

    func appended(_ commit: OutboxCommit, dropped: [Run]) {
        for one in commit.records {
            if one.sequence != next || accepted[one.sequence] != nil { fail("gave \(one.sequence) out twice") }
            accepted[one.sequence] = Accepted(record: one.record, at: world.now, trueTime: world.trueTime)
            next = one.sequence + 1
            if case .fault(let fault) = one.record {
                world.count(fault.state == .raised ? .faultRaised : .faultCleared)
            }
        }
        world.note(gateway.text, "keeps up to", next - 1)
        give(dropped, .recordsDropped)
        if !dropped.isEmpty, !mayDrop { fail("dropped records without a need") }
    }

    func refused(_ commit: OutboxCommit) {
        for one in commit.records {
            doubtful[one.sequence, default: []].append(
                Accepted(record: one.record, at: world.now, trueTime: world.trueTime))
        }
        isDropInDoubt = true
    }

    func expired(_ runs: [Run]) {
        give(runs, .recordsExpired)
        for sequence in runs.flatMap({ $0.start..<($0.start + $0.count) }) {
            guard let one = accepted[sequence] else { continue }
            let age = Duration.nanoseconds(world.now - one.at)
            guard case .reading(let reading) = one.record, reading.metric == "value", let timeToLive else {
                fail("let \(sequence) expire, which has no time to live")
                continue
            }
            if age + .seconds(1) < timeToLive { fail("let \(sequence) expire after \(age)") }
        }
    }

    func tidyFailed() { isDropInDoubt = true }

    private func give(_ runs: [Run], _ kind: Happening) {
        for run in runs {
            world.count(kind, Int(run.count))
            given.formUnion(run.start..<(run.start + run.count))
        }
    }

    func acknowledged(_ batches: [OutboxBatch]) {
        for run in batches.flatMap(\.runs) { acknowledged.formUnion(run.start..<(run.start + run.count)) }
    }

    /// The link is up: what is stored from now on is live, what was stored before is backlog.
    func linkCameUp(next: UInt64) { liveStarts.append(next) }

    /// What a replay did not find is declared.
    func searched(_ outcome: ReplayOutcome) {
        replayed.formUnion(outcome.restored.flatMap { $0.start...$0.last })
        for sequence in outcome.gone.flatMap({ $0.start...$0.last }) {
            guard let one = accepted[sequence] else {
                given.insert(sequence)
                continue
            }
            if given.contains(sequence) || mayHaveGone(one) { continue }
            fail("could not find \(sequence) for a replay, which it had kept")
        }
    }

    // MARK: What the hub has

    /// The hub came back: what it has acknowledged is there.
    func check(afterStartOf log: any EventLog) {
        guard let found = hubRecords(log) else { return }
        for sequence in acknowledged.sorted() where found[sequence] == nil && !given.contains(sequence) {
            return fail("had \(sequence) acknowledged, and the hub has lost it")
        }
    }

    /// At the end, when everything has arrived.
    func check(atEndOf log: any EventLog) {
        guard let found = hubRecords(log) else { return }
        guard let epoch else { return fail("never opened its outbox") }
        guard let books = try? log.sequences(gateway: gateway) else { return unreadable() }
        let book = books.first { $0.epoch == epoch }
        for (sequence, one) in accepted.sorted(by: { $0.key < $1.key }) {
            guard let there = found[sequence] else {
                if given.contains(sequence) || book?.dropped.contains(sequence) == true && mayHaveGone(one) { continue }
                return fail("kept \(sequence) and the hub has not got it")
            }
            if !([one.record] + one.others).contains(where: { Self.isSame(there, $0) }) {
                return fail("kept another \(sequence) than the hub has")
            }
            checkTime(there, sequence, one)
        }
        for sequence in found.keys.sorted() where accepted[sequence] == nil {
            return fail("never kept \(sequence), which the hub has")
        }
        for run in book?.dropped.runs ?? [] {
            for sequence in run.start...run.last where !given.contains(sequence) {
                guard let one = accepted[sequence], mayHaveGone(one) else {
                    return fail("declared \(sequence) as dropped, which it was not")
                }
            }
        }
        if let gaps = book?.gaps, !gaps.isEmpty { fail("has gaps at the hub: \(gaps)") }
        checkFaults(found)
        checkOrder(log)
    }

    /// Whoever says that the clock was right has to be right. Of several tries nobody knows when the one that lies there was.
    private func checkTime(_ there: Record, _ sequence: UInt64, _ one: Accepted) {
        let clock =
            switch there {
            case .reading(let reading): reading.clock
            case .fault(let fault): fault.clock
            }
        guard clock == .synchronised, one.others.isEmpty else { return }
        let off = there.time < one.trueTime ? one.trueTime - there.time : there.time - one.trueTime
        if off > Self.timeErrorMax { fail("says \(there.time) of \(sequence), which was at \(one.trueTime)") }
    }

    /// Of one sensor and lane records came in their order: only a live reading may have passed one of the backlog.
    private func checkOrder(_ log: any EventLog) {
        var last: [String: UInt64] = [:]
        guard let all = inHubOrder(log) else { return unreadable() }
        for (sequence, record) in all where !replayed.contains(sequence) {
            let lane = if case .fault = record { "faults" } else { "readings" }
            let key = "\(record.device) \(lane)"
            let before = last[key] ?? 0
            if sequence < before, !liveStarts.contains(where: { sequence < $0 && $0 <= before }) {
                return fail("sent \(sequence) of \(key) after \(before)")
            }
            last[key] = max(before, sequence)
        }
    }

    /// A change that was refused may have dropped it nevertheless.
    private func mayHaveGone(_ one: Accepted) -> Bool {
        guard isDropInDoubt else { return false }
        if mayDrop { return true }
        guard let timeToLive, case .reading(let reading) = one.record, reading.metric == "value" else { return false }
        return .nanoseconds(world.now - one.at) + .seconds(1) >= timeToLive
    }

    /// Of one rule and device raised and cleared take turns, and each id is raised once.
    private func checkFaults(_ found: [UInt64: Record]) {
        var open: [String: UniqueID] = [:]
        var raised: Set<UniqueID> = []
        for (sequence, record) in found.sorted(by: { $0.key < $1.key }) {
            guard case .fault(let fault) = record else { continue }
            let key = "\(fault.rule) \(fault.device)"
            switch fault.state {
            case .raised:
                if !raised.insert(fault.faultID).inserted { return fail("raised a fault twice, at \(sequence)") }
                if open[key] != nil { return fail("raised a fault that was open, at \(sequence)") }
                open[key] = fault.faultID
            case .cleared:
                if open[key] != fault.faultID { return fail("cleared a fault that was not open, at \(sequence)") }
                open[key] = nil
            }
        }
    }

    private func unreadable() {
        if !isHubCut() { fail("cannot be checked: the hub's log cannot be read") }
    }

    /// By sequence. `nil` when the log cannot be read, or holds something twice; both are said.
    private func hubRecords(_ log: any EventLog) -> [UInt64: Record]? {
        guard let all = inHubOrder(log) else {
            unreadable()
            return nil
        }
        var found: [UInt64: Record] = [:]
        for (sequence, record) in all {
            if found.updateValue(record, forKey: sequence) != nil {
                fail("is in the hub's log twice with \(sequence)")
                return nil
            }
        }
        return found
    }

    /// All events of a gateway lie in one partition.
    private func inHubOrder(_ log: any EventLog) -> [(UInt64, Record)]? {
        var found: [(UInt64, Record)] = []
        for partition in 0..<log.partitionCount {
            guard let events = try? log.read(partition: partition, from: 0, eventsMax: .max, bytesMax: .max) else {
                return nil
            }
            for event in events where event.header.device == gateway {
                guard let batch = try? Batch(parsing: event.body), batch.epoch == epoch else { continue }
                found += batch.records.map { ($0.sequence, $0.record) }
            }
        }
        return found
    }

    /// But for the time, which the gateway may have learnt better.
    private static func isSame(_ left: Record, _ right: Record) -> Bool {
        switch (left, right) {
        case (.reading(let left), .reading(let right)):
            left.device == right.device && left.metric == right.metric && left.value == right.value
        case (.fault(let left), .fault(let right)):
            left.faultID == right.faultID && left.state == right.state && left.rule == right.rule
        default: false
        }
    }

    private func fail(_ sentence: String) { world.violated("\(gateway) \(sentence)") }
}

/// The gateway's outbox, with the ledger looking on.
final class WatchedStore: OutboxStore, @unchecked Sendable {
    private let store: any OutboxStore
    private let ledger: Ledger

    /// The uplink asks for the status when its link has come up, and then only.
    private let isForUplink: Bool

    init(_ store: any OutboxStore, _ ledger: Ledger, isForUplink: Bool = false) {
        self.store = store
        self.ledger = ledger
        self.isForUplink = isForUplink
    }

    var forUplink: WatchedStore { WatchedStore(store, ledger, isForUplink: true) }
    var epoch: Epoch { store.epoch }
    func status() throws(OutboxError) -> OutboxStatus {
        let status = try store.status()
        if isForUplink { ledger.linkCameUp(next: status.nextSequence) }
        return status
    }
    func kept(_ key: String) throws(OutboxError) -> [UInt8]? { try store.kept(key) }

    func append(_ commit: OutboxCommit) throws(OutboxError) -> [Run] {
        do throws(OutboxError) {
            let dropped = try store.append(commit)
            ledger.appended(commit, dropped: dropped)
            return dropped
        } catch {
            ledger.refused(commit)
            throw error
        }
    }

    func take(_ request: TakeRequest) throws(OutboxError) -> OutboxBatch? { try store.take(request) }

    func acknowledge(_ batches: [OutboxBatch]) throws(OutboxError) {
        ledger.acknowledged(batches)
        try store.acknowledge(batches)
    }

    func tidy() throws(OutboxError) -> [Run] {
        do throws(OutboxError) {
            let expired = try store.tidy()
            ledger.expired(expired)
            return expired
        } catch {
            ledger.tidyFailed()
            throw error
        }
    }

    func losses() throws(OutboxError) -> [SensorLoss] { try store.losses() }
    func replay(_ run: Run) throws(OutboxError) -> ReplayOutcome {
        let outcome = try store.replay(run)
        ledger.searched(outcome)
        return outcome
    }
    func keepReceipt(_ receipt: [UInt8], at time: WallInstant) throws(OutboxError) {
        try store.keepReceipt(receipt, at: time)
    }
    func receipts(countMax: Int) throws(OutboxError) -> [StoredReceipt] { try store.receipts(countMax: countMax) }
    func keepCommand(_ command: QueuedCommand) throws(OutboxError) -> Bool { try store.keepCommand(command) }
    func beginCommand(isTimeKnown: Bool) throws(OutboxError) -> QueuedCommand? {
        try store.beginCommand(isTimeKnown: isTimeKnown)
    }
    func endCommand(_ messageID: String, outcome: String) throws(OutboxError) {
        try store.endCommand(messageID, outcome: outcome)
    }
    func endedCommands(countMax: Int) throws(OutboxError) -> [EndedCommand] {
        try store.endedCommands(countMax: countMax)
    }
}
