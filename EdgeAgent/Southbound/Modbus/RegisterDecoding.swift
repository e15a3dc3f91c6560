import Telemetry

/// Registers to readings and back. Pure.
///
/// A wide value is its registers, first the high word unless `wordOrder` is little; in each register first the high
/// byte unless `byteOrder` is little. So ABCD is big/big, CDAB big/little word, BADC little/big word, DCBA both little.
enum RegisterDecoding {
    /// - Parameter words: exactly the register's width; for coils and inputs one word, 0 or 1.
    /// - Returns: the scaled value; a float that is no number comes as the text `NaN`, `inf` or `-inf`, quality bad.
    static func reading(of register: ModbusRegister, words: ArraySlice<UInt16>) -> (
        value: ReadingValue, quality: ReadingQuality
    ) {
        precondition(words.count == register.width, "a \(register.form) is \(register.width) registers wide")
        switch register.form {
        case .boolean: return (.boolean(words.first != 0), .good)
        case .bit(let bit): return (.boolean(ordered(words, register)[0] >> UInt16(bit) & 1 == 1), .good)
        case .text: return (.text(text(words, register.byteOrder)), .good)
        case .uint16, .uint32, .uint64: return scaled(Decimal(pattern(words, register)), register)
        case .int16: return scaled(Decimal(Int16(truncatingIfNeeded: pattern(words, register))), register)
        case .int32: return scaled(Decimal(Int32(truncatingIfNeeded: pattern(words, register))), register)
        case .int64: return scaled(Decimal(Int64(bitPattern: pattern(words, register))), register)
        case .float32:
            let value = Float(bitPattern: UInt32(truncatingIfNeeded: pattern(words, register)))
            // The shortest text of the float itself: through Double, 230.4 would read 230.39999389648438.
            return value.isFinite ? scaled(Decimal(value.description), register) : (notANumber(Double(value)), .bad)
        case .float64:
            let value = Double(bitPattern: pattern(words, register))
            return value.isFinite ? scaled(Decimal(value.description), register) : (notANumber(value), .bad)
        }
    }

    private static func notANumber(_ value: Double) -> ReadingValue {
        .text(value.isNaN ? "NaN" : (value < 0 ? "-inf" : "inf"))
    }

    private static func scaled(_ raw: Decimal?, _ register: ModbusRegister) -> (ReadingValue, ReadingQuality) {
        guard let raw else { return (.text("NaN"), .bad) }
        if let exact = raw.times(register.scale)?.plus(register.offset), let text = DecimalText(exact.description) {
            return (.number(text), .good)
        }
        let nearest = raw.double * register.scale.double + register.offset.double
        guard let text = DecimalText(nearest) else { return (notANumber(nearest), .bad) }
        return (.number(text), .good)
    }

    /// High word first, high byte first.
    private static func ordered(_ words: ArraySlice<UInt16>, _ register: ModbusRegister) -> [UInt16] {
        let inOrder = register.wordOrder == .big ? Array(words) : words.reversed()
        return register.byteOrder == .big ? inOrder : inOrder.map(\.byteSwapped)
    }

    private static func pattern(_ words: ArraySlice<UInt16>, _ register: ModbusRegister) -> UInt64 {
        ordered(words, register).reduce(0) { $0 << 16 | UInt64($1) }
    }

    /// Bytes that are not UTF-8 become U+FFFD, so that a meter with a broken serial number is still read.
    private static func text(_ words: ArraySlice<UInt16>, _ order: ModbusRegister.ByteOrder) -> String {
        let bytes = words.flatMap { word -> [UInt8] in
            let high = UInt8(word >> 8)
            let low = UInt8(truncatingIfNeeded: word)
            return order == .big ? [high, low] : [low, high]
        }
        var end = bytes.prefix { $0 != 0 }
        while end.last == UInt8(ascii: " ") { end = end.dropLast() }
        return String(decoding: end, as: UTF8.self)
    }
}

/// What a write puts on the wire.
enum RegisterWrite: Hashable, Sendable {
    case coil(address: UInt16, isOn: Bool)
    case registers(address: UInt16, words: [UInt16])
}

extension RegisterDecoding {
    struct EncodingProblem: Error, Equatable {
        let text: String
    }

    /// The inverse of reading: raw = (value − offset) ÷ scale, which must be whole (within a millionth) for integers.
    static func write(_ value: ReadingValue, to register: ModbusRegister) throws(EncodingProblem) -> RegisterWrite {
        guard register.isWritable else { throw EncodingProblem(text: "\(register.metric) is not writable") }
        guard let number = value.double else {
            throw EncodingProblem(text: "\(register.metric) takes a number or a boolean, not a text")
        }
        if register.form == .boolean {
            guard number == 0 || number == 1 else {
                throw EncodingProblem(text: "\(register.metric) is a coil: it takes true, false, 1 or 0")
            }
            return .coil(address: register.address, isOn: number == 1)
        }
        let raw = (number - register.offset.double) / register.scale.double
        guard raw.isFinite else { throw EncodingProblem(text: "\(number) is out of range for \(register.metric)") }
        let pattern = try pattern(of: raw, for: register)
        let count = register.width
        var words = (0..<count).map { UInt16(truncatingIfNeeded: pattern >> UInt64(16 * (count - 1 - $0))) }
        if register.byteOrder == .little { words = words.map(\.byteSwapped) }
        if register.wordOrder == .little { words.reverse() }
        return .registers(address: register.address, words: words)
    }

    private static func pattern(of raw: Double, for register: ModbusRegister) throws(EncodingProblem) -> UInt64 {
        switch register.form {
        case .float32: return UInt64(Float(raw).bitPattern)
        case .float64: return raw.bitPattern
        case .uint16: return UInt64(try whole(raw, UInt16.self, register))
        case .int16: return UInt64(UInt16(bitPattern: try whole(raw, Int16.self, register)))
        case .uint32: return UInt64(try whole(raw, UInt32.self, register))
        case .int32: return UInt64(UInt32(bitPattern: try whole(raw, Int32.self, register)))
        case .uint64: return try whole(raw, UInt64.self, register)
        case .int64: return UInt64(bitPattern: try whole(raw, Int64.self, register))
        case .bit, .text, .boolean:
            throw EncodingProblem(text: "\(register.metric) is of a type that cannot be written")
        }
    }

    private static func whole<Integer: FixedWidthInteger>(
        _ raw: Double, _: Integer.Type, _ register: ModbusRegister
    ) throws(EncodingProblem) -> Integer {
        let rounded = raw.rounded()
        guard abs(raw - rounded) <= max(1e-6, abs(raw) * 1e-12), let exact = Integer(exactly: rounded) else {
            throw EncodingProblem(
                text: "\(register.metric) holds whole steps of \(register.scale) from "
                    + "\(Integer.min) to \(Integer.max) steps; the value is none of them")
        }
        return exact
    }
}
