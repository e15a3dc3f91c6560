import Authorities
import HubClock
import AsyncHTTPClient
import BlobStore
import CRM
import Control
import DeviceAPI
import Devices
import EventLog
import Faults
import FileUpload
import Gaps
import Glibc
import Health
import HubConfig
import HubContract
import JSON
import Hummingbird
import Ingest
import Listeners
import LiveState
import Logging
import NIOCore
import NIOPosix
import Primitives
import Registry
import RuleLibrary
import RuleSets
import SQLiteHubStore
import ServiceAPI
import ServiceDesk
import Sessions
import Synchronization
import Trace
import UnixSignals
import WebListener
import WebUI

/// The running hub: makes every room, connects them, runs until a signal comes, and stops them in the opposite order.
struct HubServer {
    private let settings: ServeSettings
    private let stores: HubStores
    private let rooms: HubRooms
    private let group: any EventLoopGroup
    private let logger = Logger(label: "hub")

    static func run(_ settings: ServeSettings) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let address = HubAddress(
            hostname: settings.hostname, mqttPort: settings.mqtt.port, httpsPort: settings.https.port,
            httpPort: settings.http.port)
        let stores = try await HubStores.open(settings.directory, address: address)
        let rooms = try await HubRooms.make(settings, stores: stores, group: group)
        do {
            try await HubServer(settings: settings, stores: stores, rooms: rooms, group: group).serve()
        } catch {
            await rooms.close()
            stores.close()
            throw error
        }
    }

    private func serve() async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
        let certificates = try HubCertificates(settings: settings)
        let tls = try certificates.serverTLS()
        let http = makeHTTP()
        let httpPort = try await started("HTTP", at: settings.http) { try await http.start() }
        let admission = makeAdmission()
        let listener = makeListener(tls, admission)
        let mqttPort = try await started("MQTT", at: settings.mqtt) { try await listener.start() }
        let https = makeHTTPS(.tls(tls, admission, mqtt: listener.connections))
        let httpsPort = try await started("HTTPS", at: settings.https) { try await https.start() }
        let address = HubAddress(
            hostname: settings.hostname, mqttPort: mqttPort, httpsPort: httpsPort, httpPort: httpPort)
        try address.save(to: settings.directory.address)
        let connector = try makeConnector(address)
        let control = try await startControl(address, connector)
        rooms.health.parts.withLock { parts in
            parts.listener = listener
            parts.admission = admission
            parts.certificate = { certificates.certificate }
            parts.connectorTrouble = { Self.trouble(connector?.health) }
            parts.storeTrouble = rooms.files.trouble
        }
        let background = Task { await runBackground(connector, certificates: certificates, listener: listener) }
        StandardStream.output(
            "cloud-hub ready mqtts://\(settings.mqtt.host):\(mqttPort) https://\(settings.https.host):\(httpsPort) "
                + "http://\(settings.http.host):\(httpPort)")
        for await signal in signals {
            guard signal != .sighup else {
                certificates.look()
                continue
            }
            logger.info("stopping", metadata: ["signal": "\(signal)"])
            break
        }
        await listener.stop()
        await control.stop()
        background.cancel()
        await background.value
        await https.stop()
        await http.stop()
        await rooms.close()
        stores.close()
    }

    // MARK: listeners

    private func makeHTTP() -> WebListener {
        let router = Router(context: WebRequestContext.self)
        rooms.pages.addRoutes(to: router, isOverTLS: false)
        rooms.health.routes.addRoutes(to: router)
        rooms.desk.addRoutes(to: router)
        rooms.pages.addFallback(to: router, isOverTLS: false)
        return makeWeb(router, at: settings.http, security: .plain, label: "http")
    }

    /// Devices whose network lets nothing else pass come here too.
    private func makeHTTPS(_ security: WebListener.Security) -> WebListener {
        let router = Router(context: WebRequestContext.self)
        rooms.pages.addRoutes(to: router, isOverTLS: true)
        rooms.health.routes.addRoutes(to: router)
        rooms.desk.addRoutes(to: router)
        rooms.serviceAPI.addRoutes(to: router)
        FileUploadAPI(rooms.files.uploads, devices: rooms.deviceAPI, hostName: settings.hostname)
            .addRoutes(to: router, peer: Self.peer)
        rooms.files.endpoint?.addRoutes(to: router)
        makeRuleSetAPI().addRoutes(to: router, peer: Self.peer)
        rooms.deviceAPI.addRoutes(to: router, peer: Self.peer)
        rooms.pages.addFallback(to: router, isOverTLS: true)
        return makeWeb(router, at: settings.https, security: security, label: "https")
    }

    private func makeRuleSetAPI() -> RuleSetAPI {
        RuleSetAPI(rooms.ruleLibrary, devices: rooms.deviceAPI) { [devices = rooms.devices] id throws(HubError) in
            RuleSetWish(try await devices.twin(HubIdentity(id)).desired.properties[RuleSetReference.property])
        }
    }

    @Sendable private static func peer(_ context: WebRequestContext) -> DevicePeer {
        let shown = context.peer.certificate
        return DevicePeer(
            address: context.peer.address, leafSHA1: shown?.leafSHA1, leafSHA256: shown?.leafSHA256,
            chain: shown?.chain ?? [])
    }

    private func makeWeb(
        _ router: Router<WebRequestContext>, at address: HostPort, security: WebListener.Security, label: String
    ) -> WebListener {
        var configuration = WebListener.Configuration()
        configuration.host = address.host
        configuration.port = address.port
        configuration.connectionsMax = settings.config.limits.connectionsMax
        configuration.requestTimeout = settings.config.limits.connectTimeout
        // Hummingbird tells of every request at the lower levels; only trouble is wanted.
        var logger = Logger(label: label)
        logger.logLevel = .warning
        return WebListener(
            configuration: configuration, security: security, responder: router.buildResponder(),
            runtime: .init(group: group, logger: logger, now: SystemTime.wall))
    }

    private func makeAdmission() -> HandshakeAdmission {
        let config = settings.config.limits
        let loops = max(1, group.makeIterator().reduce(0) { count, _ in count + 1 })
        var limits = HandshakeLimits()
        limits.inProgressMax = config.handshakesMax
        limits.slowMax = config.handshakesSlowMax
        limits.patience = config.handshakePatience
        limits.waitingMax = max(1, config.handshakesWaitingMax / loops)
        limits.timeout = config.handshakeTimeout
        limits.waitMax = config.handshakeWait
        return HandshakeAdmission(limits: limits, group: group)
    }

    private func makeListener(_ tls: ServerTLS, _ admission: HandshakeAdmission) -> MQTTListener {
        var configuration = MQTTListener.Configuration()
        configuration.host = settings.mqtt.host
        configuration.port = settings.mqtt.port
        configuration.connectionsMax = settings.config.limits.connectionsMax
        configuration.connectTimeout = settings.config.limits.connectTimeout
        configuration.waitingBytesMax = settings.config.limits.waitingBytesMax.bytes
        let door = rooms.door
        let dependencies = MQTTDependencies(
            authority: door.authority, services: rooms.devices, connected: rooms.connected, eventLog: rooms.log,
            intake: door.intake, throttles: door.throttles, journal: door.journal,
            nameIn: { CertificateName.common(inDER: $0) }, logger: Logger(label: "mqtt"), now: SystemTime.wall)
        return MQTTListener(
            configuration: configuration, tls: tls, admission: admission, dependencies: dependencies, group: group)
    }

    private func started<Value>(
        _ name: String, at address: HostPort, _ start: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await start()
        } catch let error as IOError {
            throw CommandFailure.failed(
                "the \(name) listener cannot be opened at \(address): \(String(cString: strerror(error.errnoCode))); "
                    + "stop what uses that address, or choose another")
        } catch {
            throw CommandFailure.failed(
                "the \(name) listener cannot be opened at \(address): \(error); choose an address of this machine")
        }
    }

    private func startControl(_ address: HubAddress, _ connector: Connector?) async throws -> ControlServer {
        let rooms = rooms
        let directory = settings.directory
        let verbs = Verbs(
            directory: directory, address: address, registry: stores.registry, authorities: stores.authorities,
            database: stores.database,
            running: Verbs.RunningHub(
                devices: rooms.devices, journal: rooms.door.journal, log: rooms.log, live: rooms.live,
                faults: rooms.faults, gaps: rooms.gaps,
                tracer: Tracer(log: rooms.log, faults: rooms.faults) { await Self.lookUp($0, connector) },
                pages: rooms.pages, blobs: rooms.files.uploads.target.blobs,
                rules: settings.ruleTable, ruleLibrary: rooms.ruleLibrary,
                backup: { [blobs = rooms.files.uploads.target.blobs] target, withFiles in
                    let make = {
                        // It waits for the disk, perhaps for minutes.
                        try await NIOThreadPool.singleton.runIfActive {
                            try BackupFiles.make(of: directory, to: target, withUploads: withFiles)
                        }
                    }
                    if let blobs { try await blobs.keepingFiles(make) } else { try await make() }
                }, filesElsewhere: settings.config.files.elsewhere))
        return try await ControlServer.start(path: directory.socket, group: group) {
            try await verbs.perform($0, send: $1)
        }
    }

    /// A fault's row as the CRM has it now.
    private static func lookUp(_ fault: Fault, _ connector: Connector?) async -> FaultTrace.CRMRow {
        guard let connector else { return .unknown("this hub runs without the connector") }
        do throws(DataverseClientError) {
            guard let alert = try await connector.alert(of: fault) else { return .absent }
            return .found(
                FaultTrace.Alert(
                    id: alert.id, state: alert.state, caseID: alert.caseID, workOrderID: alert.workOrderID))
        } catch {
            return .unknown(error.description)
        }
    }

    // MARK: what runs by itself

    private func makeConnector(_ address: HubAddress) throws -> Connector? {
        guard !settings.withoutConnector else { return nil }
        let configuration = try settings.crm(embedded: rooms.desk.credentials, httpPort: address.httpPort)
        // Who reads a CRM elsewhere sits at another machine.
        let pages =
            settings.config.crm == nil ? "http://127.0.0.1:\(address.httpPort)" : "https://\(address.serviceHost)"
        let problems = configuration.problems
        guard problems.isEmpty else { throw CommandFailure.wrongCall(problems.joined(separator: "\n")) }
        let client = DataverseClient(configuration, http: rooms.httpClient, now: SystemTime.monotonic)
        return Connector(
            client: client, faults: rooms.faults, records: SQLiteConnectorStore(stores.database),
            dispatcher: DeviceDispatcher(devices: rooms.devices),
            configuration: ConnectorConfiguration(
                hubID: try HubIdentityFile.loadOrCreate(settings.directory.hubID),
                pagesURL: pages, commands: settings.commandLimits,
                pollInterval: settings.config.commandPollInterval),
            clock: ConnectorClock(wall: SystemTime.wall, monotonic: SystemTime.monotonic), log: Logger(label: "crm"))
    }

    private func runBackground(_ connector: Connector?, certificates: HubCertificates, listener: MQTTListener) async {
        await withDiscardingTaskGroup { group in
            if let connector {
                rooms.desk.onCommandCreated { connector.commandsCreated() }
                rooms.faultRuntime.onQueued { connector.alertsQueued() }
                group.addTask { await connector.run() }
            } else {
                logger.warning("the connector does not run: faults wait, and no command reaches a device")
            }
            group.addTask { await rooms.devices.run() }
            group.addTask { await stores.authorities.watch() }
            group.addTask { await rooms.live.run() }
            group.addTask { await rooms.gaps.run() }
            group.addTask { await rooms.files.uploads.run() }
            group.addTask { await rooms.faultRuntime.run() }
            group.addTask { await certificates.watch() }
        }
    }

    private static func trouble(_ health: ConnectorPace.Health?) -> String {
        switch health {
        case .healthy?: ""
        case .waiting(let sentence)?, .needsAttention(let sentence)?: sentence
        case nil: "the connector does not run: start the hub without --without-connector"
        }
    }
}
