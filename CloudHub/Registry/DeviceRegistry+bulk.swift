public import HubContract
public import Primitives

/// One item of a bulk call.
public enum BulkOperation: Sendable {
    case create(DeviceDraft)
    case update(DeviceDraft, WriteCondition)
    /// Whichever of the two applies; the condition is on what is updated.
    case createOrUpdate(DeviceDraft, WriteCondition = .exists)
    case delete(DeviceID, WriteCondition)

    public var device: DeviceID {
        switch self {
        case .create(let draft), .update(let draft, _), .createOrUpdate(let draft, _): draft.id
        case .delete(let id, _): id
        }
    }
}

/// Why one item of a bulk call failed; the others are not touched by it.
public struct BulkFailure: Sendable {
    /// Its place in the call, from 0.
    public let position: Int
    public let device: DeviceID
    public let error: HubError
}

extension DeviceRegistry {
    /// Does every item by itself; all of them share the store's group commit.
    ///
    /// - Returns: the failures in the order of the call; empty when all succeeded.
    /// - Throws: 413 with more than `bulkMax` items, 400 when a device comes twice; then nothing was done.
    public func bulk(_ operations: [BulkOperation]) async throws(HubError) -> [BulkFailure] {
        guard operations.count <= Self.bulkMax else {
            throw HubError(
                .tooManyDevices, "\(operations.count) devices in one call; at most \(Self.bulkMax) are taken")
        }
        var seen: Set<DeviceID> = []
        for operation in operations where !seen.insert(operation.device).inserted {
            throw HubError(.deviceDefinedMultipleTimes, "device \(operation.device) comes twice in one call")
        }
        return await withTaskGroup(of: BulkFailure?.self) { tasks in
            for (position, operation) in operations.enumerated() {
                tasks.addTask {
                    do throws(HubError) {
                        try await self.perform(operation)
                        return nil
                    } catch {
                        return BulkFailure(position: position, device: operation.device, error: error)
                    }
                }
            }
            var failures: [BulkFailure] = []
            for await case let failure? in tasks { failures.append(failure) }
            return failures.sorted { $0.position < $1.position }
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
        }
    }
}
