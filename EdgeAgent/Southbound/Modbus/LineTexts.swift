import Glibc

/// What the operator reads when a line cannot be opened: what is wrong, and what to do.
struct LineTrouble: Equatable {
    let reason: String
    let advice: String

    init(reason: String, advice: String) {
        self.reason = reason
        self.advice = advice
    }

    init(line: ModbusConfig.Line, error: Int32) {
        let text = String(cString: strerror(error))
        switch line {
        case .rtu(let path, let baud, let parity, let dataBits, let stopBits):
            let form = "\(baud) baud, \(dataBits) data bits, parity \(parity.rawValue), \(stopBits) stop bits"
            switch error {
            case ENOENT, ENODEV, ENXIO:
                self.init(
                    reason: "the serial port \(path) is not there",
                    advice: "check that the adapter is plugged in and that the path is right (ls -l /dev/serial/by-id)")
            case EACCES, EPERM:
                self.init(
                    reason: "the serial port \(path) may not be opened: \(text)",
                    advice: "add the agent's user to the group that owns it (usually dialout)")
            case EBUSY:
                self.init(
                    reason: "the serial port \(path) is in use",
                    advice: "find the program that holds it (fuser -v \(path)) and end it")
            case EINVAL:
                self.init(
                    reason: "the serial port \(path) does not take \(form)",
                    advice: "check baud, parity and stop bits against what the adapter can do")
            case ENOTTY:
                self.init(
                    reason: "\(path) is not a serial port",
                    advice: "give the path of a serial device, for instance /dev/ttyUSB0")
            default:
                self.init(
                    reason: "the serial port \(path) cannot be opened: \(text)", advice: "check adapter and cable")
            }
        case .tcp(let host, let port):
            self.init(
                reason: "\(host):\(port) does not take the connection: \(text)",
                advice: "check that the device is switched on, and its address and port")
        }
    }

    /// The line broke while it was in use.
    init(line: ModbusConfig.Line, broken text: String) {
        switch line {
        case .rtu(let path, _, _, _, _):
            self.init(reason: "the serial port \(path) broke: \(text)", advice: "check that the adapter is plugged in")
        case .tcp(let host, let port):
            self.init(
                reason: "the connection to \(host):\(port) broke: \(text)",
                advice: "check that the device is switched on, and the network between")
        }
    }
}

extension ModbusConfig.Line {
    /// For logs and health texts.
    var address: String {
        switch self {
        case .rtu(let path, _, _, _, _): path
        case .tcp(let host, let port): "\(host):\(port)"
        }
    }
}

/// The words for an exception code. Source: Modbus Application Protocol 1.1b3, section 7.
func exceptionText(_ code: Int32) -> String {
    switch code {
    case 1: "illegal function (1)"
    case 2: "illegal data address (2)"
    case 3: "illegal data value (3)"
    case 4: "server device failure (4)"
    case 5: "acknowledge (5)"
    case 6: "server device busy (6)"
    case 8: "memory parity error (8)"
    case 10: "gateway path unavailable (10)"
    case 11: "gateway target device failed to respond (11)"
    default: "exception \(code)"
    }
}
