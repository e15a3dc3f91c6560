import HubContract
public import Primitives
public import Registry
public import SQLiteHubStore
import Synchronization

/// A registry on a real database in a folder of its own, with a clock that the test moves.
public final class HubFixture: Sendable {
    public let folder: TemporaryFolder
    public let database: HubDatabase
    public let registry: DeviceRegistry
    public let clock: TestClock

    public static let hostName = "hub.example"

    public init() async throws {
        folder = try TemporaryFolder()
        let clock = TestClock()
        self.clock = clock
        database = try HubDatabase(path: folder.file("hub.sqlite"), schema: HubSchema.hub)
        registry = try await DeviceRegistry(
            store: SQLiteRegistryStore(database), hostNames: [Self.hostName, "localhost"], clock: { clock.now })
    }

    /// A second registry on the same file, as after a restart.
    public func restarted() async throws -> DeviceRegistry {
        let clock = clock
        return try await DeviceRegistry(
            store: SQLiteRegistryStore(database), hostNames: [Self.hostName, "localhost"], clock: { clock.now })
    }

    @discardableResult
    public func makeDevice(_ id: String) async throws -> DeviceRecord {
        try await registry.create(DeviceDraft(id: try Self.id(id)))
    }

    @discardableResult
    public func makeGateway(_ id: String, children: [String] = []) async throws -> DeviceRecord {
        let gateway = try await registry.create(DeviceDraft(id: try Self.id(id), isGateway: true))
        for child in children { try await registry.create(DeviceDraft(id: try Self.id(child), parent: gateway)) }
        return gateway
    }

    /// A token as device SDKs make it.
    public static func token(
        key: Secret, path: [String], expiry: Int64, host: String = hostName, policy: String? = nil
    ) -> String {
        SASToken.build(
            resource: SASToken.resource(host: host, path: path), key: key.bytes, expiry: expiry, policy: policy,
            hmacSHA256: DeviceRegistry.hmacSHA256)
    }

    public static func id(_ text: String) throws -> DeviceID {
        guard let id = DeviceID(text) else { throw Failure.badID(text) }
        return id
    }

    public enum Failure: Error { case badID(String) }
}

/// A wall clock that stands still until the test moves it.
public final class TestClock: Sendable {
    private let instant = Mutex(WallInstant(milliseconds: 1_795_251_600_000))

    public init() {}

    /// 2026-11-21T09:00:00Z at first.
    public var now: WallInstant { instant.withLock { $0 } }

    public func advance(by duration: Duration) { instant.withLock { $0 = $0 + duration } }
}

extension DeviceRecord {
    /// The primary key of a device with symmetric keys.
    public var primaryKey: Secret? {
        if case .sas(let primary, _) = authentication { primary } else { nil }
    }

    public var secondaryKey: Secret? {
        if case .sas(_, let secondary) = authentication { secondary } else { nil }
    }
}
