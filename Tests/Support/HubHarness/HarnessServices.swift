public import HubContract
public import Primitives
public import Sessions
import Synchronization

/// The rooms behind a session, kept in memory: remembers what it was asked, answers at once.
public final class HarnessServices: DeviceServices {
    public enum Call: Sendable, Hashable {
        case twinRequested(HubIdentity)
        case reportedPatched(HubIdentity, patch: [UInt8], ifVersion: Int64?)
        case methodAnswered(HubIdentity, rid: String, status: Int, payload: [UInt8])
        case subscriptionsChanged(HubIdentity, Set<StoredSubscription>)
        case cloudToDeviceReady(HubIdentity)
        case cloudToDeviceCompleted(HubIdentity, UniqueID)
        case connected(HubIdentity)
        case disconnected(HubIdentity, DisconnectReason)
    }

    private struct State {
        var calls: [Call] = []
        var subscriptions: [HubIdentity: Set<StoredSubscription>] = [:]
        /// Answers to patches that wait, while they are held.
        var heldReplies: [@Sendable () -> Void]?
    }

    private let state = Mutex(State())

    public init() {}

    public var calls: [Call] { state.withLock { $0.calls } }

    public func store(_ subscriptions: Set<StoredSubscription>, of who: HubIdentity) {
        state.withLock { $0.subscriptions[who] = subscriptions }
    }

    /// From now on patches are noted but not answered, as by a database that is slow.
    public func holdPatches() { state.withLock { $0.heldReplies = [] } }

    /// Answers the held patches, and those to come at once.
    public func releasePatches() {
        let held = state.withLock { state in
            defer { state.heldReplies = nil }
            return state.heldReplies ?? []
        }
        for reply in held { reply() }
    }

    private func note(_ call: Call) { state.withLock { $0.calls.append(call) } }

    public func twinRequested(_ who: HubIdentity, reply: @escaping @Sendable (TwinAnswer) -> Void) {
        note(.twinRequested(who))
        reply(TwinAnswer(status: 200, body: Array(#"{"desired":{"$version":1},"reported":{"$version":1}}"#.utf8)))
    }

    public func reportedPatched(
        _ who: HubIdentity, patch: [UInt8], ifVersion: Int64?, reply: @escaping @Sendable (TwinAnswer) -> Void
    ) {
        note(.reportedPatched(who, patch: patch, ifVersion: ifVersion))
        let isHeld = state.withLock { state in
            state.heldReplies?.append { reply(TwinAnswer(status: 204, version: 2)) }
            return state.heldReplies != nil
        }
        if !isHeld { reply(TwinAnswer(status: 204, version: 2)) }
    }

    public func methodAnswered(_ who: HubIdentity, rid: String, status: Int, payload: [UInt8]) {
        note(.methodAnswered(who, rid: rid, status: status, payload: payload))
    }

    public func storedSubscriptions(of who: HubIdentity) -> Set<StoredSubscription> {
        state.withLock { $0.subscriptions[who] ?? [] }
    }

    public func subscriptionsChanged(
        _ who: HubIdentity, to subscriptions: Set<StoredSubscription>, reply: @escaping @Sendable (Bool) -> Void
    ) {
        store(subscriptions, of: who)
        note(.subscriptionsChanged(who, subscriptions))
        reply(true)
    }

    public func cloudToDeviceReady(_ who: HubIdentity) { note(.cloudToDeviceReady(who)) }

    public func cloudToDeviceCompleted(_ who: HubIdentity, lockToken: UniqueID) {
        note(.cloudToDeviceCompleted(who, lockToken))
    }

    public func connected(_ who: HubIdentity, at: WallInstant) { note(.connected(who)) }

    public func disconnected(_ who: HubIdentity, at: WallInstant, reason: DisconnectReason) {
        note(.disconnected(who, reason))
    }
}
