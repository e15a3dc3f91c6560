public import Faults
public import Logging
import Primitives
import Synchronization

/// The only way between the hub and the CRM: brings faults there as alerts and takes commands back to devices.
///
/// It runs until its task is cancelled; with it stopped nothing reaches the CRM, and no command reaches a device. What
/// the CRM does not take now waits in the durable queue of the fault store.
public final class Connector: Sendable {
    let client: DataverseClient
    let faults: any FaultStore
    let records: any ConnectorStore
    let dispatcher: any CommandDispatcher
    let configuration: ConnectorConfiguration
    let clock: ConnectorClock
    let log: Logger

    private let pace = Mutex(ConnectorPace())
    private let alertSignal = Signal()
    private let commandSignal = Signal()
    private let queueSignal = Signal()

    public init(
        client: DataverseClient, faults: any FaultStore, records: any ConnectorStore,
        dispatcher: any CommandDispatcher, configuration: ConnectorConfiguration, clock: ConnectorClock, log: Logger
    ) {
        self.client = client
        self.faults = faults
        self.records = records
        self.dispatcher = dispatcher
        self.configuration = configuration
        self.clock = clock
        self.log = log
    }

    /// The fault store has new queue rows: call it after their commit. Cheap, on any thread.
    public func alertsQueued() { alertSignal.wake() }

    /// The CRM has new command rows, says a webhook. Without it they are found by the next poll.
    public func commandsCreated() { commandSignal.wake() }

    /// How the connection to the CRM stands.
    public var health: ConnectorPace.Health { pace.withLock { $0.health } }

    /// Works until the task is cancelled; then finishes the writes that are under way and returns.
    public func run() async {
        let alerts = AlertDelivery(connector: self)
        let commands = CommandDelivery(connector: self)
        dispatcher.onQueueEnd { [weak self] in self?.queueSignal.wake() }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.tick() }
            group.addTask { for await _ in self.alertSignal.wakes() { await alerts.drain() } }
            group.addTask { for await _ in self.queueSignal.wakes() { await commands.takeQueueEnds() } }
            group.addTask { await self.runCommands(commands) }
            group.addTask { await commands.forgetOldRecords() }
        }
    }

    private func runCommands(_ commands: CommandDelivery) async {
        await withDiscardingTaskGroup { group in
            for await _ in commandSignal.wakes() {
                for row in await commands.poll() { group.addTask { await commands.advance(row) } }
            }
        }
    }

    /// The poll for commands, and the look at what falls due in the queue or could not be written down before.
    private func tick() async {
        while !Task.isCancelled {
            alertSignal.wake()
            queueSignal.wake()
            commandSignal.wake()
            try? await Task.sleep(for: configuration.pollInterval)
        }
    }

    // MARK: - Pace

    var isPaused: Bool {
        let now = clock.monotonic()
        return pace.withLock { $0.isPaused(now: now) }
    }

    var callsMax: Int { pace.withLock { $0.callsMax(configuration.alertsAtOnce) } }

    func succeeded() {
        let wasHealthy = pace.withLock { pace in
            defer { pace.succeeded() }
            return pace.health == .healthy
        }
        if !wasHealthy { log.info("the CRM answers again") }
    }

    func failed(_ error: DataverseClientError, attempts: Int) -> ConnectorPace.RowVerdict {
        let now = clock.monotonic()
        let (verdict, before, after) = pace.withLock { pace in
            var random = SystemRandomNumberGenerator()
            let before = pace.health
            let verdict = pace.failed(error, attempts: attempts, now: now, using: &random)
            return (verdict, before, pace.health)
        }
        guard before != after else { return verdict }
        switch after {
        case .healthy: break
        case .waiting(let sentence): log.warning("the CRM connector waits", metadata: ["problem": .string(sentence)])
        case .needsAttention(let sentence):
            log.error("the CRM connector needs attention", metadata: ["problem": .string(sentence)])
        }
        return verdict
    }
}

/// Wakes one waiting loop; wakes that come while it works are one.
final class Signal: Sendable {
    private let current = Mutex<AsyncStream<Void>.Continuation?>(nil)

    func wake() { current.withLock { _ = $0?.yield() } }

    /// Begins with one wake. A second call ends the first one's sequence.
    func wakes() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let before = current.withLock { current in
            defer { current = continuation }
            return current
        }
        before?.finish()
        continuation.yield()
        return stream
    }
}
