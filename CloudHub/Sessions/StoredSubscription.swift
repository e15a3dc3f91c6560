public import HubContract
public import Primitives

/// One subscription of a session, kept across connections made with clean session 0.
public struct StoredSubscription: Hashable, Sendable {
    /// For whom: the identity itself, or its children through the `$fieldline/` extension.
    public typealias Scope = SubscriptionScope

    public let scope: Scope
    public let subscription: DeviceSubscription
    /// 0 or 1, as SUBACK granted it.
    public let grantedQoS: UInt8

    public init(scope: Scope = .own, subscription: DeviceSubscription, grantedQoS: UInt8 = 1) {
        self.scope = scope
        self.subscription = subscription
        self.grantedQoS = grantedQoS
    }

    /// Whether it covers this subscription of `child` (`nil`: the identity itself).
    public func covers(_ other: DeviceSubscription, child: DeviceID?) -> Bool {
        guard subscription == other else { return false }
        switch scope {
        case .own: return child == nil
        case .child(let id): return child == id
        case .everyChild: return child != nil
        }
    }
}
