public import Primitives
public import Telemetry

/// One Modbus line (serial or TCP) and the units on it. Plain values; `problems()` checks them without any I/O.
public struct ModbusConfig: Sendable {
    public enum Parity: String, Sendable, CaseIterable { case none, even, odd }

    public enum Line: Sendable, Equatable {
        /// A serial device: path, baud 300 … 921600, parity, data bits 7 or 8, stop bits 1 or 2.
        /// Source: Modbus over Serial Line 1.02, section 2.5.1 (8E1 is the line's default; many meters ship with 8N1).
        case rtu(path: String, baud: Int, parity: Parity, dataBits: Int, stopBits: Int)
        /// Modbus TCP; the port is 502 unless the plant says otherwise.
        case tcp(host: String, port: UInt16)
    }

    /// Unique among the agent's drivers.
    public var name: String
    public var line: Line
    /// 1 to 247 units.
    public var units: [ModbusUnit]
    /// How long a unit may take to answer. Default 500 ms. Range 10 ms … 10 s.
    public var responseTimeout: Duration = .milliseconds(500)
    /// Further tries after a request without a usable answer, before the poll counts as failed. Default 1. Range 0 … 5.
    public var retries = 1
    /// Failed polls in a row until a unit counts as not answering. Default 1. Range 1 … 10.
    public var failuresMax = 1
    /// Longest wait between two tries at a unit, or at a line, that is gone. Default 5 s. Range 100 ms … 10 min.
    public var retryMost: Duration = .seconds(5)

    public init(name: String, line: Line, units: [ModbusUnit]) {
        self.name = name
        self.line = line
        self.units = units
    }
}

/// One unit on the line: one device of the registry.
public struct ModbusUnit: Sendable {
    public var device: DeviceID
    /// Unit identifier, 1 … 247 (TCP: 0 … 255).
    public var unitID: UInt8
    /// Time between two polls. Default 1 s. Range 50 ms … 24 h.
    public var pollInterval: Duration = .seconds(1)
    /// 1 to 1000.
    public var registers: [ModbusRegister]
    /// Registers that nobody asked for, read along to save a request. Default 8. Range 0 … 100; 0 for units that refuse
    /// to read holes.
    public var gapMax = 8
    /// Registers (or coils) in one request. Default 120. Range 1 … 125.
    /// Source: Modbus Application Protocol 1.1b3, section 6.3: at most 125 registers.
    public var blockLengthMax = 120
    /// What `Reset`, `Notify` and the plant's own commands write; `SetValue` needs no entry. At most 64.
    public var commands: [ModbusCommand] = []

    public init(device: DeviceID, unitID: UInt8, registers: [ModbusRegister]) {
        self.device = device
        self.unitID = unitID
        self.registers = registers
    }
}

/// One entry of the register map.
public struct ModbusRegister: Sendable, Equatable {
    /// Which of the four tables. Source: Modbus Application Protocol 1.1b3, section 4.3.
    public enum Table: String, Sendable, CaseIterable { case holding, input, coil, discrete }

    /// What the registers hold. `bit0` … of a register is written `bit` with `bit: n`.
    public enum Form: Sendable, Hashable {
        case uint16, int16, uint32, int32, uint64, int64, float32, float64
        /// One bit of a register, 0 (least significant) … 15; read only.
        case bit(UInt8)
        /// ASCII or UTF-8 text of that many registers, 1 … 64, cut at the first zero; read only.
        case text(registers: UInt8)
        /// The only form of coils and discrete inputs.
        case boolean
    }

    /// Order of the two bytes of a register on the wire; the standard says high byte first.
    public enum ByteOrder: String, Sendable, CaseIterable { case big, little }
    /// Order of the registers of a wide value; most meters send the high word first.
    public enum WordOrder: String, Sendable, CaseIterable { case big, little }

    /// The metric's name, and the name by which actuations and `SetValue` write it. Unique in the unit.
    public var metric: String
    public var table: Table
    /// As on the wire, from 0 (register 40001 of the old notation is holding register 0).
    public var address: UInt16
    public var form: Form
    public var byteOrder = ByteOrder.big
    public var wordOrder = WordOrder.big
    /// reading = raw × scale + offset, in exact decimals. Default 1.
    public var scale = Decimal.one
    /// Default 0.
    public var offset = Decimal.zero
    /// UCUM.
    public var unit: String?
    /// Only holding registers and coils. Default false.
    public var isWritable = false
    /// False for what is only written. Default true.
    public var isRead = true

    public init(metric: String, table: Table, address: UInt16, form: Form) {
        self.metric = metric
        self.table = table
        self.address = address
        self.form = form
    }

    /// Registers (or bits) on the wire.
    public var width: Int {
        switch form {
        case .uint16, .int16, .bit, .boolean: 1
        case .uint32, .int32, .float32: 2
        case .uint64, .int64, .float64: 4
        case .text(let registers): Int(registers)
        }
    }
}

/// A command that is a list of writes, done in order; it fails at the first write that the unit refuses.
public struct ModbusCommand: Sendable, Equatable {
    public struct Write: Sendable, Equatable {
        /// Metric of a writable register.
        public var register: String
        public var value: ReadingValue

        public init(register: String, value: ReadingValue) {
            self.register = register
            self.value = value
        }
    }

    public var command: String
    /// 1 to 16.
    public var writes: [Write]

    public init(command: String, writes: [Write]) {
        self.command = command
        self.writes = writes
    }
}
