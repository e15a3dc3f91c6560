import BrokerKit
import FieldKit
import Foundation
import Primitives
import SouthboundAPI
import Telemetry
import Testing

@testable import ModbusDriver

/// Against a peer that nobody here wrote: pymodbus, in the virtual environment that `make test` makes.
@Suite(
    .serialized,
    .enabled(
        if: PymodbusServer.isThere,
        "pymodbus is not there: run Tests/Support/venv .venv, or make test, which does"))
struct PymodbusTests {
    private func registers() throws -> [ModbusRegister] {
        let voltage = ModbusRegister(metric: "voltage", table: .holding, address: 0, form: .float32)
        var swapped = ModbusRegister(metric: "swapped", table: .input, address: 2, form: .float32)
        swapped.wordOrder = .little
        var level = ModbusRegister(metric: "level", table: .holding, address: 4, form: .int16)
        level.scale = try #require(Decimal("0.1"))
        var limit = ModbusRegister(metric: "limit", table: .holding, address: 6, form: .uint32)
        limit.isWritable = true
        var relay = ModbusRegister(metric: "relay", table: .coil, address: 0, form: .boolean)
        relay.isWritable = true
        return [voltage, swapped, level, limit, relay]
    }

    private func run(_ line: ModbusConfig.Line) throws {
        var unit = ModbusUnit(device: try device("meter-1"), unitID: 1, registers: try registers())
        unit.pollInterval = .milliseconds(100)
        var config = ModbusConfig(name: "line", line: line, units: [unit])
        config.retryMost = .milliseconds(300)
        let sink = RecordingSink()
        let driver = try ModbusLineDriver(config: config, clock: .system, logger: LogBook().logger)
        try driver.start(into: sink)
        defer { driver.stop() }
        try waitUntil("it is read") { sink.values("relay").count >= 1 }
        #expect(sink.values("voltage").first == "230.4")
        #expect(sink.values("swapped").first == "5.25")
        #expect(sink.values("level").first == "-1.5")
        let outcomes = Outcomes()
        driver.command(
            DeviceCommand(
                device: try device("meter-1"), name: "SetValue", payload: Array(#"{"limit":70000,"relay":true}"#.utf8),
                deadline: DriverClock.system.monotonic() + .seconds(5))
        ) { outcomes.add($0) }
        try waitUntil("the command ended") { !outcomes.list.isEmpty }
        #expect(outcomes.list == [.executed(answer: nil)])
        try waitUntil("it is read back") { sink.values("limit").last == "70000" && sink.values("relay").last == "true" }
    }

    @Test func aSerialServerIsReadAndWritten() throws {
        let folder = try TemporaryFolder("pymodbus")
        let server = try PymodbusServer(folder, serial: true)
        defer { server.stop() }
        try run(.rtu(path: server.address, baud: 19_200, parity: .none, dataBits: 8, stopBits: 1))
    }

    @Test func aTCPServerIsReadAndWritten() throws {
        let folder = try TemporaryFolder("pymodbus")
        let server = try PymodbusServer(folder, serial: false)
        defer { server.stop() }
        try run(.tcp(host: "127.0.0.1", port: try #require(UInt16(server.address))))
    }
}

final class PymodbusServer {
    /// Path of the far end of its pseudo terminal, or its port.
    let address: String
    private let process: ChildProcess

    private static var python: String { FileManager.default.currentDirectoryPath + "/.venv/bin/python" }

    static var isThere: Bool {
        let libraries = FileManager.default.currentDirectoryPath + "/.venv/lib"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: libraries)) ?? []
        return versions.contains {
            FileManager.default.fileExists(atPath: "\(libraries)/\($0)/site-packages/pymodbus/__init__.py")
        }
    }

    init(_ folder: TemporaryFolder, serial: Bool) throws {
        let tests = URL(fileURLWithPath: "\(#filePath)").deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let script = tests.appendingPathComponent("Support/pymodbus_server.py").path
        let errors = folder.file("server.log")
        process = try ChildProcess(
            Self.python, [script, serial ? "serial" : "tcp"], keepsOutput: true, errorFile: errors)
        var line = process.nextLine()
        while let said = line, !said.hasPrefix("at ") { line = process.nextLine() }
        guard let line else {
            let said = (try? String(contentsOfFile: errors, encoding: .utf8)) ?? ""
            throw FieldKitError("the pymodbus server ended: \(said)")
        }
        address = String(line.dropFirst(3))
    }

    func stop() {
        process.signal(SIGTERM)
        process.waitUntilExit()
    }
}
