import ConfigText
import ModbusDriver
import Primitives
import RuleSets
import Telemetry

enum LineSection {
    private static let parities: KeyValuePairs<String, ModbusConfig.Parity> = [
        "none": .none, "even": .even, "odd": .odd,
    ]
    private static let forms: KeyValuePairs<String, ModbusRegister.Form?> = [
        "u16": .uint16, "i16": .int16, "u32": .uint32, "i32": .int32, "u64": .uint64, "i64": .int64, "f32": .float32,
        "f64": .float64, "bool": .boolean, "bit": .bit(0), "text": .text(registers: 1),
    ]

    static func read(_ section: ConfigSection, _ devices: KnownDevices) -> ModbusConfig {
        let name = devices.driverName(section, expected: "a name for this line") ?? "modbus"
        let interval = section.duration(
            "poll_interval", default: .seconds(1), in: .milliseconds(50) ... .seconds(86_400))
        let read = section.sections("unit", countMax: 247).map { unit($0, interval) }
        let units = read.compactMap(\.self)
        var line = ModbusConfig(name: name, line: wire(section), units: units)
        line.responseTimeout = section.duration(
            "response_timeout", default: line.responseTimeout, in: .milliseconds(10) ... .seconds(10))
        line.retries = section.integer("retries", default: line.retries, in: 0...5)
        line.failuresMax = section.integer("failures_max", default: line.failuresMax, in: 1...10)
        line.retryMost = section.duration(
            "retry_most", default: line.retryMost, in: .milliseconds(100) ... .seconds(600))
        for device in units.map(\.device) {
            guard let other = devices.claim(device.text, by: name) else { continue }
            section.problem("the device \(device) is read by the driver '\(other)' already")
        }
        DriverProblems.note(line.problems(), in: section, "units", isRead: read.map { $0 != nil })
        return line
    }

    private static func wire(_ section: ConfigSection) -> ModbusConfig.Line {
        if section.has("host") {
            if section.has("port") {
                section.problem("port is a serial device and host a TCP address: give one of them")
            }
            let host = section.optionalText("host", expected: "a host name or an address") ?? ""
            return .tcp(host: host, port: UInt16(section.integer("tcp_port", default: 502, in: 1...65_535)))
        }
        let path = section.requiredText("port", expected: "a serial device such as \"/dev/ttyUSB0\", or host for TCP")
        return .rtu(
            path: path ?? "/dev/null", baud: section.integer("baud", default: 19_200, in: 300...921_600),
            parity: section.choice("parity", default: .none, parities),
            dataBits: section.integer("data_bits", default: 8, in: 7...8),
            stopBits: section.integer("stop_bits", default: 1, in: 1...2))
    }

    private static func unit(_ section: ConfigSection, _ interval: Duration) -> ModbusUnit? {
        let device = section.required("device", expected: "a device id") { DeviceID($0) }
        let id = section.integer("unit", default: 1, in: 0...255)
        let registers = section.sections("register", countMax: 1000).compactMap(register)
        let pollInterval = section.duration(
            "poll_interval", default: interval, in: .milliseconds(50) ... .seconds(86_400))
        let gapMax = section.integer("gap_max", default: 8, in: 0...100)
        let blockLengthMax = section.integer("block_length_max", default: 120, in: 1...125)
        let commands = section.sections("command", countMax: 64).compactMap(command)
        guard let device else { return nil }
        var unit = ModbusUnit(device: device, unitID: UInt8(id), registers: registers)
        unit.pollInterval = pollInterval
        unit.gapMax = gapMax
        unit.blockLengthMax = blockLengthMax
        unit.commands = commands
        return unit
    }

    private static func register(_ section: ConfigSection) -> ModbusRegister? {
        let metric = section.requiredText("metric", expected: "the name of the value")
        let address = section.optionalInteger("address", in: 0...65_535)
        if !section.has("address") {
            section.problem("address", expected: "is missing; expected 0 to 65535, as on the wire")
        }
        let table = section.choice(
            "table", default: ModbusRegister.Table.holding,
            ["holding": .holding, "input": .input, "coil": .coil, "discrete": .discrete])
        let byDefault: ModbusRegister.Form = table == .coil || table == .discrete ? .boolean : .uint16
        var form = section.choice("type", default: byDefault as ModbusRegister.Form?, forms) ?? byDefault
        if case .bit = form { form = .bit(UInt8(section.integer("bit", default: 0, in: 0...15))) }
        if case .text = form { form = .text(registers: UInt8(section.integer("length", default: 1, in: 1...64))) }
        var register = ModbusRegister(
            metric: metric ?? "metric", table: table, address: UInt16(address ?? 0), form: form)
        register.byteOrder = section.choice("byte_order", default: .big, ["big": .big, "little": .little])
        register.wordOrder = section.choice("word_order", default: .big, ["big": .big, "little": .little])
        register.scale = ConfigValue.decimal("scale", in: section) ?? register.scale
        register.offset = ConfigValue.decimal("offset", in: section) ?? register.offset
        register.unit = section.optionalText("unit", expected: "a UCUM unit such as \"V\"")
        register.isWritable = section.flag("writable", default: false)
        register.isRead = section.flag("read", default: true)
        return metric != nil && address != nil ? register : nil
    }

    private static func command(_ section: ConfigSection) -> ModbusCommand? {
        let name = section.requiredText("name", expected: "the command's name, such as \"Reset\"")
        let writes = section.sections("write", countMax: 16).compactMap { write -> ModbusCommand.Write? in
            let register = write.requiredText("register", expected: "the metric of a writable register")
            let value = ReadingValue.read("value", in: write)
            guard let register, let value else { return nil }
            return ModbusCommand.Write(register: register, value: value)
        }
        return name.map { ModbusCommand(command: $0, writes: writes) }
    }
}

/// A number for exact arithmetic.
enum ConfigValue {
    /// A number as it stands in the file, so that 0.1 stays 0.1.
    static func decimal(_ key: String, in section: ConfigSection) -> Decimal? {
        guard let value = section.take(key) else { return nil }
        switch value.content {
        case .integer(let number): return Decimal(number)
        case .decimal, .text:
            if let exact = Decimal(value.shown.filter { $0 != "\"" && $0 != "_" }) { return exact }
        default: break
        }
        section.problem(key, expected: "expected a number, such as 0.1")
        return nil
    }
}
