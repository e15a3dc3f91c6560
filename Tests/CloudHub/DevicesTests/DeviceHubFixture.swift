import Devices
import HubContract
import HubTestSupport
import JSON
import Logging
import Primitives
import Registry
import SQLiteHubStore
import Sessions
import Synchronization
import Testing

/// A whole hub without sockets: registry, stores and connected devices on a real database.
final class DeviceHubFixture: Sendable {
    let base: HubFixture
    let connected: ConnectedDevices
    let hub: DeviceHub
    let outcomes = Recorder<C2DOutcome>()

    init() async throws {
        base = try await HubFixture()
        let registry = base.registry
        connected = ConnectedDevices(gatewayOf: { registry.reachingGateway(of: $0) })
        hub = try await Self.hub(base, registry, connected)
        hub.onOutcome { [outcomes] in outcomes.add($0) }
    }

    static func hub(_ base: HubFixture, _ registry: DeviceRegistry, _ connected: ConnectedDevices) async throws
        -> DeviceHub
    {
        let clock = base.clock
        return try await DeviceHub(
            registry: registry, connected: connected, store: SQLiteDeviceStore(base.database), clock: { clock.now },
            logger: Logger(label: "test"))
    }

    /// A hub on the same files, as after a restart, with nobody connected.
    func restarted() async throws -> (hub: DeviceHub, connected: ConnectedDevices) {
        let registry = try await base.restarted()
        let connected = ConnectedDevices(gatewayOf: { registry.reachingGateway(of: $0) })
        return (try await Self.hub(base, registry, connected), connected)
    }

    func device(_ id: String) async throws -> HubIdentity {
        try await base.makeDevice(id)
        return try identity(id)
    }

    func identity(_ text: String) throws -> HubIdentity { try #require(HubIdentity(text)) }

    /// Connects a device that takes everything.
    func connect(
        _ who: HubIdentity, _ kinds: [DeviceSubscription] = DeviceSubscription.allCases,
        scope: StoredSubscription.Scope = .own
    ) -> TestLink {
        let registry = base.registry
        let link = TestLink(who) {
            guard registry.exists(who) else { return .deviceRemoved }
            return registry.device(who.device)?.status == .disabled ? .deviceDisabled : nil
        }
        let subscriptions = kinds.map { StoredSubscription(scope: scope, subscription: $0) }
        _ = connected.connect(link, subscriptions: Set(subscriptions))
        hub.connected(who, at: base.clock.now)
        return link
    }

    func disconnect(_ link: TestLink) {
        connected.disconnect(link)
        hub.disconnected(link.identity, at: base.clock.now, reason: .connectionLost)
    }
}

/// The far end of a connection: keeps what was sent to it, and can be waited for.
final class TestLink: DeviceLink {
    let identity: HubIdentity
    let received = Recorder<(target: HubIdentity, message: DeviceBound)>()
    private let objections: @Sendable () -> DisconnectReason?

    init(_ identity: HubIdentity, objections: @escaping @Sendable () -> DisconnectReason? = { nil }) {
        self.identity = identity
        self.objections = objections
    }

    var objection: DisconnectReason? { objections() }

    func deliver(_ message: DeviceBound, to target: HubIdentity) { received.add((target, message)) }

    /// The next cloud-to-device messages, once there are so many.
    func messages(_ count: Int) async -> [C2DDelivery] {
        await received.first(count).compactMap {
            if case .cloudToDevice(let delivery) = $0.message { delivery } else { nil }
        }
    }
}

/// Collects values from any thread; `first` waits for them.
final class Recorder<Value: Sendable>: Sendable {
    private struct State {
        var values: [Value] = []
        var waiters: [(count: Int, continuation: CheckedContinuation<[Value], Never>)] = []
    }

    private let state = Mutex(State())

    func add(_ value: Value) {
        let ready = state.withLock { state in
            state.values.append(value)
            let ready = state.waiters.filter { $0.count <= state.values.count }
            state.waiters.removeAll { $0.count <= state.values.count }
            return ready.map { ($0.continuation, Array(state.values.prefix($0.count))) }
        }
        for (continuation, values) in ready { continuation.resume(returning: values) }
    }

    var all: [Value] { state.withLock { $0.values } }

    /// The first values, as soon as there are so many.
    func first(_ count: Int) async -> [Value] {
        await withCheckedContinuation { continuation in
            let ready: [Value]? = state.withLock { state in
                if state.values.count >= count { return Array(state.values.prefix(count)) }
                state.waiters.append((count, continuation))
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }
}
