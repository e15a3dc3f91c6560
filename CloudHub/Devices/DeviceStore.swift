public import HubContract
public import Primitives
public import Sessions

/// What the rooms behind a session keep on disk. Errors are the store's own.
///
/// Completions come on the store's thread, in the order of the commits; they must return quickly.
public protocol DeviceStore: QueueStore {
    /// `nil` when nothing was ever written to it.
    func twin(
        of who: HubIdentity, completion: @escaping @Sendable (Result<TwinDocument?, any Error>) -> Void)

    /// Reads a twin, asks `decide` for what shall stand there, writes that and makes it durable: one transaction.
    func changeTwin<T: Sendable>(
        of who: HubIdentity,
        decide: @escaping @Sendable (TwinDocument?) throws -> (TwinDocument, T),
        completion: @escaping @Sendable (Result<T, any Error>) -> Void)

    /// Called once, at start; blocks.
    func loadSubscriptions() throws -> [HubIdentity: Set<StoredSubscription>]
    /// An empty set deletes.
    func setSubscriptions(
        of who: HubIdentity, to subscriptions: Set<StoredSubscription>,
        completion: @escaping @Sendable (Result<Void, any Error>) -> Void)

    /// Called once, at start; blocks.
    func loadActivity() throws -> [HubIdentity: DeviceActivity]
    func setActivity(_ changed: [HubIdentity: DeviceActivity]) async throws
}

/// When an identity was last here.
public struct DeviceActivity: Sendable, Equatable {
    /// When it last connected or disconnected; `.never` before the first time.
    public var connectionChangedAt = WallInstant.never
    /// When it last connected, disconnected or sent something; `.never` before the first time.
    public var lastActivityAt = WallInstant.never

    public init() {}
}
