import EdgeStore
import Outbox
import Testing

/// Every implementation of the contract.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case memory, sqlite
    var testDescription: String { rawValue }

    func withStore(
        limits: OutboxLimits = OutboxLimits(), clocks: TestClocks = TestClocks(),
        _ body: (any OutboxStore) throws -> Void
    ) throws {
        switch self {
        case .memory: try body(MemoryOutbox(limits: limits, clock: clocks.clock))
        case .sqlite:
            let folder = try TemporaryFolder()
            try body(try SQLiteOutbox(path: folder.path + "/outbox.sqlite", limits: limits, clock: clocks.clock))
        }
    }
}

func everything(_ lane: OutboxLane, bytesMax: Int = 1_000_000) -> TakeRequest {
    TakeRequest(lane: lane, after: 0, bytesMax: bytesMax)
}
