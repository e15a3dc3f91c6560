public import HubContract
public import Primitives
import Synchronization

/// Who is connected, by identity: at most one link each. Any thread; every call costs one short lock.
public final class ConnectedDevices: Sendable {
    /// Called after a change, on the thread that made it, outside the lock.
    public enum Change: Sendable, Equatable {
        case connected(HubIdentity)
        case disconnected(HubIdentity)
        case subscribed(HubIdentity)
    }

    private struct Entry {
        let link: any DeviceLink
        var subscriptions: Set<StoredSubscription>
    }

    private struct State {
        var entries: [HubIdentity: Entry] = [:]
        var observers: [@Sendable (Change) -> Void] = []
    }

    private let state = Mutex(State())
    private let gatewayOf: @Sendable (DeviceID) -> DeviceID?

    /// - Parameter gatewayOf: the gateway through which a child is reached, or `nil`; called outside the lock.
    public init(gatewayOf: @escaping @Sendable (DeviceID) -> DeviceID?) { self.gatewayOf = gatewayOf }

    /// The link that reaches `target`: its own, or, for a device without one, its gateway's.
    public func link(for target: HubIdentity) -> (any DeviceLink)? {
        if let own = state.withLock({ $0.entries[target]?.link }) { return own }
        guard let gateway = gateway(of: target) else { return nil }
        return state.withLock { $0.entries[gateway]?.link }
    }

    /// The link that reaches `target` and takes this kind of message for it.
    public func link(for target: HubIdentity, subscribed subscription: DeviceSubscription) -> (any DeviceLink)? {
        if let own = state.withLock({ $0.entries[target] }) {
            return own.subscriptions.contains { $0.covers(subscription, child: nil) } ? own.link : nil
        }
        guard let gateway = gateway(of: target), let entry = state.withLock({ $0.entries[gateway] }),
            entry.subscriptions.contains(where: { $0.covers(subscription, child: target.device) })
        else { return nil }
        return entry.link
    }

    /// Whether a message of this kind would reach `target` now.
    public func isSubscribed(_ target: HubIdentity, _ subscription: DeviceSubscription) -> Bool {
        link(for: target, subscribed: subscription) != nil
    }

    /// Every identity with a link of its own; in no order.
    public var identities: [HubIdentity] { state.withLock { Array($0.entries.keys) } }
    public var count: Int { state.withLock { $0.entries.count } }

    /// Calls `observer` after every change from now on. There is no way back: observers live as long as the hub.
    public func onChange(_ observer: @escaping @Sendable (Change) -> Void) {
        state.withLock { $0.observers.append(observer) }
    }

    /// Enters a link.
    /// - Returns: the link that it takes over from; the caller closes it with `.takenOver`.
    public func connect(_ link: any DeviceLink, subscriptions: Set<StoredSubscription>) -> (any DeviceLink)? {
        let old = state.withLock {
            $0.entries.updateValue(Entry(link: link, subscriptions: subscriptions), forKey: link.identity)
        }
        tell(.connected(link.identity))
        return old?.link
    }

    /// Replaces what the link is subscribed to. Ignored when the link has been taken over.
    public func setSubscriptions(_ subscriptions: Set<StoredSubscription>, of link: any DeviceLink) {
        let isCurrent = state.withLock {
            guard $0.entries[link.identity]?.link === link else { return false }
            $0.entries[link.identity]?.subscriptions = subscriptions
            return true
        }
        if isCurrent { tell(.subscribed(link.identity)) }
    }

    /// - Returns: `false` when another link has taken over, which stays.
    @discardableResult
    public func disconnect(_ link: any DeviceLink) -> Bool {
        let removed = state.withLock {
            guard $0.entries[link.identity]?.link === link else { return false }
            $0.entries[link.identity] = nil
            return true
        }
        if removed { tell(.disconnected(link.identity)) }
        return removed
    }

    private func gateway(of target: HubIdentity) -> HubIdentity? {
        guard target.module == nil, let gateway = gatewayOf(target.device) else { return nil }
        return HubIdentity(device: gateway)
    }

    private func tell(_ change: Change) {
        for observer in state.withLock({ $0.observers }) { observer(change) }
    }
}
