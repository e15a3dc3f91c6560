import Primitives
import Telemetry
import Testing

@testable import ModbusDriver

@Suite struct RegisterDecodingTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let claim: String
        let form: ModbusRegister.Form
        let words: [UInt16]
        let expected: String
        var bytes = ModbusRegister.ByteOrder.big
        var order = ModbusRegister.WordOrder.big
        var scale = "1"
        var offset = "0"
        var quality = ReadingQuality.good
        var testDescription: String { claim }
    }

    // 230.4 as float32 is 43 66 66 66; 0x01020304 as uint32 shows the orders.
    static let rows: [Row] = [
        Row(claim: "uint16", form: .uint16, words: [0xFFFE], expected: "65534"),
        Row(claim: "int16 is signed", form: .int16, words: [0xFFFE], expected: "-2"),
        Row(claim: "uint32 ABCD", form: .uint32, words: [0x0102, 0x0304], expected: "16909060"),
        Row(claim: "uint32 CDAB", form: .uint32, words: [0x0304, 0x0102], expected: "16909060", order: .little),
        Row(claim: "uint32 BADC", form: .uint32, words: [0x0201, 0x0403], expected: "16909060", bytes: .little),
        Row(
            claim: "uint32 DCBA", form: .uint32, words: [0x0403, 0x0201], expected: "16909060", bytes: .little,
            order: .little),
        Row(claim: "int32", form: .int32, words: [0xFFFF, 0xFFFF], expected: "-1"),
        Row(
            claim: "uint64 beyond a double", form: .uint64, words: [0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF],
            expected: "9223372036854775807"),
        Row(
            claim: "int64 words little", form: .int64, words: [0xFFFE, 0xFFFF, 0xFFFF, 0xFFFF], expected: "-2",
            order: .little),
        Row(claim: "float32 ABCD, shortest text", form: .float32, words: [0x4366, 0x6666], expected: "230.4"),
        Row(claim: "float32 CDAB", form: .float32, words: [0x6666, 0x4366], expected: "230.4", order: .little),
        Row(claim: "float32 BADC", form: .float32, words: [0x6643, 0x6666], expected: "230.4", bytes: .little),
        Row(
            claim: "float32 DCBA", form: .float32, words: [0x6666, 0x6643], expected: "230.4", bytes: .little,
            order: .little),
        Row(claim: "float32 small", form: .float32, words: [0x3727, 0xC5AC], expected: "0.00001"),
        Row(
            claim: "float64", form: .float64, words: [0x406C, 0xCCCC, 0xCCCC, 0xCCCD], expected: "230.4"),
        Row(claim: "scale is exact", form: .uint16, words: [2304], expected: "230.4", scale: "0.1"),
        Row(claim: "scale and offset", form: .int16, words: [0xFFF6], expected: "-41", scale: "0.1", offset: "-40"),
        Row(
            claim: "NaN is bad", form: .float32, words: [0x7FC0, 0], expected: "NaN", quality: .bad),
        Row(
            claim: "infinity is bad", form: .float32, words: [0xFF80, 0], expected: "-inf", quality: .bad),
        Row(claim: "bit 15", form: .bit(15), words: [0x8000], expected: "true"),
        Row(claim: "bit 0", form: .bit(0), words: [0x8000], expected: "false"),
        Row(claim: "bit 0 with the bytes swapped", form: .bit(0), words: [0x0100], expected: "true", bytes: .little),
        Row(claim: "a coil", form: .boolean, words: [1], expected: "true"),
        Row(claim: "text up to the zero", form: .text(registers: 3), words: [0x4142, 0x4300, 0x4444], expected: "ABC"),
        Row(
            claim: "text, bytes swapped", form: .text(registers: 2), words: [0x4241, 0x2043], expected: "ABC",
            bytes: .little),
        Row(claim: "text that is not UTF-8", form: .text(registers: 1), words: [0xFF41], expected: "\u{FFFD}A"),
    ]

    private func register(_ row: Row) throws -> ModbusRegister {
        var register = ModbusRegister(
            metric: "m", table: row.form == .boolean ? .coil : .holding, address: 10, form: row.form)
        register.byteOrder = row.bytes
        register.wordOrder = row.order
        register.scale = try #require(Decimal(row.scale))
        register.offset = try #require(Decimal(row.offset))
        return register
    }

    @Test(arguments: rows) func registersBecomeAValue(_ row: Row) throws {
        let reading = RegisterDecoding.reading(of: try register(row), words: row.words[...])
        #expect(reading.value.description == row.expected)
        #expect(reading.quality == row.quality)
    }

    /// Writing what was read gives the same registers back.
    @Test(
        arguments: rows.filter { row in
            switch row.form {
            case .bit, .text, .uint64: false
            default: row.quality == .good
            }
        }) func aWriteIsTheInverse(_ row: Row) throws
    {
        var register = try register(row)
        register.isWritable = true
        let value = RegisterDecoding.reading(of: register, words: row.words[...]).value
        let write = try RegisterDecoding.write(value, to: register)
        let expected =
            row.form == .boolean
            ? RegisterWrite.coil(address: 10, isOn: row.words[0] != 0)
            : .registers(address: 10, words: row.words)
        #expect(write == expected)
    }

    @Test func valuesThatDoNotFitAreRefused() throws {
        var register = ModbusRegister(metric: "limit", table: .holding, address: 0, form: .uint16)
        let one = try #require(DecimalText("1"))
        #expect(throws: RegisterDecoding.EncodingProblem(text: "limit is not writable")) {
            try RegisterDecoding.write(.number(one), to: register)
        }
        register.isWritable = true
        register.scale = try #require(Decimal("0.5"))
        #expect(try RegisterDecoding.write(.number(one), to: register) == .registers(address: 0, words: [2]))
        for text in ["-1", "0.3", "40000", "1e300"] {
            let number = try #require(DecimalText(text))
            #expect(throws: RegisterDecoding.EncodingProblem.self, "\(text)") {
                try RegisterDecoding.write(.number(number), to: register)
            }
        }
        #expect(throws: RegisterDecoding.EncodingProblem.self) {
            try RegisterDecoding.write(.text("1"), to: register)
        }
    }
}
