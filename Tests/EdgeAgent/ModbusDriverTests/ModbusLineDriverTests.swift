import BrokerKit
import FieldKit
import Primitives
import SimulatedSensors
import SouthboundAPI
import Telemetry
import Testing

@testable import ModbusDriver

/// Against libmodbus on the other end of a pseudo terminal.
@Suite(.serialized) struct ModbusLineDriverTests {
    private static let reading: Duration = .milliseconds(50)

    private func unit(_ name: String, id: UInt8) throws -> ModbusUnit {
        var voltage = ModbusRegister(metric: "voltage", table: .holding, address: 0, form: .float32)
        voltage.unit = "V"
        let energy = ModbusRegister(metric: "energy", table: .holding, address: 6, form: .uint32)
        var relay = ModbusRegister(metric: "relay", table: .holding, address: 8, form: .uint16)
        relay.isWritable = true
        var frequency = ModbusRegister(metric: "frequency", table: .input, address: 9, form: .uint16)
        frequency.scale = try #require(Decimal("0.01"))
        let serial = ModbusRegister(metric: "serial", table: .holding, address: 10, form: .text(registers: 4))
        let coil = ModbusRegister(metric: "coil", table: .coil, address: 0, form: .boolean)
        var unit = ModbusUnit(
            device: try device(name), unitID: id, registers: [voltage, energy, relay, frequency, serial, coil])
        unit.pollInterval = Self.reading
        return unit
    }

    private func config(_ path: String, _ units: [ModbusUnit]) -> ModbusConfig {
        // Pseudo terminals have no parity: 8N1.
        var config = ModbusConfig(
            name: "line", line: .rtu(path: path, baud: 19_200, parity: .none, dataBits: 8, stopBits: 1), units: units)
        config.responseTimeout = .milliseconds(100)
        config.retryMost = .milliseconds(200)
        return config
    }

    private func meter(_ folder: TemporaryFolder) throws -> SimulatedMeter {
        let meter = try #require(
            SimulatedMeter(config: .init(linkPath: folder.file("meter")), logger: LogBook().logger))
        try #require(meter.start())
        return meter
    }

    private func started(
        _ config: ModbusConfig, _ sink: RecordingSink, _ log: LogBook = LogBook()
    ) throws -> ModbusLineDriver {
        let driver = try ModbusLineDriver(config: config, clock: .system, logger: log.logger)
        try driver.start(into: sink)
        return driver
    }

    @Test func aMeterIsReadWithEveryTypeScaleAndUnit() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let driver = try started(config(folder.file("meter"), [try unit("meter-1", id: 1)]), sink)
        defer { driver.stop() }
        try waitUntil("two polls came") { sink.values("voltage").count >= 2 }
        let voltage = try #require(sink.values("voltage").first.flatMap(Double.init))
        #expect((228...232).contains(voltage))
        #expect(sink.readings.first { $0.metric == "voltage" }?.unit == "V")
        #expect(sink.values("frequency").first == "50")
        #expect(sink.values("serial").first == "SM-4711")
        #expect(sink.values("relay").first == "1")
        #expect(sink.values("coil").first == "true")
        #expect(sink.values("energy").first.flatMap(Int.init) ?? 0 > 1_204_000)
        #expect(sink.health.map(\.answers) == [true], "said once")
    }

    /// Polling goes on while the disk works, as far as there is room; then it waits for the disk, and loses nothing.
    @Test func aSlowDiskHoldsUpNoPollUntilTheLineIsFarAhead() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        sink.set(.hold)
        let driver = try started(config(folder.file("meter"), [try unit("meter-1", id: 1)]), sink)
        defer { driver.stop() }
        try waitUntil("the line is as far ahead as it may be", seconds: 60) { sink.hurries > 0 }
        let ahead = sink.heldCount
        #expect(ahead > 1)
        sink.set(.keep)
        try waitUntil("it reads on") { sink.values("voltage").count > ahead }
        #expect(sink.health.map(\.answers) == [true], "said once")
    }

    @Test func anUnpluggedMeterIsSaidWithinOnePollAndClearedByItsFirstAnswer() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let log = LogBook()
        let path = folder.file("meter")
        let driver = try started(config(path, [try unit("meter-1", id: 1)]), sink, log)
        defer { driver.stop() }
        try waitUntil("it answers") { sink.lastHealth(of: "meter-1")?.answers == true }
        meter.unplug(.meter)
        let unplugged = SystemClockLook.now
        try waitUntil("it is missed") { sink.lastHealth(of: "meter-1")?.answers == false }
        // One poll: the interval, and the response timeout twice because of the retry. A loaded machine gets slack.
        #expect(SystemClockLook.now - unplugged < .milliseconds(50 + 2 * 100 + 1500))
        #expect(
            sink.lastHealth(of: "meter-1")?.reason
                == "unit 1 on \(path) does not answer: no answer within the response timeout")
        let before = sink.values("voltage").count
        meter.plug()
        try waitUntil("it is back") { sink.lastHealth(of: "meter-1")?.answers == true }
        try waitUntil("it is read again") { sink.values("voltage").count > before }
        #expect(sink.health.map(\.answers) == [true, false, true])
        #expect(log.count(of: "Modbus unit does not answer; asking it less often until it does") == 1)
        #expect(log.text.contains("advice=check its power, its wiring and its unit id"))
    }

    @Test func aPulledAdapterIsSaidAndItsReturnIsFound() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let log = LogBook()
        let path = folder.file("meter")
        let driver = try started(config(path, [try unit("meter-1", id: 1)]), sink, log)
        defer { driver.stop() }
        try waitUntil("it answers") { sink.lastHealth(of: "meter-1")?.answers == true }
        meter.unplug(.adapter)
        try waitUntil("the port is missed") {
            sink.lastHealth(of: "meter-1")?.reason == "the serial port \(path) is not there"
        }
        meter.plug()
        try waitUntil("it is back") { sink.lastHealth(of: "meter-1")?.answers == true }
    }

    @Test func aMissingSerialPortIsExplainedAndTriedAgain() throws {
        let folder = try TemporaryFolder("modbus")
        let path = folder.file("meter")
        let sink = RecordingSink()
        let log = LogBook()
        let driver = try started(config(path, [try unit("meter-1", id: 1)]), sink, log)
        defer { driver.stop() }
        try waitUntil("it is said") { sink.lastHealth(of: "meter-1")?.answers == false }
        #expect(
            log.text.contains(
                "error no Modbus line; will keep trying advice=check that the adapter is plugged in and that the path "
                    + "is right (ls -l /dev/serial/by-id) driver=line line=\(path) "
                    + "reason=the serial port \(path) is not there"))
        let outcomes = Outcomes()
        driver.command(try self.setRelay("meter-1", 0)) { outcomes.add($0) }
        try waitUntil("a command fails at once") { !outcomes.list.isEmpty }
        #expect(outcomes.list == [.failed(reason: "the serial port \(path) is not there")])
        let meter = try meter(folder)
        defer { meter.stop() }
        try waitUntil("it is found") { sink.lastHealth(of: "meter-1")?.answers == true }
        #expect(log.count(of: "no Modbus line") == 1, "an absence is one line")
    }

    @Test func aDeadUnitAndARefusedRegisterDoNotStallTheirNeighbours() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let log = LogBook()
        var healthy = try unit("meter-1", id: 1)
        healthy.registers.append(ModbusRegister(metric: "nowhere", table: .holding, address: 500, form: .uint16))
        let driver = try started(
            config(folder.file("meter"), [try unit("dead", id: 9), healthy]), sink, log)
        defer { driver.stop() }
        try waitUntil("the dead one is said") { sink.lastHealth(of: "dead")?.answers == false }
        let before = sink.values("voltage", of: "meter-1").count
        try waitUntil("the healthy one keeps coming") { sink.values("voltage", of: "meter-1").count >= before + 5 }
        #expect(sink.lastHealth(of: "meter-1")?.answers == true, "a refused register is an answer")
        #expect(sink.values("voltage", of: "dead").isEmpty)
        #expect(
            log.text.contains(
                "Modbus unit refuses to read registers advice=check the register map; a unit that refuses holes needs "
                    + "gap_max = 0 answer=illegal data address (2) device=meter-1"))
        #expect(log.count(of: "refuses to read registers") == 1)
    }

    @Test func aSinkThatRefusesStopsReadingUntilItKeepsAgain() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let log = LogBook()
        sink.set(.refuse)
        let driver = try started(config(folder.file("meter"), [try unit("meter-1", id: 1)]), sink, log)
        defer { driver.stop() }
        try waitUntil("it is said") { log.text.contains("readings cannot be kept; reading stops until they can") }
        #expect(sink.readings.isEmpty)
        sink.set(.keep)
        try waitUntil("readings come") { !sink.readings.isEmpty }
        #expect(sink.lastHealth(of: "meter-1")?.answers == true, "health that was refused is said again")
    }

    /// One refusal takes all that is on its way: the log says how much, and of which device.
    @Test func whatARefusalTakesIsCounted() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let log = LogBook()
        sink.set(.hold)
        let driver = try started(config(folder.file("meter"), [try unit("meter-1", id: 1)]), sink, log)
        defer { driver.stop() }
        // Then it reads no further: all of this is refused.
        try waitUntil("the line is as far ahead as it may be", seconds: 60) { sink.hurries > 0 }
        let held = sink.heldReadings.count
        #expect(held > 6)
        sink.set(.refuse)
        sink.set(.keep)
        try waitUntil("readings come") { !sink.readings.isEmpty }
        try waitUntil("all are counted") { lost(log) >= held }
        #expect(log.text.contains("devices=meter-1"))
    }

    private func lost(_ log: LogBook) -> Int {
        log.text.split(whereSeparator: \.isWhitespace).filter { $0.hasPrefix("lost_readings=") }
            .compactMap { Int($0.dropFirst("lost_readings=".count)) }.reduce(0, +)
    }

    // MARK: Writes

    private func setRelay(_ name: String, _ value: Int, within: Duration = .seconds(10)) throws -> DeviceCommand {
        DeviceCommand(
            device: try device(name), name: "SetValue", payload: Array("{\"relay\":\(value)}".utf8),
            deadline: DriverClock.system.monotonic() + within)
    }

    @Test func commandsAndActionsReachTheRegister() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let driver = try started(config(folder.file("meter"), [try unit("meter-1", id: 1)]), sink)
        defer { driver.stop() }
        let outcomes = Outcomes()
        driver.command(try setRelay("meter-1", 0)) { outcomes.add($0) }
        try waitUntil("it ended") { !outcomes.list.isEmpty }
        #expect(outcomes.list == [.executed(answer: nil)])
        #expect(!meter.isRelayClosed)
        try waitUntil("the next poll shows it") { sink.values("relay").last == "0" }
        let id = try device("meter-1")
        try driver.perform(.write(device: id, register: "relay", value: .boolean(true)))
        try waitUntil("the relay closed") { meter.isRelayClosed }
        #expect(throws: DriverError.self) {
            try driver.perform(.write(device: id, register: "voltage", value: .boolean(true)))
        }
        #expect(throws: DriverError.self) { try driver.perform(.publish(topic: "t", payload: [], isRetained: false)) }
        #expect(driver.serves(id))
        driver.command(try setRelay("meter-1", 0, within: .zero)) { outcomes.add($0) }
        #expect(
            outcomes.list.last
                == .expired(reason: "the time limit had passed when the command came to the driver"))
    }

    @Test func anActionForASilentUnitIsDoneWhenItAnswersAndACommandIsNot() throws {
        let folder = try TemporaryFolder("modbus")
        let meter = try meter(folder)
        defer { meter.stop() }
        let sink = RecordingSink()
        let driver = try started(config(folder.file("meter"), [try unit("meter-1", id: 1)]), sink)
        defer { driver.stop() }
        try waitUntil("it answers") { sink.lastHealth(of: "meter-1")?.answers == true }
        meter.unplug(.meter)
        let outcomes = Outcomes()
        driver.command(try setRelay("meter-1", 0)) { outcomes.add($0) }
        try waitUntil("the command failed") { !outcomes.list.isEmpty }
        #expect(
            outcomes.list == [
                .failed(
                    reason: "unit 1 on \(folder.file("meter")) did not confirm it: "
                        + "no answer within the response timeout")
            ])
        try driver.perform(.write(device: try device("meter-1"), register: "relay", value: .boolean(false)))
        meter.plug()
        try waitUntil("the action was done after all") { !meter.isRelayClosed }
    }
}

private enum SystemClockLook {
    static var now: MonotonicInstant { DriverClock.system.monotonic() }
}
