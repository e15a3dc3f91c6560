public import HubContract
public import Primitives

/// One item of a bulk call.
public enum BulkOperation: Sendable {
    case create(DeviceDraft)
    case update(DeviceDraft, WriteCondition)
    /// Whichever of the two applies; the condition is on what is updated.
    case createOrUpdate(DeviceDraft, WriteCondition = .exists)
    case delete(DeviceID, WriteCondition)
    case createModule(ModuleDraft)
    case updateModule(ModuleDraft, WriteCondition)
    case createOrUpdateModule(ModuleDraft, WriteCondition = .exists)
    case deleteModule(String, of: DeviceID, WriteCondition)

    public var identity: HubIdentity {
        switch self {
        case .create(let draft), .update(let draft, _), .createOrUpdate(let draft, _): HubIdentity(draft.id)
        case .delete(let id, _): HubIdentity(id)
        case .createModule(let draft), .updateModule(let draft, _), .createOrUpdateModule(let draft, _):
            HubIdentity(device: draft.device, module: draft.id)
        case .deleteModule(let id, let device, _): HubIdentity(device: device, module: id)
        }
    }
}

/// Why one item of a bulk call failed; the others are not touched by it.
public struct BulkFailure: Sendable {
    /// Its place in the call, from 0.
    public let position: Int
    public let identity: HubIdentity
    public let error: HubError
}

extension DeviceRegistry {
    /// Does every item by itself, devices before modules; all of them share the store's group commit.
    ///
    /// - Returns: the failures in the order of the call; empty when all succeeded.
    /// - Throws: 413 with more than `bulkMax` items, 400 when an identity comes twice; then nothing was done.
    public func bulk(_ operations: [BulkOperation]) async throws(HubError) -> [BulkFailure] {
        guard operations.count <= Self.bulkMax else {
            throw HubError(
                .tooManyDevices, "\(operations.count) devices in one call; at most \(Self.bulkMax) are taken")
        }
        var seen: Set<HubIdentity> = []
        for operation in operations where !seen.insert(operation.identity).inserted {
            let who = operation.identity
            throw HubError(
                .deviceDefinedMultipleTimes, "\(who.module == nil ? "device" : "module") \(who) comes twice in one call"
            )
        }
        var failures: [BulkFailure] = []
        for isModule in [false, true] {
            failures += await perform(
                operations.enumerated().filter { ($0.element.identity.module != nil) == isModule })
        }
        return failures.sorted { $0.position < $1.position }
    }

    private func perform(_ operations: [(offset: Int, element: BulkOperation)]) async -> [BulkFailure] {
        await withTaskGroup(of: BulkFailure?.self) { tasks in
            for (position, operation) in operations {
                tasks.addTask {
                    do throws(HubError) {
                        try await self.perform(operation)
                        return nil
                    } catch {
                        return BulkFailure(position: position, identity: operation.identity, error: error)
                    }
                }
            }
            var failures: [BulkFailure] = []
            for await case let failure? in tasks { failures.append(failure) }
            return failures
        }
    }

    private func perform(_ operation: BulkOperation) async throws(HubError) {
        switch operation {
        case .create(let draft): try await create(draft)
        case .update(let draft, let condition): try await update(draft, on: condition)
        case .delete(let id, let condition): try await delete(id, on: condition)
        case .createOrUpdate(let draft, let condition):
            if device(draft.id) == nil {
                try await create(draft)
            } else {
                try await update(draft, on: condition)
            }
        case .createModule(let draft): try await create(draft)
        case .updateModule(let draft, let condition): try await update(draft, on: condition)
        case .deleteModule(let id, let device, let condition): try await deleteModule(id, of: device, on: condition)
        case .createOrUpdateModule(let draft, let condition):
            if module(draft.id, of: draft.device) == nil {
                try await create(draft)
            } else {
                try await update(draft, on: condition)
            }
        }
    }
}
