public import Primitives

/// Where the registry outlives the process. Its errors are the store's own; a full disk leaves everything as it was.
public protocol RegistryStore: Sendable {
    /// Everything, in no order. Called once, at start; blocks.
    func loadDevices() throws -> [DeviceEntry]

    /// Reads one device, asks `decide` for what shall stand there instead (`nil` deletes it), writes that and makes it
    /// durable: one transaction, in one order with all other changes.
    ///
    /// - Parameter committed: called once after the change is durable, in the order of the commits, before the function
    ///   returns; not called when `decide` threw or the store failed.
    func change(
        _ id: DeviceID,
        decide: @escaping @Sendable (DeviceEntry?) throws -> DeviceEntry?,
        committed: @escaping @Sendable (_ before: DeviceEntry?, _ after: DeviceEntry?) -> Void
    ) async throws

    /// The shared access policies; empty before the first start. Blocks.
    func loadPolicies() throws -> [AccessPolicy]
    /// Replaces all policies.
    func savePolicies(_ policies: [AccessPolicy]) async throws
}
