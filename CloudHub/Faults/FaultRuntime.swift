public import EventLog
public import Logging
public import Primitives
public import Rules
import Synchronization

/// The consumer "faults" of the event log: reads on from its checkpoint and commits faults, queue rows, rule state and
/// checkpoint together, so that a stop at any moment neither loses nor doubles a fault.
public final class FaultRuntime: Sendable {
    /// Events and bytes that one read takes from a partition.
    static let readLimits = EventChunk.ReadLimits(eventsMax: 2000, bytesMax: 1 << 20)
    /// Events without a fault move the stored checkpoint only this often; a restart reads them again.
    static let idleCommitInterval = Duration.seconds(1)

    private let events: any EventLog
    private let store: any FaultStore
    private let wall: @Sendable () -> WallInstant
    private let monotonic: @Sendable () -> MonotonicInstant
    private let logger: Logger
    private let start: Pass
    private let queued = Mutex<(@Sendable () -> Void)?>(nil)
    private let current: Mutex<FaultRuntimeStatus>

    /// How it stands, for health pages and for the log's retention.
    public var status: FaultRuntimeStatus { current.withLock { $0 } }

    /// Reads where the last run left off.
    ///
    /// - Parameters:
    ///   - now: the civil clock.
    ///   - monotonic: the clock that silence is judged by; any start.
    /// - Throws: what the store says when it cannot give its state; nothing was changed.
    public init(
        log: any EventLog, store: any FaultStore, rules: [Rule],
        settings: FaultRuntimeSettings = FaultRuntimeSettings(),
        now: @escaping @Sendable () -> WallInstant, monotonic: (@Sendable () -> MonotonicInstant)? = nil, logger: Logger
    ) async throws {
        events = log
        self.store = store
        wall = now
        let origin = ContinuousClock.now
        let clock = monotonic ?? { MonotonicInstant(nanoseconds: (ContinuousClock.now - origin).nanosecondsClamped) }
        self.monotonic = clock
        self.logger = logger
        start = Pass(
            try await store.runtimeState(), rules: rules, settings: settings,
            now: HubRuleEngine.HubTime(wall: now(), monotonic: clock()))
        current = Mutex(FaultRuntimeStatus(checkpoints: start.nexts(log.partitionCount)))
        if !start.didRestore {
            logger.warning("the memory of the hub's rules is of another version and starts anew")
        }
    }

    /// Calls `wake` after each commit that added queue rows, before the next read; wakes the connector. Replaces the one
    /// before.
    public func onQueued(_ wake: @escaping @Sendable () -> Void) { queued.withLock { $0 = wake } }

    /// Works until the task is cancelled. Call it once.
    public func run() async {
        let (wakes, signal) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let token = events.onAppend { signal.yield() }
        defer { withExtendedLifetime(token) {} }
        signal.yield()
        let ticker = Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: Self.idleCommitInterval)
                signal.yield()
            }
        }
        defer { ticker.cancel() }
        var pass = start
        for await _ in wakes { await readOn(&pass) }
    }

    private var now: HubRuleEngine.HubTime { HubRuleEngine.HubTime(wall: wall(), monotonic: monotonic()) }

    /// Reads until every partition is at its end.
    private func readOn(_ pass: inout Pass) async {
        var hasMore = true
        while hasMore, !Task.isCancelled {
            hasMore = false
            for partition in 0..<events.partitionCount {
                guard events.nextOffset(partition: partition) > pass.next(partition) else { continue }
                hasMore = read(partition, &pass) || hasMore
            }
            if !hasMore { pass.caughtUp(now: now) }
            await commit(&pass)
        }
    }

    /// - Returns: whether there was something to read.
    private func read(_ partition: Int, _ pass: inout Pass) -> Bool {
        let from = pass.next(partition)
        do throws(EventLogError) {
            let run = try events.read(partition: partition, from: from, limits: Self.readLimits) { pass.wants($0) }
            if let first = run.firstOffset, first > from, from > 0 {
                logger.error(
                    "events were removed before the fault runtime read them; raise the log's retention",
                    metadata: ["partition": "\(partition)", "count": "\(first - from)"])
                current.withLock { $0.eventsLost += UInt64(first - from) }
            }
            guard run.firstOffset != nil else { return false }
            pass.take(run, partition: partition, now: now)
            tellUnwatched(pass)
            return true
        } catch {
            logger.error("the fault runtime cannot read", metadata: ["partition": "\(partition)", "error": "\(error)"])
            return false
        }
    }

    /// A rule that has no room for a device is named once.
    private func tellUnwatched(_ pass: borrowing Pass) {
        guard pass.unwatchedCount > 0 else { return }
        let full = pass.fullRules
        let (count, statesMax) = (pass.unwatchedCount, pass.statesMax)
        let new = current.withLock { status in
            defer {
                status.fullRules = full
                status.unwatchedCount = count
            }
            return full.subtracting(status.fullRules)
        }
        for rule in new.sorted() {
            logger.error(
                "a hub rule has no room for more devices; name those that it is for, or share them among hubs",
                metadata: ["rule": .string(rule), "limit": "\(statesMax)"])
        }
    }

    /// Tried until it is stored: nothing is read on meanwhile, so nothing can be lost or doubled.
    private func commit(_ pass: inout Pass) async {
        guard let change = pass.change(now: now, interval: Self.idleCommitInterval) else { return }
        var backoff = Backoff(first: .milliseconds(100), most: .seconds(10))
        var random = SystemRandomNumberGenerator()
        while true {
            do {
                let rows = try await store.commit(change)
                pass.committed(now: now)
                let nexts = pass.nexts(events.partitionCount)
                let wasWaiting = current.withLock { status in
                    defer {
                        status.waitsFor = nil
                        status.checkpoints = nexts
                    }
                    return status.waitsFor != nil
                }
                if wasWaiting { logger.notice("faults are stored again") }
                if rows > 0 { queued.withLock { $0 }?() }
                return
            } catch {
                let isNews = current.withLock { status in
                    defer { status.waitsFor = "\(error)" }
                    return status.waitsFor == nil
                }
                // Said once: the log may be on the disk that is full.
                if isNews { logger.error("faults cannot be stored yet", metadata: ["reason": "\(error)"]) }
                guard !Task.isCancelled else { return }
                try? await Task.sleep(for: backoff.next(using: &random))
            }
        }
    }
}

/// What the runtime has read but not committed, and where it stands.
private struct Pass: Sendable {
    private var reading: EventReading
    private var checkpoints: [Int: Int64]
    private var reports: [FaultReport] = []
    private var moved: Set<Int> = []
    private var committedAt: MonotonicInstant
    private var committedRevision: UInt64
    let didRestore: Bool

    init(_ state: FaultRuntimeState, rules: [Rule], settings: FaultRuntimeSettings, now: HubRuleEngine.HubTime) {
        var engine = HubRuleEngine(rules: rules, lateness: settings.lateness, statesMax: settings.ruleStatesMax)
        didRestore = engine.begin(state.ruleState, now: now)
        committedRevision = engine.revision
        reading = EventReading(engine: engine)
        checkpoints = state.checkpoints
        committedAt = now.monotonic
    }

    var fullRules: Set<String> { reading.engine.fullRules }
    var unwatchedCount: UInt64 { reading.engine.unwatchedCount }
    var statesMax: Int { reading.engine.statesMax }

    func next(_ partition: Int) -> Int64 { checkpoints[partition] ?? 0 }
    func nexts(_ count: Int) -> [Int64] { (0..<count).map(next) }

    func wants(_ event: EventView) -> Bool { reading.wants(event) }

    mutating func take(_ run: EventRun, partition: Int, now: HubRuleEngine.HubTime) {
        for event in run.events { reports += reading.read(event, now: now) }
        checkpoints[partition] = run.nextOffset
        moved.insert(partition)
    }

    mutating func caughtUp(now: HubRuleEngine.HubTime) {
        guard !reading.engine.isEmpty else { return }
        reports += reading.engine.caughtUp(now: now)
    }

    /// `nil` when there is nothing worth a commit yet.
    func change(now: HubRuleEngine.HubTime, interval: Duration) -> FaultChange? {
        let isDue = !moved.isEmpty && now.monotonic - committedAt >= interval
        guard !reports.isEmpty || isDue || reading.engine.revision != committedRevision else { return nil }
        let keepsState = !reading.engine.isEmpty
        return FaultChange(
            reports: reports, checkpoints: checkpoints.filter { moved.contains($0.key) },
            ruleState: keepsState ? reading.engine.snapshot(now: now) : nil, now: now.wall)
    }

    mutating func committed(now: HubRuleEngine.HubTime) {
        reports = []
        moved = []
        committedAt = now.monotonic
        committedRevision = reading.engine.revision
    }
}
