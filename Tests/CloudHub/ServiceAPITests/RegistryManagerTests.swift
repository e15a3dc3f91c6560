import Devices
import Foundation
import HubContract
import HubTestSupport
import Hummingbird
import HummingbirdTesting
import Logging
import Primitives
import Registry
import SQLiteHubStore
import ServiceAPI
import Sessions
import Testing

/// The unmodified `azure-iot-hub` package against the API on a real TLS socket (socat ends the TLS). Runs where
/// `FIELDLINE_AZURE_PYTHON` names a Python that has the package.
@Suite struct RegistryManagerTests {
    static let python = ProcessInfo.processInfo.environment["FIELDLINE_AZURE_PYTHON"]

    @Test(.enabled(if: python != nil)) func everyCallIsAnsweredAsThePackageExpects() async throws {
        let fixture = try await HubFixture()
        let registry = fixture.registry
        let hub = try await DeviceHub(
            registry: registry, connected: ConnectedDevices(gatewayOf: { registry.reachingGateway(of: $0) }),
            store: SQLiteDeviceStore(fixture.database), clock: { fixture.clock.now }, logger: Logger(label: "test"))
        let router = Router()
        ServiceAPI(registry: registry, devices: hub, clock: { fixture.clock.now }).addRoutes(to: router)
        let key = Base64.encode(try #require(registry.policy("iothubowner")).primary.bytes)
        try await Application(router: router).test(.live) { client in
            let script = """
                set -e
                cd \(fixture.folder.path)
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
                    -addext subjectAltName=DNS:localhost -keyout key.pem -out ca.pem 2>/dev/null
                port=$(\(Self.python ?? "") -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
                socat OPENSSL-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork,cert=ca.pem,key=key.pem,verify=0 \
                    TCP:127.0.0.1:\(client.port ?? 0) >socat.log 2>&1 & socat=$!
                trap 'kill $socat' EXIT
                until ss -ltn | grep -q 127.0.0.1:$port; do kill -0 $socat; done
                REQUESTS_CA_BUNDLE=$PWD/ca.pem timeout 60 \(Self.python ?? "") "$SCRIPT" \
                    "HostName=localhost:$port;SharedAccessKeyName=iothubowner;SharedAccessKey=\(key)" 2>&1
                """
            let output = try await Self.run(script)
            #expect(output.contains("all calls answered as expected"), "\(output)")
        }
    }

    private static func run(_ script: String) async throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", script]
        let place = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(
            path: "../../Compatibility/registry_manager.py")
        process.environment = ProcessInfo.processInfo.environment.merging(["SCRIPT": place.standardized.path]) { $1 }
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        return await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    returning: String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))
            }
        }
    }
}
