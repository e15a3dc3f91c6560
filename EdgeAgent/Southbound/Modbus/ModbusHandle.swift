import CModbus
import Glibc

/// One libmodbus context, from `modbus_new` to `modbus_free`; used by one thread.
struct ModbusHandle: ~Copyable {
    /// How a request ended without a usable answer.
    enum Failure: Error, Equatable {
        /// Nothing came in time, or nothing that could be understood.
        case noAnswer(String)
        /// The unit answered that it will not. Source: Modbus Application Protocol 1.1b3, section 7.
        case refused(code: Int32)
        /// The port or connection itself is broken: open it again.
        case lineGone(String)
    }

    private let context: OpaquePointer

    /// Opens nothing yet. `nil` when libmodbus refuses the parameters.
    init?(line: ModbusConfig.Line, responseTimeout: Duration) {
        let made =
            switch line {
            case .rtu(let path, let baud, let parity, let dataBits, let stopBits):
                modbus_new_rtu(path, Int32(baud), parity.letter, Int32(dataBits), Int32(stopBits))
            case .tcp(let host, let port): modbus_new_tcp_pi(host, String(port))
            }
        guard let made else { return nil }
        context = made
        let (seconds, attoseconds) = responseTimeout.components
        modbus_set_response_timeout(
            made, UInt32(clamping: seconds), UInt32(clamping: attoseconds / 1_000_000_000_000))
    }

    deinit {
        modbus_close(context)
        modbus_free(context)
    }

    /// 0, or the error number.
    func open() -> Int32 { modbus_connect(context) == 0 ? 0 : errno }

    func read(_ block: ModbusPlan.Block, unitID: UInt8) throws(Failure) -> [UInt16] {
        try select(unitID)
        var words = [UInt16](repeating: 0, count: block.count)
        var bits = [UInt8](repeating: 0, count: block.count)
        let address = Int32(block.address)
        let count = Int32(block.count)
        let status =
            switch block.table {
            case .holding: modbus_read_registers(context, address, count, &words)
            case .input: modbus_read_input_registers(context, address, count, &words)
            case .coil: modbus_read_bits(context, address, count, &bits)
            case .discrete: modbus_read_input_bits(context, address, count, &bits)
            }
        guard status == count else { throw failure(errno) }
        switch block.table {
        case .holding, .input: return words
        case .coil, .discrete: return bits.map { UInt16($0) }
        }
    }

    func write(_ write: RegisterWrite, unitID: UInt8) throws(Failure) {
        try select(unitID)
        let status =
            switch write {
            case .coil(let address, let isOn): modbus_write_bit(context, Int32(address), isOn ? 1 : 0)
            // Function 6 for one register, 16 for more: some small units know only 6.
            case .registers(let address, let words) where words.count == 1:
                modbus_write_register(context, Int32(address), words[0])
            case .registers(let address, let words):
                modbus_write_registers(context, Int32(address), Int32(words.count), words)
            }
        guard status > 0 else { throw failure(errno) }
    }

    private func select(_ unitID: UInt8) throws(Failure) {
        guard modbus_set_slave(context, Int32(unitID)) == 0 else {
            throw .noAnswer("libmodbus does not take unit id \(unitID)")
        }
    }

    /// MODBUS_ENOBASE and MODBUS_EXCEPTION_MAX of modbus.h; Swift cannot read the composite macros made of them.
    private static let errorBase: Int32 = 112_345_678
    private static let exceptionMax: Int32 = 12

    private func failure(_ error: Int32) -> Failure {
        // What is still on its way belongs to this request and must not be taken for the next one's answer.
        modbus_flush(context)
        let text = String(cString: modbus_strerror(error))
        if (Self.errorBase + 1..<Self.errorBase + Self.exceptionMax).contains(error) {
            return .refused(code: error - Self.errorBase)
        }
        if error == ETIMEDOUT { return .noAnswer("no answer within the response timeout") }
        if error >= Self.errorBase { return .noAnswer("the answer cannot be used: \(text)") }
        return .lineGone(text)
    }
}

extension ModbusConfig.Parity {
    fileprivate var letter: CChar {
        switch self {
        case .none: CChar(UInt8(ascii: "N"))
        case .even: CChar(UInt8(ascii: "E"))
        case .odd: CChar(UInt8(ascii: "O"))
        }
    }
}
