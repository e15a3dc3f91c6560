import Authorities
import HubClock
import AsyncHTTPClient
import CRM
import DeviceAPI
import Devices
import EventLog
import Faults
import Gaps
import Health
import HubConfig
import Hummingbird
import Ingest
import Journal
import Listeners
import LiveState
import Logging
import NIOCore
import Primitives
import Registry
import RuleLibrary
import Rules
import SQLiteHubStore
import ServiceAPI
import ServiceDesk
import Sessions
import Throttles
import TimeZones
import WebUI

/// Every room of a running hub, made and connected.
struct HubRooms: Sendable {
    let log: SQLiteEventLog
    let connected: ConnectedDevices
    let devices: DeviceHub
    let live: LiveState
    let gaps: GapKeeper
    let faults: SQLiteFaultStore
    let faultRuntime: FaultRuntime
    let desk: ServiceDesk
    let pages: WebPages
    let serviceAPI: ServiceAPI
    /// What stands behind every way that devices take into the hub.
    let door: DeviceAPI.Rooms
    let deviceAPI: DeviceAPI
    let files: HubFiles
    let ruleLibrary: RuleLibrary
    let health: HubHealth
    let httpClient: HTTPClient

    static func make(
        _ settings: ServeSettings, stores: HubStores, group: any EventLoopGroup
    ) async throws -> HubRooms {
        let registry = stores.registry
        let log = try SQLiteEventLog(
            path: settings.directory.logDatabase, options: settings.logOptions, logger: Logger(label: "log"),
            now: SystemTime.wall)
        let connected = ConnectedDevices { registry.reachingGateway(of: $0) }
        let throttles = Throttles(settings.config.throttles, clock: SystemTime.monotonic)
        let journal = DeviceJournal(clock: SystemTime.wall) { registry.device($0) != nil }
        let devices = try await DeviceHub(
            registry: registry, connected: connected, store: SQLiteDeviceStore(stores.database),
            cloudToDevice: settings.cloudToDevice, throttles: throttles, journal: journal, clock: SystemTime.wall,
            logger: Logger(label: "devices"))
        // Many may be here: not on the store's thread.
        stores.authorities.onLoss { [weak devices] in Task { devices?.reviewConnections() } }
        let door = DeviceAPI.Rooms(
            authority: RegistryAuthority(registry: registry, authorities: stores.authorities), devices: devices,
            eventLog: log,
            intake: TelemetryIntake { registry.parentage(of: $0) }, throttles: throttles, journal: journal)
        let live = LiveState(log: log)
        let desk = try ServiceDesk(
            DeskConfiguration(folder: settings.directory.path, now: SystemTime.wall), log: Logger(label: "desk"))
        let faults = SQLiteFaultStore(stores.database)
        let runtime = try await FaultRuntime(
            log: log, store: faults, rules: settings.config.rules, now: SystemTime.wall, logger: Logger(label: "faults")
        )
        let pages = try WebPages(
            source: PageAdapter(
                registry: registry, devices: devices, live: live, log: log, desk: desk,
                commandTimeLimit: settings.config.commandTimeLimit), now: SystemTime.wall)
        let database = stores.database
        let health = HubHealth(
            log: log, faults: faults, runtime: runtime, connected: connected,
            probes: [
                StoreProbe("registry", file: "hub.sqlite") { try await database.checkWritable() },
                StoreProbe("desk", file: "desk.sqlite") { try await desk.checkWritable() },
            ])
        return HubRooms(
            log: log, connected: connected, devices: devices, live: live,
            gaps: GapKeeper(
                log: log, caller: GatewayReplay(devices: devices),
                pace: GapMachine.Pace(ripeAfter: settings.config.eventLog.gapWait),
                clock: GapKeeper.Clock(wall: SystemTime.wall, monotonic: SystemTime.monotonic),
                logger: Logger(label: "gaps")),
            faults: faults, faultRuntime: runtime,
            desk: desk, pages: pages,
            serviceAPI: ServiceAPI(
                registry: registry, devices: devices, throttles: throttles, clock: SystemTime.wall),
            door: door,
            deviceAPI: DeviceAPI(
                rooms: door, hostName: settings.hostname,
                waitingBytesMax: settings.config.limits.waitingBytesMax.bytes, clock: SystemTime.wall),
            files: try await HubFiles.make(settings, stores: stores, group: group),
            ruleLibrary: RuleLibrary(
                SQLiteRuleSetStore(stores.database), clock: SystemTime.wall,
                zoneOffset: { zone, time in
                    guard case .named(let name) = zone else { return zone.fixedOffset }
                    return SystemZones.files.rules(of: name)?.offset(at: time.unixSeconds)
                }, zoneProblem: { SystemZones.files.problem(with: $0) }),
            health: health,
            httpClient: HTTPClient(
                eventLoopGroupProvider: .shared(group), configuration: DataverseClient.httpConfiguration))
    }

    func close() async {
        try? await httpClient.shutdown()
        await files.close()
        try? desk.close()
        log.close()
    }
}
