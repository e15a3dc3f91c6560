import Authorities
import HubClock
import HubContract
import Primitives
import Registry
import SQLiteHubStore

/// The stores that both a running hub and the command line open.
struct HubStores: Sendable {
    let address: HubAddress
    let database: HubDatabase
    let registry: DeviceRegistry
    let authorities: CertificateAuthorities

    /// Opens them in a directory that is set up; the caller holds its lock.
    static func open(_ directory: DataDirectory) async throws -> HubStores {
        let address =
            HubAddress.load(from: directory.address)
            ?? HubAddress(
                hostname: "localhost", mqttPort: HubAddress.standardMQTTPort, httpsPort: HubAddress.standardHTTPSPort,
                httpPort: ServeSettings.defaultHTTPPort)
        return try await open(directory, address: address)
    }

    static func open(_ directory: DataDirectory, address: HubAddress) async throws -> HubStores {
        let database = try HubDatabase(path: directory.hubDatabase, schema: HubSchema.hub)
        let registry = try await DeviceRegistry(
            store: SQLiteRegistryStore(database), hostNames: [address.hostname], clock: SystemTime.wall)
        let authorities = try CertificateAuthorities(store: SQLiteAuthorityStore(database), clock: SystemTime.wall)
        return HubStores(address: address, database: database, registry: registry, authorities: authorities)
    }

    func close() { try? database.close() }
}
