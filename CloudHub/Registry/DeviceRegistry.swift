import Crypto
public import HubContract
public import Primitives
import Synchronization

/// The devices and modules of the hub: looked up in memory, written through to the store.
///
/// Lookups take one short lock and no thread switch. A write is checked and made inside one transaction of the store,
/// and shows in lookups only once it is durable. Thread-safe.
public final class DeviceRegistry: Sendable {
    /// Devices in one hub: the hub's own limit, as IoT Hub's.
    public static let devicesMax = 1_000_000
    /// Modules of one device. Source: IoT Hub quotas.
    public static let modulesMax = 50
    /// Devices in one bulk call or one page of a list. Source: IoT Hub quotas.
    public static let bulkMax = 100
    public static let listMax = 1000
    /// Characters of a status reason. Source: IoT Hub, device identity properties.
    public static let statusReasonMax = 128

    /// Names that devices may call this hub by; the first is the one shown in sentences.
    public let hostNames: [String]
    let clock: @Sendable () -> WallInstant
    let policies: [AccessPolicy]
    private let store: any RegistryStore
    private let index: Mutex<RegistryIndex>
    private let observers = Mutex<[@Sendable (HubIdentity, AccessLoss) -> Void]>([])
    private let enabledObservers = Mutex<[@Sendable (DeviceID) -> Void]>([])

    /// Loads everything; makes the five shared access policies on the first start. Call it off the event loops.
    ///
    /// - Parameters:
    ///   - hostNames: at least one; without ports.
    ///   - clock: the time for creation stamps.
    /// - Throws: what the store threw.
    public init(
        store: any RegistryStore, hostNames: [String], clock: @escaping @Sendable () -> WallInstant
    ) async throws {
        precondition(!hostNames.isEmpty, "a registry needs the hub's name")
        var loaded = RegistryIndex()
        for entry in try store.loadDevices() { loaded.replace(nil, with: entry) }
        var policies = try store.loadPolicies()
        if policies.isEmpty {
            policies = AccessPolicy.standard.map { name, rights in
                AccessPolicy(name: name, rights: rights, primary: Self.newKey(), secondary: Self.newKey())
            }
            try await store.savePolicies(policies)
        }
        self.store = store
        self.hostNames = hostNames
        self.clock = clock
        self.policies = policies
        index = Mutex(loaded)
    }

    // MARK: - Lookups

    public func device(_ id: DeviceID) -> DeviceRecord? { entry(id)?.device }

    public func module(_ id: String, of device: DeviceID) -> ModuleRecord? { entry(device)?.modules[id] }

    /// Whether the identity exists, enabled or not.
    public func exists(_ identity: HubIdentity) -> Bool {
        guard let entry = entry(identity.device) else { return false }
        return identity.module.map { entry.modules[$0] != nil } ?? true
    }

    public func modules(of device: DeviceID) -> [ModuleRecord]? {
        entry(device).map { $0.modules.values.sorted { $0.id < $1.id } }
    }

    /// The gateway that speaks for the device; `nil` when none does.
    public func gateway(of child: DeviceID) -> DeviceID? { index.withLock { $0.gateway(of: child) } }

    /// As `gateway(of:)`, and whether the child itself is enabled, by one lookup.
    public func parentage(of child: DeviceID) -> (gateway: DeviceID, isEnabled: Bool)? {
        index.withLock { index in index.gateway(of: child).map { ($0, index.isEnabled(child)) } }
    }

    /// The gateway through which the device is reached; `nil` when there is none, or when the device is disabled.
    public func reachingGateway(of child: DeviceID) -> DeviceID? {
        parentage(of: child).flatMap { $0.isEnabled ? $0.gateway : nil }
    }

    /// The devices that this gateway speaks for, by id; empty when it is no gateway.
    public func children(of gateway: DeviceID) -> [DeviceID] {
        index.withLock { $0.children(of: gateway) }.sorted()
    }

    /// The first devices by id, after `after` when given. O(n log n) in the number of devices.
    ///
    /// - Parameter most: 1 … `listMax`; outside it is brought inside.
    public func list(most: Int = DeviceRegistry.listMax, after: DeviceID? = nil) -> [DeviceRecord] {
        let entries = index.withLock { $0.entries }
        let ids = after.map { after in entries.keys.filter { $0 > after } } ?? Array(entries.keys)
        return ids.sorted().prefix(min(max(most, 1), Self.listMax)).compactMap { entries[$0]?.device }
    }

    /// Devices whose id contains `text` (ASCII case does not count), by id, and how many there are in all.
    /// O(n log n) in the number of devices.
    ///
    /// - Parameter most: 1 … `listMax`; outside it is brought inside.
    public func find(
        containing text: String, skipping: Int, most: Int
    ) -> (records: [DeviceRecord], matchingCount: Int) {
        let entries = index.withLock { $0.entries }
        let wanted = text.lowercased()
        let ids = wanted.isEmpty ? Array(entries.keys) : entries.keys.filter { $0.text.lowercased().contains(wanted) }
        let shown = ids.sorted().dropFirst(max(skipping, 0)).prefix(min(max(most, 1), Self.listMax))
        return (shown.compactMap { entries[$0]?.device }, ids.count)
    }

    public var statistics: RegistryStatistics {
        let entries = index.withLock { $0.entries }
        let disabled = entries.values.count { $0.device.status == .disabled }
        return RegistryStatistics(total: entries.count, disabled: disabled)
    }

    /// The shared access policy of this name.
    public func policy(_ name: String) -> AccessPolicy? { policies.first { $0.name == name } }

    /// Calls `observer` whenever an identity lost its access, so that its connection is cut; on the store's thread,
    /// after the change is durable. Observers live as long as the registry.
    public func onAccessLost(_ observer: @escaping @Sendable (HubIdentity, AccessLoss) -> Void) {
        observers.withLock { $0.append(observer) }
    }

    /// Calls `observer` whenever a disabled device was enabled; else as `onAccessLost`.
    public func onEnabled(_ observer: @escaping @Sendable (DeviceID) -> Void) {
        enabledObservers.withLock { $0.append(observer) }
    }

    func entry(_ id: DeviceID) -> DeviceEntry? { index.withLock { $0.entries[id] } }

    // MARK: - Devices

    /// - Throws: 409 DeviceAlreadyExists; 400 when the draft breaks a rule; 403 when the hub is full; 503 or 500 when
    ///   the store failed.
    @discardableResult
    public func create(_ draft: DeviceDraft) async throws(HubError) -> DeviceRecord {
        guard index.withLock({ $0.entries.count }) < Self.devicesMax else {
            throw HubError(.iotHubQuotaExceeded, "the hub holds \(Self.devicesMax) devices, which is its limit")
        }
        return try await write(draft, on: .absent)
    }

    /// Replaces what the draft names; keys that it leaves out stay.
    ///
    /// - Throws: 404 DeviceNotFound; 412 when the condition does not hold; else as `create`.
    @discardableResult
    public func update(_ draft: DeviceDraft, on condition: WriteCondition = .exists) async throws(HubError)
        -> DeviceRecord
    {
        try await write(draft, on: condition)
    }

    /// Takes the device away with its modules, twin, messages and subscriptions.
    ///
    /// - Throws: 404 DeviceNotFound; 412 when the condition does not hold.
    public func delete(_ id: DeviceID, on condition: WriteCondition = .exists) async throws(HubError) {
        try await change(id) { entry in
            guard let entry else { throw HubError.noDevice(id) }
            try condition.check(etag: entry.device.etag, which: "device \(id)")
            return nil
        }
    }

    private func write(_ draft: DeviceDraft, on condition: WriteCondition) async throws(HubError) -> DeviceRecord {
        try check(draft)
        let now = clock()
        return try await change(draft.id) { entry in
            try DeviceRules.apply(draft, to: entry, on: condition, now: now)
        }.unwrapped().device
    }

    private func check(_ draft: DeviceDraft) throws(HubError) {
        if let reason = draft.statusReason, reason.count > Self.statusReasonMax {
            throw HubError(
                .argumentInvalid, "statusReason has \(reason.count) characters; at most \(Self.statusReasonMax) fit")
        }
        guard draft.parentScopes.count <= 1 else {
            throw HubError(
                .argumentInvalid, "parentScopes has \(draft.parentScopes.count) entries; a device has one parent")
        }
        let own = entry(draft.id)?.device
        let above = draft.parentScopes.first ?? (draft.capabilities.iotEdge ? nil : draft.deviceScope)
        guard let above else { return }
        guard above != own?.deviceScope || own?.capabilities.iotEdge != true else {
            throw HubError(.argumentInvalid, "device \(draft.id) cannot be its own parent")
        }
        guard index.withLock({ $0.isGatewayScope(above) }) else {
            throw HubError(
                .argumentInvalid,
                "no gateway has the scope '\(above.prefix(256))'; create the gateway first and copy its deviceScope")
        }
    }

    // MARK: - Modules

    @discardableResult
    public func create(_ draft: ModuleDraft) async throws(HubError) -> ModuleRecord {
        try await write(draft, on: .absent)
    }

    @discardableResult
    public func update(_ draft: ModuleDraft, on condition: WriteCondition = .exists) async throws(HubError)
        -> ModuleRecord
    {
        try await write(draft, on: condition)
    }

    /// - Throws: 404 DeviceNotFound or ModuleNotFound; 412.
    public func deleteModule(
        _ id: String, of device: DeviceID, on condition: WriteCondition = .exists
    ) async throws(HubError) {
        try await change(device) { entry in
            guard let entry else { throw HubError.noDevice(device) }
            guard let module = entry.modules[id] else { throw HubError.noModule(id, of: device) }
            try condition.check(etag: module.etag, which: "module \(device)/\(id)")
            return DeviceEntry(device: entry.device, modules: entry.modules.filter { $0.key != id })
        }
    }

    private func write(_ draft: ModuleDraft, on condition: WriteCondition) async throws(HubError) -> ModuleRecord {
        let now = clock()
        let after = try await change(draft.device) { entry in
            try DeviceRules.apply(draft, to: entry, on: condition, now: now)
        }.unwrapped()
        guard let module = after.modules[draft.id] else { preconditionFailure("a written module is in its device") }
        return module
    }

    // MARK: - Writing through

    @discardableResult
    private func change(
        _ id: DeviceID, _ decide: @escaping @Sendable (DeviceEntry?) throws -> DeviceEntry?
    ) async throws(HubError) -> DeviceEntry? {
        let outcome = OutcomeBox()
        do {
            try await store.change(id, decide: decide) { [self] before, after in
                index.withLock { $0.replace(before, with: after) }
                outcome.entry.withLock { $0 = after }
                tellOfLosses(before, after)
                if let after, before?.device.status == .disabled, after.device.status == .enabled {
                    for observer in enabledObservers.withLock({ $0 }) { observer(after.device.id) }
                }
            }
        } catch let error as HubError {
            throw error
        } catch {
            throw HubError(.serviceUnavailable, "the registry could not be changed: \(error)")
        }
        return outcome.entry.withLock { $0 }
    }

    private func tellOfLosses(_ before: DeviceEntry?, _ after: DeviceEntry?) {
        let losses = AccessLoss.between(before, after)
        guard !losses.isEmpty else { return }
        for observer in observers.withLock({ $0 }) {
            for (identity, loss) in losses { observer(identity, loss) }
        }
    }

    /// 32 bytes of the system's cryptographic random source.
    static func newKey() -> Secret { SymmetricKey(size: .bits256).withUnsafeBytes { Secret($0) } }
}

/// Counts over the whole registry.
public struct RegistryStatistics: Sendable, Equatable {
    public let total: Int
    public let disabled: Int
    public var enabled: Int { total - disabled }

    public init(total: Int, disabled: Int) {
        self.total = total
        self.disabled = disabled
    }
}

private final class OutcomeBox: Sendable {
    let entry = Mutex<DeviceEntry?>(nil)
}

extension DeviceEntry? {
    fileprivate func unwrapped() -> DeviceEntry {
        guard let self else { preconditionFailure("a write that is no deletion leaves an entry") }
        return self
    }
}
