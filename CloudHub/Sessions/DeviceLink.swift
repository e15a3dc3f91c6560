public import HubContract

/// The open connection of one identity, seen from the rooms behind it.
public protocol DeviceLink: AnyObject, Sendable {
    /// Who authenticated on this connection.
    var identity: HubIdentity { get }
    /// Why it may not stay any longer, because the registry was changed since it was let in; `nil` while it may.
    /// Any thread.
    var objection: DisconnectReason? { get }

    /// Sends it down. Any thread; returns at once; messages of one caller keep their order. `target` is the identity or
    /// a child of it: for a child the link adds the `$fieldline/{child}/` prefix. What cannot be sent any more is
    /// dropped in silence: a method times out, a cloud-to-device message stays in its queue.
    func deliver(_ message: DeviceBound, to target: HubIdentity)
}
