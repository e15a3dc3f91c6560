public import HubContract
public import Primitives

/// What a session asks of the rooms behind it.
///
/// Every function is called on the connection's event loop and must not block. A `reply` may be called on any thread,
/// exactly once. `who` is the identity that the operation is about: a child, when its gateway spoke for it. That the
/// child is the gateway's own, and enabled, is checked by the caller.
public protocol DeviceServices: Sendable {
    func twinRequested(_ who: HubIdentity, reply: @escaping @Sendable (TwinAnswer) -> Void)
    func reportedPatched(
        _ who: HubIdentity, patch: [UInt8], ifVersion: Int64?, reply: @escaping @Sendable (TwinAnswer) -> Void)
    func methodAnswered(_ who: HubIdentity, rid: String, status: Int, payload: [UInt8])

    /// What the identity had subscribed when it was last here; from memory.
    func storedSubscriptions(of who: HubIdentity) -> Set<StoredSubscription>
    /// SUBACK and UNSUBACK are sent when `reply(true)` says that it is durable; `false` closes the connection.
    func subscriptionsChanged(
        _ who: HubIdentity, to subscriptions: Set<StoredSubscription>, reply: @escaping @Sendable (Bool) -> Void)

    /// A link that takes cloud-to-device messages for `who` is open: send what waits.
    func cloudToDeviceReady(_ who: HubIdentity)
    /// The device acknowledged the delivery.
    func cloudToDeviceCompleted(_ who: HubIdentity, lockToken: UniqueID)

    func connected(_ who: HubIdentity, at: WallInstant)
    func disconnected(_ who: HubIdentity, at: WallInstant, reason: DisconnectReason)
}
