// swift-tools-version: 6.2
// One line a room, in dependency order: this manifest is the map. ARCHITECTURE.md says what each room is for, and
// Tests/Tidy holds both to each other.
import PackageDescription

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),  // the cost of a box is written where it is paid
    .enableUpcomingFeature("InternalImportsByDefault"),  // a room's imports do not leak through its door
    .enableUpcomingFeature("MemberImportVisibility"),  // a member is used only where its module is imported
    .treatAllWarnings(as: .error),
]

func room(_ name: String, _ path: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: settings)
}

func program(_ name: String, _ path: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: settings)
}

func tests(_ name: String, _ path: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(name: name + "Tests", dependencies: dependencies, path: path, swiftSettings: settings)
}

func library(_ name: String, _ path: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, path: path, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTPTypesHTTP1 = Target.Dependency.product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")
let asn1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTesting = Target.Dependency.product(name: "HummingbirdTesting", package: "hummingbird")
let mustache = Target.Dependency.product(name: "Mustache", package: "swift-mustache")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let sqlite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")

let package = Package(
    name: "fieldline",
    products: [
        .executable(name: "edge-agent", targets: ["edge-agent"]),
        .executable(name: "cloud-hub", targets: ["cloud-hub"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-extras.git", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.14.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-certificates.git", from: "1.21.0"),
        .package(url: "https://github.com/apple/swift-asn1.git", from: "1.7.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.0"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache.git", from: "2.1.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        .package(url: "https://github.com/groue/GRDB.swift.git", from: "7.10.0"),
        .package(url: "https://github.com/LebJe/TOMLKit.git", from: "0.6.0"),
    ],
    targets: [
        // Protocol: what both houses agree on; no socket, file, thread or clock.
        room("Primitives", "Protocol/Primitives"),
        room("JSON", "Protocol/JSON", ["Primitives"]),
        room("ConfigText", "Protocol/ConfigText", ["Primitives"]),
        room("MQTTCodec", "Protocol/MQTTCodec", ["Primitives", nioCore]),
        room("WebSocketCodec", "Protocol/WebSocketCodec", [nioCore]),
        room("MQTTSession", "Protocol/MQTTSession", ["Primitives", "MQTTCodec"]),
        room("MQTTClient", "Protocol/MQTTClient", ["Primitives"]),
        room("HubContract", "Protocol/HubContract", ["Primitives", "JSON"]),
        room("Telemetry", "Protocol/Telemetry", ["Primitives", "JSON"]),
        .target(name: "CZstd", path: "Protocol/CZstd"),
        room("Compression", "Protocol/Compression", ["CZstd"]),
        room("Expressions", "Protocol/Expressions", ["Primitives"]),
        room("Rules", "Protocol/Rules", ["Primitives", "Telemetry", "Expressions", "ConfigText"]),
        room("RuleTrial", "Protocol/RuleTrial", ["Primitives", "JSON", "Telemetry", "Rules", "ConfigText"]),
        room(
            "RuleSets", "Protocol/RuleSets",
            ["Primitives", "JSON", "Telemetry", "Rules", "RuleTrial", "ConfigText"]),
        room("TimeZones", "Protocol/TimeZones", []),

        // EdgeAgent: the gateway.
        library("CSQLite", "EdgeAgent/CSQLite", pkgConfig: "sqlite3", apt: "libsqlite3-dev"),
        library("COpenSSL", "EdgeAgent/COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
        library("CMosquitto", "EdgeAgent/Southbound/CMosquitto", pkgConfig: "libmosquitto", apt: "libmosquitto-dev"),
        library("CModbus", "EdgeAgent/Southbound/CModbus", pkgConfig: "libmodbus", apt: "libmodbus-dev"),
        .systemLibrary(name: "CLinux", path: "EdgeAgent/CLinux"),
        room("SouthboundAPI", "EdgeAgent/Southbound/SouthboundAPI", ["Primitives", "Telemetry"]),
        room("DriverRuntime", "EdgeAgent/Southbound/DriverRuntime", ["Primitives", "SouthboundAPI", logging]),
        room(
            "LocalMQTT", "EdgeAgent/Southbound/LocalMQTT",
            [
                "Primitives", "JSON", "Telemetry", "MQTTClient", "SouthboundAPI", "DriverRuntime", "CMosquitto",
                logging,
            ]),
        room(
            "ModbusDriver", "EdgeAgent/Southbound/Modbus",
            ["Primitives", "JSON", "Telemetry", "SouthboundAPI", "DriverRuntime", "CModbus", logging]),
        room("Signals", "EdgeAgent/Signals", ["Primitives", "Telemetry", "Expressions", "Rules"]),
        room(
            "Pipeline", "EdgeAgent/Pipeline",
            ["Primitives", "JSON", "Telemetry", "Rules", "RuleSets", "Signals", "SouthboundAPI"]),
        room("RuleKeeping", "EdgeAgent/RuleKeeping", ["Primitives", "JSON", "RuleSets"]),
        room(
            "Actuation", "EdgeAgent/Actuation",
            ["Primitives", "JSON", "Telemetry", "Expressions", "SouthboundAPI", "DriverRuntime", logging]),
        room("Outbox", "EdgeAgent/Outbox", ["Primitives", "Telemetry"]),
        room("EdgeStore", "EdgeAgent/EdgeStore", ["Primitives", "Telemetry", "Compression", "Outbox", "CSQLite"]),
        room("Connectivity", "EdgeAgent/Connectivity", ["Primitives"]),
        room("Timekeeping", "EdgeAgent/Timekeeping", ["Primitives", "JSON", "Telemetry"]),
        room("Tunnels", "EdgeAgent/Tunnels", ["Primitives"]),
        room(
            "HubTransport", "EdgeAgent/HubTransport",
            ["Primitives", "MQTTClient", "Tunnels", "Connectivity", "DriverRuntime", "COpenSSL"]),
        room(
            "Uplink", "EdgeAgent/Uplink",
            [
                "Primitives", "JSON", "HubContract", "MQTTClient", "Telemetry", "Outbox", "Connectivity",
                "DriverRuntime", "HubTransport", "Tunnels", "Compression", "Timekeeping", "COpenSSL", logging,
            ]),
        room(
            "AgentConfig", "EdgeAgent/AgentConfig",
            [
                "Primitives", "Telemetry", "Expressions", "Rules", "RuleSets", "Signals", "RuleTrial",
                "Actuation", "SouthboundAPI",
                "LocalMQTT", "ModbusDriver", "ConfigText",
            ]),
        room(
            "SimulatedSensors", "EdgeAgent/SimulatedSensors",
            ["Primitives", "JSON", "DriverRuntime", "CMosquitto", "CModbus", logging]),
        program(
            "edge-agent", "EdgeAgent/Main",
            [
                "Primitives", "JSON", "HubContract", "Telemetry", "Rules", "TimeZones", "SouthboundAPI",
                "DriverRuntime",
                "LocalMQTT", "ModbusDriver", "Signals", "Pipeline", "RuleTrial", "RuleSets", "RuleKeeping", "Actuation",
                "Outbox", "EdgeStore", "Connectivity",
                "HubTransport", "Uplink", "Timekeeping", "AgentConfig",
                "SimulatedSensors", "CLinux", logging,
            ]),

        // CloudHub: the hub.
        room("HubClock", "CloudHub/HubClock", ["Primitives", "TimeZones"]),
        room("Certificates", "CloudHub/Certificates", ["Primitives", x509, asn1, crypto]),
        room("Authorities", "CloudHub/Authorities", ["Primitives", x509, asn1, crypto, logging]),
        room("Registry", "CloudHub/Registry", ["Primitives", "JSON", "HubContract", crypto]),
        room("EventLog", "CloudHub/EventLog", ["Primitives", "Telemetry", "HubContract", nioCore]),
        room("Throttles", "CloudHub/Throttles", ["Primitives", "HubContract"]),
        room("Journal", "CloudHub/Journal", ["Primitives"]),
        room("HubConfig", "CloudHub/HubConfig", ["Primitives", "Telemetry", "Rules", "ConfigText", "Throttles"]),
        room("Sessions", "CloudHub/Sessions", ["Primitives", "HubContract", "MQTTCodec", "MQTTSession", nioCore]),
        room(
            "Devices", "CloudHub/Devices",
            [
                "Primitives", "JSON", "HubContract", "Registry", "Sessions", "Throttles", "Journal", logging,
            ]),
        room(
            "Ingest", "CloudHub/Ingest",
            ["Primitives", "JSON", "Telemetry", "Compression", "HubContract", "EventLog", "Registry", nioCore, logging]),
        // From swift-nio-ssl its BoringSSL, which is no product of its own; a decision note says why.
        room("HubTLS", "CloudHub/HubTLS", [nioCore, nioTLS, nioSSL]),
        room(
            "Listeners", "CloudHub/Listeners",
            [
                "Primitives", "HubTLS", "MQTTCodec", "MQTTSession", "HubContract", "Telemetry", "Registry", "Sessions",
                "EventLog", "Ingest", "Throttles", "Journal", nioCore, nioPosix, nioTLS, crypto, logging,
            ]),
        room(
            "WebListener", "CloudHub/WebListener",
            [
                "Primitives", "WebSocketCodec", "Listeners", hummingbird, hummingbirdCore, nioCore, nioHTTP1,
                nioHTTPTypes, nioHTTPTypesHTTP1, nioTLS,
                crypto, logging,
            ]),
        room(
            "Faults", "CloudHub/Faults",
            [
                "Primitives", "JSON", "Telemetry", "Rules", "TimeZones", "HubClock", "HubContract", "EventLog", crypto,
                logging,
            ]),
        room(
            "DeviceAPI", "CloudHub/DeviceAPI",
            [
                "Primitives", "JSON", "HubContract", "Sessions", "EventLog", "Ingest", "Devices", "Throttles",
                "Journal",
                hummingbird, httpTypes, nioCore, logging,
            ]),
        room("S3Store", "CloudHub/S3Store", ["Primitives", httpClient, nioCore, nioHTTP1, crypto, logging]),
        room(
            "BlobStore", "CloudHub/BlobStore",
            ["Primitives", "S3Store", hummingbird, httpTypes, crypto, nioCore, nioPosix, logging]),
        room(
            "FileUpload", "CloudHub/FileUpload",
            [
                "Primitives", "JSON", "HubContract", "DeviceAPI", "Throttles", "BlobStore", hummingbird, httpTypes,
                httpClient, nioCore, nioHTTP1, logging,
            ]),
        room(
            "RuleLibrary", "CloudHub/RuleLibrary",
            [
                "Primitives", "JSON", "ConfigText", "Rules", "RuleTrial", "RuleSets", "HubContract", "DeviceAPI",
                hummingbird, httpTypes, nioCore, crypto,
            ]),
        room(
            "SQLiteHubStore", "CloudHub/Stores/SQLite",
            [
                "Primitives", "JSON", "HubContract", "Telemetry", "Authorities", "Registry", "Sessions", "Devices",
                "EventLog", "Faults", "CRM", "BlobStore", "FileUpload", "RuleLibrary", "RuleSets", grdb, sqlite,
                nioCore, logging,
            ]),
        room(
            "CRM", "CloudHub/CRM",
            ["Primitives", "JSON", "Telemetry", "Faults", httpClient, nioCore, nioHTTP1, crypto, logging]),
        room(
            "ServiceDesk", "CloudHub/ServiceDesk",
            ["Primitives", "JSON", grdb, hummingbird, httpTypes, nioCore, logging]),
        room(
            "ServiceAPI", "CloudHub/ServiceAPI",
            [
                "Primitives", "JSON", "HubContract", "Registry", "Devices", "Throttles", hummingbird, httpTypes,
                nioCore,
                logging,
            ]),
        room(
            "WebUI", "CloudHub/WebUI",
            ["Primitives", hummingbird, httpTypes, mustache, nioCore, logging]),
        room("Control", "CloudHub/Control", ["JSON", nioCore, nioPosix, logging]),
        room("LiveState", "CloudHub/LiveState", ["Primitives", "JSON", "Telemetry", "EventLog", logging]),
        room("Gaps", "CloudHub/Gaps", ["Primitives", "JSON", "Telemetry", "EventLog", logging]),
        room("Trace", "CloudHub/Trace", ["Primitives", "Telemetry", "EventLog", "Faults"]),
        room("Health", "CloudHub/Health", [hummingbird, nioCore]),
        program(
            "cloud-hub", "CloudHub/Main",
            [
                "Primitives", "JSON", "HubContract", "Telemetry", "Rules", "TimeZones", "ConfigText", "HubClock",
                "HubConfig",
                "Certificates", "Authorities", "Registry", "EventLog", "Sessions", "Devices", "Ingest", "HubTLS",
                "Listeners", "Faults", "SQLiteHubStore", "CRM", "S3Store", "BlobStore", "FileUpload", "WebListener",
                "ServiceDesk",
                "ServiceAPI", "RuleLibrary", "RuleSets",
                "DeviceAPI", "Throttles", "Journal", "WebUI", "LiveState", "Gaps", "Trace", "Health", "Control",
                nioCore,
                nioPosix,
                hummingbird, httpClient, unixSignals, logging,
                argumentParser,
            ]),

        // Tests mirror the rooms.
        tests("Primitives", "Tests/Protocol/PrimitivesTests", ["Primitives"]),
        tests("JSON", "Tests/Protocol/JSONTests", ["JSON", "Primitives"]),
        // TOMLKit draws in Foundation and ICU, so no program links it: it is the other opinion that our reader is held to.
        tests("ConfigText", "Tests/Protocol/ConfigTextTests", ["ConfigText", "Primitives", toml]),
        tests("MQTTCodec", "Tests/Protocol/MQTTCodecTests", ["MQTTCodec", "Primitives", nioCore]),
        tests("MQTTSession", "Tests/Protocol/MQTTSessionTests", ["MQTTSession", "MQTTCodec", "Primitives", nioCore]),
        tests("WebSocketCodec", "Tests/Protocol/WebSocketCodecTests", ["WebSocketCodec", "Primitives", nioCore]),
        tests(
            "MQTTClient", "Tests/Protocol/MQTTClientTests", ["MQTTClient", "MQTTCodec", "Primitives", nioCore]),
        tests("HubContract", "Tests/Protocol/HubContractTests", ["HubContract", "JSON", "Primitives", crypto]),
        tests("Telemetry", "Tests/Protocol/TelemetryTests", ["Telemetry", "JSON", "Primitives"]),
        tests("Compression", "Tests/Protocol/CompressionTests", ["Compression", "Telemetry", "Primitives"]),
        room(
            "DeskTestKit", "Tests/Support/DeskTestKit",
            ["ServiceDesk", "HubClock", "JSON", "Primitives", hummingbird, httpClient, nioCore, nioHTTP1, logging]),
        tests(
            "Faults", "Tests/CloudHub/FaultsTests",
            [
                "Faults", "SQLiteHubStore", "DeskTestKit", "EventLog", "Rules", "Expressions", "Telemetry", "JSON",
                "Primitives",
                logging,
            ]),
        tests(
            "CRM", "Tests/CloudHub/CRMTests",
            [
                "CRM", "Faults", "SQLiteHubStore", "ServiceDesk", "DeskTestKit", "Telemetry", "JSON", "Primitives",
                httpClient, logging,
            ]),
        tests(
            "Gaps", "Tests/CloudHub/GapsTests",
            ["Gaps", "EventLog", "SQLiteHubStore", "HubTestSupport", "Telemetry", "Primitives", logging]),
        tests(
            "Trace", "Tests/CloudHub/TraceTests",
            ["Trace", "EventLog", "Faults", "SQLiteHubStore", "HubTestSupport", "Telemetry", "Primitives"]),
        tests("ServiceDesk", "Tests/CloudHub/ServiceDeskTests", ["ServiceDesk", "DeskTestKit", "JSON", "Primitives"]),
        tests("Expressions", "Tests/Protocol/ExpressionsTests", ["Expressions", "Primitives"]),
        tests("TimeZones", "Tests/Protocol/TimeZonesTests", ["TimeZones"]),
        tests("Rules", "Tests/Protocol/RulesTests", ["Rules", "Expressions", "Telemetry", "JSON", "Primitives"]),
        tests(
            "Signals", "Tests/EdgeAgent/SignalsTests",
            ["Signals", "Expressions", "Telemetry", "Primitives"]),
        tests("Outbox", "Tests/EdgeAgent/OutboxTests", ["Outbox", "EdgeStore", "Telemetry", "Primitives"]),
        tests("Connectivity", "Tests/EdgeAgent/ConnectivityTests", ["Connectivity", "Telemetry", "Primitives"]),
        tests(
            "Timekeeping", "Tests/EdgeAgent/TimekeepingTests", ["Timekeeping", "Telemetry", "Primitives"]),
        tests("Tunnels", "Tests/EdgeAgent/TunnelsTests", ["Tunnels", "Primitives"]),
        room("BrokerKit", "Tests/Support/BrokerKit"),
        tests(
            "Agent", "Tests/EdgeAgent/AgentTests",
            [
                "edge-agent", "JSON", "Timekeeping", "Outbox", "Pipeline", "Rules", "RuleSets", "SouthboundAPI",
                "HubContract",
                "Telemetry",
                "Primitives",
                "BrokerKit", logging,
            ]),
        tests(
            "Uplink", "Tests/EdgeAgent/UplinkTests",
            [
                "Uplink", "Connectivity", "DriverRuntime", "Timekeeping", "EdgeStore", "Outbox", "HubContract",
                "HubTransport", "Tunnels", "Telemetry", "JSON",
                "Primitives", "BrokerKit", logging,
            ]),
        tests(
            "RuleTrial", "Tests/Protocol/RuleTrialTests",
            ["RuleTrial", "ConfigText", "Rules", "Telemetry", "Primitives"]),
        tests(
            "RuleSets", "Tests/Protocol/RuleSetsTests",
            ["RuleSets", "RuleTrial", "ConfigText", "JSON", "Rules", "Telemetry", "Primitives"]),
        tests(
            "RuleLibrary", "Tests/CloudHub/RuleLibraryTests",
            ["RuleLibrary", "RuleSets", "SQLiteHubStore", "HubTestSupport", "HubContract", "JSON", "Primitives"]),
        tests(
            "RuleKeeping", "Tests/EdgeAgent/RuleKeepingTests", ["RuleKeeping", "RuleSets", "Primitives"]),
        tests(
            "Actuation", "Tests/EdgeAgent/ActuationTests",
            ["Actuation", "DriverRuntime", "Expressions", "SouthboundAPI", "Telemetry", "Primitives", logging]),
        tests(
            "Pipeline", "Tests/EdgeAgent/PipelineTests",
            ["Pipeline", "Signals", "Expressions", "Rules", "RuleSets", "SouthboundAPI", "Telemetry", "Primitives"]),
        tests(
            "WebUI", "Tests/CloudHub/WebUITests", ["WebUI", "Primitives", hummingbird, hummingbirdTesting]),
        tests("Health", "Tests/CloudHub/HealthTests", ["Health", hummingbird, hummingbirdTesting]),
        tests(
            "LiveState", "Tests/CloudHub/LiveStateTests",
            ["LiveState", "EventLog", "Primitives", "Telemetry", "SQLiteHubStore", "HubTestSupport"]),
        tests("Control", "Tests/CloudHub/ControlTests", ["Control", "JSON", nioPosix]),
        tests(
            "AgentConfig", "Tests/EdgeAgent/AgentConfigTests",
            [
                "AgentConfig", "ConfigText", "LocalMQTT", "ModbusDriver", "Pipeline", "Primitives", "Rules", "RuleSets",
                "Signals",
            ]),
        tests("Tidy", "Tests/Tidy"),
        // A VFS for SQLite: what disks do when the power fails.
        .target(name: "SimulatedDisk", dependencies: ["CSQLite"], path: "Tests/Support/SimulatedDisk"),
        room("SimulationWorld", "Tests/Simulation/World", ["EventLog", "Primitives"]),
        room(
            "SimulationGateway", "Tests/Simulation/Gateway",
            [
                "SimulationWorld", "SimulatedDisk", "Uplink", "HubTransport", "HubContract", "Connectivity",
                "DriverRuntime", "EdgeStore", "Outbox", "Pipeline", "Signals", "Rules", "RuleSets", "SouthboundAPI",
                "Timekeeping",
                "MQTTClient", "EventLog", "Telemetry", "JSON", "Primitives", logging,
            ]),
        room(
            "SimulationHub", "Tests/Simulation/Hub",
            [
                "SimulationWorld", "SimulatedDisk", "HubHarness", "Listeners", "Sessions", "Ingest", "EventLog", "Gaps",
                "SQLiteHubStore", "HubContract", "Telemetry", "JSON", "Primitives", nioCore, nioEmbedded, logging,
            ]),
        tests(
            "Simulation", "Tests/Simulation/SimulationTests",
            [
                "SimulationWorld", "SimulationGateway", "SimulationHub", "SimulatedDisk", "EdgeStore", "Outbox",
                "EventLog", "Telemetry", "Primitives",
            ]),
        room(
            "HubTestSupport", "Tests/Support/HubTestSupport",
            ["Primitives", "HubContract", "Telemetry", "Registry", "EventLog", "SQLiteHubStore", nioCore, logging]),
        tests(
            "Registry", "Tests/CloudHub/RegistryTests",
            ["Registry", "SQLiteHubStore", "HubTestSupport", "HubContract", "Primitives"]),
        tests(
            "Devices", "Tests/CloudHub/DevicesTests",
            [
                "Devices", "Registry", "Sessions", "SQLiteHubStore", "HubTestSupport", "HubContract", "JSON",
                "Primitives", logging,
            ]),
        tests(
            "ServiceAPI", "Tests/CloudHub/ServiceAPITests",
            [
                "ServiceAPI", "Devices", "Registry", "Sessions", "SQLiteHubStore", "HubTestSupport", "HubContract",
                "JSON", "Primitives", hummingbird, hummingbirdTesting, httpTypes, nioCore, logging,
            ]),
        tests(
            "SQLiteHubStore", "Tests/CloudHub/SQLiteHubStoreTests",
            ["SQLiteHubStore", "HubTestSupport", "Primitives", grdb]),
        tests("Certificates", "Tests/CloudHub/CertificatesTests", ["Certificates", "Primitives"]),
        tests(
            "Authorities", "Tests/CloudHub/AuthoritiesTests",
            ["Authorities", "SQLiteHubStore", "HubTestSupport", "Primitives", x509, asn1, crypto]),
        room(
            "HubHarness", "Tests/Support/HubHarness",
            [
                "Primitives", "HubTLS", "HubContract", "EventLog", "Sessions", "Ingest", "Listeners", "Throttles",
                "Journal", "SQLiteHubStore", nioCore, nioPosix, nioSSL, crypto, logging,
            ]),
        tests(
            "EventLog", "Tests/CloudHub/EventLogTests",
            ["EventLog", "SQLiteHubStore", "HubTestSupport", "Telemetry", "Primitives", nioCore, logging]),
        tests(
            "HubTLS", "Tests/CloudHub/HubTLSTests", ["HubTLS", "Primitives", nioCore, nioEmbedded, nioTLS, nioSSL]),
        tests(
            "Listeners", "Tests/CloudHub/ListenersTests",
            [
                "HubTLS", "Listeners", "Throttles", "Journal", "HubHarness", "HubTestSupport", "SQLiteHubStore",
                "EventLog",
                "Ingest", "Sessions",
                "HubContract", "Telemetry", "MQTTCodec", "Primitives", nioCore, nioPosix, nioSSL, logging,
            ]),
        tests(
            "WebListener", "Tests/CloudHub/WebListenerTests",
            [
                "WebListener", "Listeners", "HubHarness", "HubTestSupport", "SQLiteHubStore", "EventLog", "Sessions",
                "HubContract", "MQTTCodec", "Primitives", hummingbird, nioCore, nioHTTP1, logging,
            ]),
        .executableTarget(
            name: "hub-bench", path: "Tests/Benchmarks/HubBench",
            linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
        program(
            "outbox-bench", "Tests/Benchmarks/OutboxBench",
            ["Primitives", "Telemetry", "Outbox", "EdgeStore", "Connectivity"]),
        program(
            "bare-hub", "Tests/Benchmarks/BareHub",
            ["HubHarness", "Listeners", "SQLiteHubStore", "Primitives", logging]),
        .target(name: "MallocCount", path: "Tests/Benchmarks/MallocCount"),
        program(
            "signal-bench", "Tests/Benchmarks/SignalBench",
            ["Pipeline", "Signals", "Expressions", "Telemetry", "Primitives", "MallocCount"]),
        program("rule-bench", "Tests/Benchmarks/RuleBench", ["Rules", "Expressions", "Telemetry", "Primitives"]),
        tests("S3Store", "Tests/CloudHub/S3StoreTests", ["S3Store", "JSON", "Primitives"]),
        tests(
            "BlobStore", "Tests/CloudHub/BlobStoreTests",
            [
                "BlobStore", "SQLiteHubStore", "HubTestSupport", "Primitives", hummingbird, hummingbirdTesting,
                httpTypes, nioCore,
            ]),
        tests(
            "FileUpload", "Tests/CloudHub/FileUploadTests",
            ["FileUpload", "BlobStore", "SQLiteHubStore", "HubTestSupport", "HubContract", "Primitives", nioCore]),
        tests("HubConfig", "Tests/CloudHub/HubConfigTests", ["HubConfig", "ConfigText", "Rules", "Primitives"]),
        tests("Throttles", "Tests/CloudHub/ThrottlesTests", ["Throttles", "HubContract", "Primitives"]),
        tests("Journal", "Tests/CloudHub/JournalTests", ["Journal", "Primitives"]),
        tests(
            "DeviceAPI", "Tests/CloudHub/DeviceAPITests",
            [
                "DeviceAPI", "Devices", "EventLog", "Ingest", "Journal", "Registry", "Sessions", "SQLiteHubStore",
                "Throttles", "HubTestSupport", "HubContract", "JSON", "Primitives", hummingbird, hummingbirdTesting,
                httpTypes, nioCore, logging,
            ]),
        room(
            "FieldKit", "Tests/Support/FieldKit",
            ["Primitives", "Telemetry", "SouthboundAPI", "DriverRuntime", "BrokerKit", logging]),
        tests("SouthboundAPI", "Tests/EdgeAgent/SouthboundAPITests", ["SouthboundAPI", "Primitives"]),
        tests(
            "LocalMQTT", "Tests/EdgeAgent/LocalMQTTTests",
            ["LocalMQTT", "SouthboundAPI", "Telemetry", "JSON", "Primitives", "FieldKit", "BrokerKit"]),
        tests(
            "ModbusDriver", "Tests/EdgeAgent/ModbusDriverTests",
            ["ModbusDriver", "SimulatedSensors", "SouthboundAPI", "Telemetry", "Primitives", "FieldKit", "BrokerKit"]),
        tests(
            "SimulatedSensors", "Tests/EdgeAgent/SimulatedSensorsTests",
            ["SimulatedSensors", "JSON", "Primitives", "FieldKit", "BrokerKit"]),
    ],
    swiftLanguageModes: [.v6]
)
