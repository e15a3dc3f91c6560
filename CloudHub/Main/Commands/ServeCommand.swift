import ArgumentParser
import Glibc
import HubConfig
import Listeners
import Logging
import Primitives
import SQLiteHubStore

/// `cloud-hub serve`
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Runs the hub until SIGTERM.",
        discussion: """
            An empty data directory is set up first: keys, certificates, databases. Later starts change nothing. When \
            every listener accepts, one line beginning 'cloud-hub ready' is printed. SIGTERM stops the hub; SIGHUP makes \
            it look at its certificate files.
            """)
    @OptionGroup var common: CommonOptions
    @Option(
        help: ArgumentHelp(
            "The name that devices call the hub by (default: localhost, or the name of the last start).",
            valueName: "name"))
    var hostname: String?
    @Option(help: ArgumentHelp("Where devices connect by MQTT (default: 127.0.0.1:8883).", valueName: "host:port"))
    var mqtt: String?
    @Option(
        help: ArgumentHelp(
            """
            Where services and pages are served by HTTPS, and where devices behind a firewall connect: by MQTT over \
            WebSocket at /$iothub/websocket, or by plain MQTT with the ALPN name mqtt (default: 127.0.0.1:443).
            """, valueName: "host:port"))
    var https: String?
    @Option(
        help: ArgumentHelp(
            "Where pages are served by plain HTTP, on a loopback address only (default: 127.0.0.1:8088).",
            valueName: "host:port"))
    var http: String?
    @Option(
        help: ArgumentHelp("A configuration file; Deploy/config/cloud-hub.toml explains every key.", valueName: "file"))
    var config: String?
    @Flag(help: "Do not run the connector: faults wait, and no command reaches a device.")
    var withoutConnector = false

    func run() async throws {
        #if DEBUG
            if let bug = getenv("FIELDLINE_PLANTED_BUG"),
                let problem = PlantedBug.plant(String(cString: bug), of: Self.plantedBugs)
            {
                throw CommandFailure.wrongCall("FIELDLINE_PLANTED_BUG: \(problem)")
            }
        #endif
        let settings = try ServeSettings.read(self)
        LoggingSystem.bootstrap { OneLineLog(label: $0, level: settings.logLevel) }
        try settings.directory.create()
        guard let lock = try settings.directory.tryLock() else {
            throw CommandFailure.failed(
                "another hub holds \(settings.directory.path); stop it, or choose another data directory with --data")
        }
        defer { withExtendedLifetime(lock) {} }
        try await HubServer.run(settings)
    }

    #if DEBUG
        private static let plantedBugs: [PlantedBug] = [
            .hubAcknowledgesBeforeCommit, .hubCommitsWithoutSync, .hubKeepsRepeats,
        ]
    #endif
}
