import BrokerKit
import Foundation
import HubContract
import Primitives
import Telemetry
import Testing

/// A whole gateway as a process, between a plant's broker and a broker that plays the hub.
final class AgentBench {
    let folder: String
    let plant: TestBroker
    let hub: TestBroker
    private var sensors: ChildProcess?
    private var agent: ChildProcess?
    private var seen: [Batch] = []

    static let gateway = HubIdentity(DeviceID("gateway-1").unsafelyUnwrapped)
    static let thermostat = DeviceID("thermostat-1").unsafelyUnwrapped
    static let meter = DeviceID("meter-1").unsafelyUnwrapped
    private static let events = "devices/gateway-1/messages/events/#"
    private static let key = Base64.encode(Array("a key of thirty-two bytes, or so!".utf8))

    init() throws {
        folder = try makeTemporaryFolder("agent")
        try FileManager.default.createDirectory(atPath: folder + "/disk", withIntermediateDirectories: true)
        plant = try TestBroker.plain()
        hub = try TestBroker()
        try hub.collect(Self.events, as: "ledger")
        try write(
            "HostName=localhost;DeviceId=gateway-1;SharedAccessKey=\(Self.key)\n", to: "gateway.connection")
        try write(configuration, to: "agent.toml")
    }

    deinit {
        agent = nil
        sensors = nil
        try? FileManager.default.removeItem(atPath: folder)
    }

    var configFile: String { folder + "/agent.toml" }
    var errorFile: String { folder + "/agent.log" }

    /// Readable by its owner only, as the agent wants its secrets.
    func write(_ text: String, to name: String) throws {
        try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
        #expect(chmod("\(folder)/\(name)", 0o600) == 0)
    }

    /// The program beside the test bundle.
    static func program() throws -> String {
        let bundle = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().path
        let path = bundle + "/edge-agent"
        try #require(FileManager.default.isExecutableFile(atPath: path), "build edge-agent first")
        return path
    }

    func startSensors() throws {
        sensors = try ChildProcess(
            try Self.program(),
            [
                "simulate", "--broker-port", "\(plant.port)", "--thermostat", "thermostat-1", "--interval", "100ms",
                "--meter", "meter-1", "--tty", folder + "/meter.tty",
            ], keepsOutput: true)
        let line = try #require(sensors?.nextLine())
        #expect(line == "edge-agent simulating thermostat=thermostat-1 meter=meter-1 tty=\(folder)/meter.tty")
    }

    func sensors(_ signal: Int32) { sensors?.signal(signal) }

    func startAgent() throws {
        agent = try ChildProcess(
            try Self.program(), ["run", "--config", configFile], keepsOutput: true, errorFile: errorFile)
        let line = try #require(agent?.nextLine())
        #expect(line.hasPrefix("edge-agent ready"))
    }

    /// Starts the agent with a disk of its own, `mebibytes` large, for its outbox.
    func startAgent(diskMebibytes: Int) throws {
        let script =
            "mount -t tmpfs -o size=\(diskMebibytes)m none \(folder)/disk && exec \(try Self.program()) run --config "
        let options = geteuid() == 0 ? "-m" : "-rm"
        agent = try ChildProcess(
            "/usr/bin/unshare", [options, "sh", "-c", script + configFile], keepsOutput: true, errorFile: errorFile)
        let line = try #require(agent?.nextLine())
        #expect(line.hasPrefix("edge-agent ready"))
    }

    /// A file on the agent's own disk, seen from outside its namespace.
    func onDisk(_ name: String) -> String { "/proc/\(agent?.processID ?? 0)/root\(folder)/disk/\(name)" }

    /// Sends readings to the plant's broker, twenty a message, as another device's by default.
    func publishBacklog(readings: Int, device: String = "thermostat-2") throws {
        // Noise, because the outbox compresses.
        let lines = (0..<readings / 20).map { _ in
            let members = (1...20).map {
                "\"metric-\($0)\":\"\(UInt64.random(in: 0 ... .max))\(UInt64.random(in: 0 ... .max))\""
            }
            return "{\(members.joined(separator: ","))}\n"
        }
        try write(lines.joined(), to: "backlog")
        _ = try plant.client(
            "mosquitto_pub", ["-q", "1", "-t", "plant/\(device)/state", "-l"], input: folder + "/backlog")
    }

    /// Adds sections to the configuration.
    func configure(_ more: String) throws { try write(configuration + "\n" + more, to: "agent.toml") }

    /// What `edge-agent moves` prints.
    func moves() throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try Self.program())
        process.arguments = ["moves", "--config", configFile]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: output, as: UTF8.self)
    }

    func log() -> String { (try? String(contentsOfFile: errorFile, encoding: .utf8)) ?? "" }

    /// - Returns: the exit status as a shell says it.
    func endAgent(_ signal: Int32) -> Int32 {
        agent?.signal(signal)
        defer { agent = nil }
        return agent?.exitStatus() ?? -1
    }

    /// Every batch that the hub has acknowledged so far.
    func batches() throws -> [Batch] {
        let lines = try hub.client(
            "mosquitto_sub", ["-c", "-i", "ledger", "-q", "1", "-t", Self.events, "-W", "1", "-F", "%p"])
        for line in lines.split(separator: "\n") { seen.append(try Batch(parsing: Array(line.utf8))) }
        return seen
    }

    func waitForRecord(_ what: String, _ condition: (Record) -> Bool) throws {
        try waitUntil(what, seconds: 30) { try batches().flatMap(\.records).contains { condition($0.record) } }
    }

    /// Waits until the hub has acknowledged records with higher sequences.
    func waitForSequence(beyond sequence: UInt64) throws {
        try waitUntil("sequence \(sequence) is at the hub", seconds: 30) {
            try batches().flatMap(\.records).contains { $0.sequence > sequence }
        }
    }

    func waitForFault(_ rule: String, _ state: FaultState) throws {
        try waitForRecord("fault \(rule) is \(state)") {
            guard case .fault(let fault) = $0 else { return false }
            return fault.rule == rule && fault.state == state
        }
    }

    /// Calls a method of a child and returns the answer's body.
    func call(_ name: String, on child: DeviceID, payload: String, status: Int) throws -> String {
        let rid = "\(UInt32.random(in: 1...UInt32.max))"
        return try hub.client(
            "mosquitto_rr",
            [
                "-t", HubTopics.child(child, HubTopics.methodRequest(name: name, rid: rid)), "-e",
                HubTopics.child(child, HubTopics.methodResponse(status: status, rid: rid)), "-m", payload, "-W", "10",
            ])
    }

    /// Calls a method of the gateway itself and returns the answer's body; asks again until the gateway listens.
    func call(_ name: String, payload: String, status: Int) throws -> String {
        var answer = ""
        try waitUntil("the gateway answers \(name) with \(status)", seconds: 60) {
            let rid = "\(UInt32.random(in: 1...UInt32.max))"
            answer = try hub.client(
                "mosquitto_rr",
                [
                    "-t", HubTopics.methodRequest(name: name, rid: rid), "-e",
                    HubTopics.methodResponse(status: status, rid: rid), "-m", payload, "-W", "2",
                ])
            return !answer.isEmpty
        }
        return answer
    }

    /// Answers the first request for the twin, as the hub would.
    func answerTwin(_ body: String) throws {
        let topic = HubTopics.twinResponse(rid: "twin-1", status: 200, version: nil)
        try hub.client("mosquitto_pub", ["-q", "1", "-t", topic, "-m", body])
    }

    private var configuration: String {
        """
        [hub]
        host = "localhost"
        port = \(hub.port)
        ca_file = "\(hub.caFile)"
        connection_string_file = "\(folder)/gateway.connection"
        reconnect_first = "50ms"
        reconnect_most = "200ms"

        [outbox]
        path = "\(folder)/disk/outbox.sqlite"

        [[mqtt]]
        name = "plant"
        port = \(plant.port)

        [[mqtt.subscription]]
        topic = "plant/{device}/state"
        payload = "json"
        units = { temperature = "Cel", humidity = "%" }

        [[mqtt.command]]
        name = "Reset"
        topic = "plant/{device}/cmd/reset"
        payload = '{"id":"{id}"}'
        answer_topic = "plant/{device}/answer"

        [[modbus]]
        name = "cabinet"
        port = "\(folder)/meter.tty"
        poll_interval = "100ms"
        response_timeout = "200ms"
        retry_most = "200ms"

        [[modbus.unit]]
        device = "meter-1"
        unit = 1

        [[modbus.unit.register]]
        metric = "voltage"
        address = 0
        type = "f32"
        unit = "V"

        [[rule]]
        name = "overheat"
        device = "thermostat-1"
        metric = "temperature"
        when = "> 70"
        hysteresis = 5
        severity = "critical"
        message = "{device} is at {value}, above {limit}"
        then = [{ publish = "plant/thermostat-1/relay", payload = "on" }]
        """
    }
}
