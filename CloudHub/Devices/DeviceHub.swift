public import HubContract
public import Journal
public import Logging
public import Primitives
public import Registry
public import Sessions
import Synchronization
public import Throttles

/// Twins, direct methods, cloud-to-device messages, stored subscriptions and connection state of all devices.
///
/// Sessions call it on their event loops (`DeviceServices`), the service side from tasks; nothing in it blocks.
public final class DeviceHub: DeviceServices {
    /// What the operator set about cloud-to-device messages.
    public let options: CloudToDeviceOptions
    let registry: DeviceRegistry
    let connected: ConnectedDevices
    let store: any DeviceStore
    let clock: @Sendable () -> WallInstant
    let logger: Logger
    private let throttles: Throttles?
    private let journal: DeviceJournal?
    let methods = MethodCalls()
    let waiters = ChangeWaiters()
    let mailbox: C2DMailbox
    let activity: ActivityBook
    let outcomeObservers = Mutex<[@Sendable (C2DOutcome) -> Void]>([])
    private let subscriptions: Mutex<[HubIdentity: Set<StoredSubscription>]>

    /// Loads what the store keeps; call it off the event loops.
    ///
    /// - Parameters:
    ///   - throttles: `nil` lets everything through.
    ///   - journal: is told who was throttled.
    ///   - clock: the time for stamps and expiry.
    /// - Throws: what the store threw.
    public init(
        registry: DeviceRegistry, connected: ConnectedDevices, store: any DeviceStore,
        cloudToDevice options: CloudToDeviceOptions = CloudToDeviceOptions(), throttles: Throttles? = nil,
        journal: DeviceJournal? = nil,
        clock: @escaping @Sendable () -> WallInstant, logger: Logger
    ) async throws {
        self.registry = registry
        self.connected = connected
        self.store = store
        self.options = options
        self.throttles = throttles
        self.journal = journal
        self.clock = clock
        self.logger = logger
        mailbox = C2DMailbox(try store.loadQueues())
        activity = ActivityBook(try store.loadActivity())
        subscriptions = Mutex(try store.loadSubscriptions())
        let waiters = waiters
        connected.onChange { _ in waiters.somethingChanged() }
        registry.onAccessLost { [weak self] identity, loss in self?.accessLost(identity, loss) }
        // A child's gateway is there already; a device of its own comes and asks.
        registry.onEnabled { [weak self] device in self?.deliverWaiting(HubIdentity(device)) }
    }

    /// Ends expired messages and writes activity down, until the task is cancelled. Run exactly one.
    public func run() async {
        var ticks = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            ticks += 1
            await sweepQueues()
            if ticks % Self.feedbackEveryTicks == 0 { await forgetOldFeedback() }
            if ticks % Self.activityEveryTicks == 0 { await writeActivity() }
        }
        await writeActivity()
    }

    /// Seconds between two writes of what changed in connection states.
    private static let activityEveryTicks = 10
    /// Seconds between two looks for feedback that is too old.
    private static let feedbackEveryTicks = 60

    /// Whether the identity, or its gateway for it, is connected.
    public func isOnline(_ target: HubIdentity) -> Bool { connected.link(for: target) != nil }

    /// How many identities have a connection of their own.
    public var connectedCount: Int { connected.count }

    /// Whether a direct method would reach the identity now.
    public func takesMethods(_ target: HubIdentity) -> Bool { connected.isSubscribed(target, .methods) }

    /// When the identity was last here.
    public func activity(of who: HubIdentity) -> DeviceActivity { activity.of(who) }

    /// Notes that it sent something. Cheap: memory only.
    public func active(_ who: HubIdentity, at now: WallInstant) { activity.active(who, at: now) }

    // MARK: - Subscriptions

    public func storedSubscriptions(of who: HubIdentity) -> Set<StoredSubscription> {
        subscriptions.withLock { $0[who] ?? [] }
    }

    public func subscriptionsChanged(
        _ who: HubIdentity, to wanted: Set<StoredSubscription>, reply: @escaping @Sendable (Bool) -> Void
    ) {
        guard storedSubscriptions(of: who) != wanted else { return reply(true) }
        store.setSubscriptions(of: who, to: wanted) { [self] result in
            switch result {
            case .success:
                subscriptions.withLock { $0[who] = wanted.isEmpty ? nil : wanted }
                reply(true)
            case .failure(let error):
                logFailure(error, doing: "keep subscriptions", who)
                reply(false)
            }
        }
    }

    // MARK: - Connection state

    public func connected(_ who: HubIdentity, at now: WallInstant) { activity.connectionChanged(who, at: now) }

    public func disconnected(_ who: HubIdentity, at now: WallInstant, reason: DisconnectReason) {
        activity.connectionChanged(who, at: now)
        mailbox.forgetFlights(of: [who.device] + registry.children(of: who.device)) { device, link in
            connected.link(for: HubIdentity(device)) !== link
        }
    }

    /// Cuts off everybody whose proof does not hold any more, after something changed that concerns many.
    public func reviewConnections() {
        for who in connected.identities { review(who) }
    }

    private func review(_ who: HubIdentity) {
        guard let link = connected.link(for: who), link.identity == who, let reason = link.objection else { return }
        link.deliver(.close(reason: reason), to: who)
    }

    /// Cuts the connection of somebody who may not stay, and forgets what a removed identity left in memory.
    private func accessLost(_ who: HubIdentity, _ loss: AccessLoss) {
        review(who)
        if loss == .disabled, who.module == nil { mailbox.close(who.device) }
        guard loss == .removed else { return }
        subscriptions.withLock { $0[who] = nil }
        activity.forget(who)
        if who.module == nil { mailbox.forget(who.device) }
    }

    private func writeActivity() async {
        let changed = activity.takeChanged().filter { registry.exists($0.key) }
        guard !changed.isEmpty else { return }
        do {
            try await store.setActivity(changed)
        } catch {
            logger.warning(
                "connection states could not be written; the next attempt follows", metadata: ["error": "\(error)"])
            activity.markChanged(Array(changed.keys))
        }
    }

    /// Says in the log and the journal why a device does not get what it asked for.
    func deny(_ who: HubIdentity, _ sentence: String) {
        guard journal?.note(.denied, of: who.description, sentence) ?? true else { return }
        logger.warning("a device's request was refused", metadata: ["device": "\(who)", "reason": "\(sentence)"])
    }

    /// Counts one against the device's limits and the hub's; the error says that it was too much.
    func throttle(_ kind: ThrottledKind, _ who: HubIdentity) -> HubError? {
        guard let refusal = throttles?.admit(kind, who.device) else { return nil }
        if journal?.note(.throttled, of: who.description, refusal.sentence) ?? true {
            logger.warning(
                "a device was throttled", metadata: ["device": "\(who)", "reason": "\(refusal.sentence)"])
        }
        return HubError(refusal)
    }

    func logFailure(_ error: any Error, doing: String, _ who: HubIdentity) {
        logger.error(
            "a device's request failed in the store",
            metadata: ["doing": "\(doing)", "device": "\(who)", "error": "\(error)"])
    }
}
