import Primitives
import SouthboundAPI
import Telemetry
import Testing

@testable import ModbusDriver

@Suite struct ModbusPlanTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let claim: String
        /// "table address type" each.
        let registers: [String]
        let gapMax: Int
        let lengthMax: Int
        /// "table address+count: register@offset …" each.
        let blocks: [String]
        var testDescription: String { claim }
    }

    static let rows: [Row] = [
        Row(
            claim: "neighbours are one request", registers: ["holding 0 f32", "holding 2 f32", "holding 4 u16"],
            gapMax: 0, lengthMax: 120, blocks: ["holding 0+5: 0@0 1@2 2@4"]),
        Row(
            claim: "order in the file does not matter", registers: ["holding 4 u16", "holding 0 f32", "holding 2 f32"],
            gapMax: 0, lengthMax: 120, blocks: ["holding 0+5: 1@0 2@2 0@4"]),
        Row(
            claim: "a gap within the limit is read along", registers: ["input 10 u16", "input 14 u16"], gapMax: 3,
            lengthMax: 120, blocks: ["input 10+5: 0@0 1@4"]),
        Row(
            claim: "a wider gap is not", registers: ["input 10 u16", "input 14 u16"], gapMax: 2, lengthMax: 120,
            blocks: ["input 10+1: 0@0", "input 14+1: 1@0"]),
        Row(
            claim: "no value is cut in two", registers: ["holding 0 u16", "holding 1 f32", "holding 3 f32"], gapMax: 8,
            lengthMax: 4, blocks: ["holding 0+3: 0@0 1@1", "holding 3+2: 2@0"]),
        Row(
            claim: "tables are never mixed",
            registers: ["coil 0 bool", "holding 0 u16", "discrete 0 bool", "input 0 u16"],
            gapMax: 8, lengthMax: 120,
            blocks: ["holding 0+1: 1@0", "input 0+1: 3@0", "coil 0+1: 0@0", "discrete 0+1: 2@0"]),
        Row(
            claim: "two readings of one register are one read", registers: ["holding 5 u16", "holding 5 f32"],
            gapMax: 0,
            lengthMax: 120, blocks: ["holding 5+2: 0@0 1@0"]),
        Row(
            claim: "the last register of all", registers: ["holding 65535 u16", "holding 65533 f32"], gapMax: 0,
            lengthMax: 120, blocks: ["holding 65533+3: 1@0 0@2"]),
    ]

    private func unit(_ row: Row) throws -> ModbusUnit {
        let registers = try row.registers.enumerated().map { index, text in
            let parts = text.split(separator: " ")
            let forms: [Substring: ModbusRegister.Form] = ["u16": .uint16, "f32": .float32, "bool": .boolean]
            return ModbusRegister(
                metric: "m\(index)", table: try #require(ModbusRegister.Table(rawValue: String(parts[0]))),
                address: try #require(UInt16(parts[1])), form: try #require(forms[parts[2]]))
        }
        var unit = ModbusUnit(device: try #require(DeviceID("d")), unitID: 1, registers: registers)
        unit.gapMax = row.gapMax
        unit.blockLengthMax = row.lengthMax
        return unit
    }

    @Test(arguments: rows) func registersAreReadInBlocks(_ row: Row) throws {
        let plan = ModbusPlan(unit: try unit(row))
        let texts = plan.blocks.map { block in
            "\(block.table.rawValue) \(block.address)+\(block.count): "
                + block.entries.map { "\($0.register)@\($0.offset)" }.joined(separator: " ")
        }
        #expect(texts == row.blocks)
        #expect(ModbusPlan(unit: try unit(row)) == plan)
    }

    @Test func randomMapsAreReadWholeWithinTheLimits() throws {
        var random = SeededRandom(seed: 3)
        for round in 0..<300 {
            let registers = (0..<Int.random(in: 1...40, using: &random)).map { index in
                ModbusRegister(
                    metric: "m\(index)", table: .holding, address: UInt16.random(in: 0...400, using: &random),
                    form: [.uint16, .float32, .uint64].randomElement(using: &random) ?? .uint16)
            }
            var unit = ModbusUnit(device: try #require(DeviceID("d")), unitID: 1, registers: registers)
            unit.gapMax = Int.random(in: 0...20, using: &random)
            unit.blockLengthMax = Int.random(in: 4...125, using: &random)
            let plan = ModbusPlan(unit: unit)
            var seen: Set<Int> = []
            for block in plan.blocks {
                #expect(block.count <= unit.blockLengthMax, "round \(round)")
                for entry in block.entries {
                    seen.insert(entry.register)
                    let register = registers[entry.register]
                    #expect(Int(block.address) + entry.offset == Int(register.address), "round \(round)")
                    #expect(entry.offset + register.width <= block.count, "round \(round)")
                }
            }
            #expect(seen.count == registers.count, "round \(round)")
        }
    }
}

@Suite struct WritePlanningTests {
    private func planning() throws -> WritePlanning {
        var relay = ModbusRegister(metric: "relay", table: .coil, address: 3, form: .boolean)
        relay.isWritable = true
        var limit = ModbusRegister(metric: "limit", table: .holding, address: 8, form: .float32)
        limit.isWritable = true
        let voltage = ModbusRegister(metric: "voltage", table: .holding, address: 0, form: .float32)
        var unit = ModbusUnit(device: try #require(DeviceID("meter-1")), unitID: 1, registers: [relay, limit, voltage])
        unit.commands = [
            ModbusCommand(
                command: "Reset",
                writes: [
                    .init(register: "relay", value: .boolean(true)),
                    .init(register: "limit", value: .number(try #require(DecimalText("40")))),
                ])
        ]
        return WritePlanning(units: [unit])
    }

    private func outcome(_ name: String, _ payload: String) throws -> String {
        let command = DeviceCommand(
            device: try #require(DeviceID("meter-1")), name: name, payload: Array(payload.utf8),
            deadline: MonotonicInstant(nanoseconds: 0))
        do {
            return "\(try planning().writes(of: command, unit: 0))"
        } catch let error as WritePlanning.Refusal {
            return error.reason
        }
    }

    @Test func setValueTakesBothForms() throws {
        let on = "[ModbusDriver.RegisterWrite.coil(address: 3, isOn: true)]"
        #expect(try outcome("SetValue", #"{"register":"relay","value":1}"#) == on)
        #expect(try outcome("SetValue", #"{"relay":true}"#) == on)
        #expect(
            try outcome("SetValue", #"{"limit":1,"relay":false}"#)
                == "[ModbusDriver.RegisterWrite.registers(address: 8, words: [16256, 0]), "
                + "ModbusDriver.RegisterWrite.coil(address: 3, isOn: false)]")
    }

    @Test func aConfiguredCommandIsItsListOfWrites() throws {
        #expect(
            try outcome("Reset", "")
                == "[ModbusDriver.RegisterWrite.coil(address: 3, isOn: true), "
                + "ModbusDriver.RegisterWrite.registers(address: 8, words: [16928, 0])]")
    }

    @Test(arguments: [
        ("Notify", "", "no command Notify is configured for meter-1; add it to the unit's commands"),
        ("SetValue", #"{"oil":1}"#, "meter-1 has no register 'oil'; writable are: relay, limit"),
        ("SetValue", #"{"voltage":1}"#, "voltage is not writable"),
        ("SetValue", #"{"relay":2}"#, "relay is a coil: it takes true, false, 1 or 0"),
        ("SetValue", #"{"relay":"x"}"#, "'relay' takes a number or a boolean"),
        (
            "SetValue", "{}",
            #"SetValue needs {"register": name, "value": value}, or 1 to 16 registers with their values"#
        ),
        (
            "SetValue", "{",
            "the payload of SetValue cannot be read: JSON is broken at byte 1: the text ends in the middle of a value"
        ),
    ]) func whatCannotBeWrittenSaysWhy(_ name: String, _ payload: String, _ reason: String) throws {
        #expect(try outcome(name, payload) == reason)
    }
}

@Suite struct ModbusConfigTests {
    @Test func everyProblemIsReportedAtOnce() throws {
        var register = ModbusRegister(metric: "a", table: .input, address: 65_535, form: .float32)
        register.isWritable = true
        register.scale = .zero
        var unit = ModbusUnit(device: try #require(DeviceID("d")), unitID: 0, registers: [register, register])
        unit.pollInterval = .milliseconds(10)
        let config = ModbusConfig(
            name: "m", line: .rtu(path: "", baud: 1, parity: .none, dataBits: 5, stopBits: 3), units: [unit])
        #expect(
            config.problems().map { "\($0.key) \($0.problem)" } == [
                "port is the path of the serial device, for instance /dev/ttyUSB0", "baud needs 300 to 921600",
                "data_bits is 7 or 8", "stop_bits is 1 or 2", "units[0].unit_id needs 1 to 247 on a serial line",
                "units[0].poll_interval needs 50ms to 24h",
                "units[0].registers[0].address runs past the last register, 65535",
                "units[0].registers[0].writable is only for holding registers and coils",
                "units[0].registers[0].scale must not be 0",
                "units[0].registers[1].metric a is used twice in this unit",
                "units[0].registers[1].address runs past the last register, 65535",
                "units[0].registers[1].writable is only for holding registers and coils",
                "units[0].registers[1].scale must not be 0",
            ])
    }
}
