import Telemetry
import Primitives

extension ModbusConfig {
    /// Everything that is wrong, each as key below this driver's table and sentence; empty when it may be used.
    public func problems() -> [(key: String, problem: String)] {
        var found = lineProblems
        if !(1...247).contains(units.count) { found.append(("units", "needs 1 to 247 units")) }
        if !(Duration.milliseconds(10)...(.seconds(10))).contains(responseTimeout) {
            found.append(("response_timeout", "needs 10ms to 10s"))
        }
        if !(0...5).contains(retries) { found.append(("retries", "needs 0 to 5")) }
        if !(1...10).contains(failuresMax) { found.append(("failures_max", "needs 1 to 10")) }
        if !(Duration.milliseconds(100)...(.seconds(600))).contains(retryMost) {
            found.append(("retry_most", "needs 100ms to 10min"))
        }
        var seen: Set<UInt8> = []
        for (index, unit) in units.enumerated() {
            if !seen.insert(unit.unitID).inserted {
                found.append(("units[\(index)].unit_id", "\(unit.unitID) is used by two units of this line"))
            }
            if case .rtu = line, !(1...247).contains(unit.unitID) {
                found.append(("units[\(index)].unit_id", "needs 1 to 247 on a serial line"))
            }
            for problem in unit.problems { found.append(("units[\(index)].\(problem.key)", problem.problem)) }
        }
        return found
    }

    private var lineProblems: [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        switch line {
        case .rtu(let path, let baud, _, let dataBits, let stopBits):
            if path.isEmpty { found.append(("port", "is the path of the serial device, for instance /dev/ttyUSB0")) }
            if !(300...921_600).contains(baud) { found.append(("baud", "needs 300 to 921600")) }
            if !(7...8).contains(dataBits) { found.append(("data_bits", "is 7 or 8")) }
            if !(1...2).contains(stopBits) { found.append(("stop_bits", "is 1 or 2")) }
        case .tcp(let host, let port):
            if host.isEmpty { found.append(("host", "needs a name or an address")) }
            if port == 0 { found.append(("port", "needs 1 to 65535")) }
        }
        return found
    }
}

extension ModbusUnit {
    fileprivate var problems: [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        if !(Duration.milliseconds(50)...(.seconds(86_400))).contains(pollInterval) {
            found.append(("poll_interval", "needs 50ms to 24h"))
        }
        if !(1...1000).contains(registers.count) { found.append(("registers", "needs 1 to 1000 registers")) }
        if !(0...100).contains(gapMax) { found.append(("gap_max", "needs 0 to 100")) }
        if !(1...125).contains(blockLengthMax) { found.append(("block_length_max", "needs 1 to 125")) }
        if commands.count > 64 { found.append(("commands", "has \(commands.count), most is 64")) }
        var seen: Set<String> = []
        for (index, register) in registers.enumerated() {
            if !seen.insert(register.metric).inserted {
                found.append(("registers[\(index)].metric", "\(register.metric) is used twice in this unit"))
            }
            for problem in register.problems(blockLengthMax: blockLengthMax) {
                found.append(("registers[\(index)].\(problem.key)", problem.problem))
            }
        }
        for (index, command) in commands.enumerated() {
            if !(1...16).contains(command.writes.count) {
                found.append(("commands[\(index)].writes", "needs 1 to 16 writes"))
            }
            for write in command.writes
            where !registers.contains(where: { $0.metric == write.register && $0.isWritable }) {
                found.append(("commands[\(index)].writes", "\(write.register) is no writable register of this unit"))
            }
        }
        return found
    }
}

extension ModbusRegister {
    fileprivate func problems(blockLengthMax: Int) -> [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        if metric.isEmpty || metric.utf8.count > 128 { found.append(("metric", "needs 1 to 128 bytes")) }
        if Int(address) + width > 65_536 { found.append(("address", "runs past the last register, 65535")) }
        if width > blockLengthMax { found.append(("type", "is wider than block_length_max")) }
        switch (table, form) {
        case (.coil, .boolean), (.discrete, .boolean): break
        case (.coil, _), (.discrete, _): found.append(("type", "of a coil or discrete input is bool"))
        case (.holding, .boolean), (.input, .boolean):
            found.append(("type", "of a register is not bool; use bit with a bit number"))
        case (.holding, .bit(let bit)), (.input, .bit(let bit)):
            if bit > 15 { found.append(("bit", "needs 0 to 15")) }
        case (.holding, .text(let registers)), (.input, .text(let registers)):
            if !(1...64).contains(registers) { found.append(("length", "needs 1 to 64 registers")) }
        case (.holding, _), (.input, _): break
        }
        if isWritable {
            switch (table, form) {
            case (.input, _), (.discrete, _): found.append(("writable", "is only for holding registers and coils"))
            case (_, .bit), (_, .text): found.append(("writable", "is not for bits of a register and texts"))
            default: break
            }
        }
        if scale.isZero { found.append(("scale", "must not be 0")) }
        if !isRead, !isWritable { found.append(("read", "is false and writable is false: the entry does nothing")) }
        return found
    }
}
