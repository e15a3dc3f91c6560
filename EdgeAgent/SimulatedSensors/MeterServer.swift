import CModbus
import DriverRuntime
import Glibc
import Logging
import Primitives
import Synchronization

/// The meter's thread: answers requests while it is plugged in. Confined to it.
final class MeterServer {
    private let meter: SimulatedMeter
    private var port: PseudoTerminal?
    private var lastStep = SystemTime.monotonic

    init(_ meter: SimulatedMeter, _ port: PseudoTerminal?) {
        self.meter = meter
        self.port = port
    }

    /// Returns when the meter is stopped.
    func run() {
        while true {
            let (isStopping, isPortWanted) = meter.state.withLock { ($0.isStopping, $0.isPortWanted) }
            if isStopping { return }
            if !isPortWanted {
                port = nil
            } else if port == nil {
                port = PseudoTerminal(linkPath: meter.config.linkPath)
                if port == nil { meter.logger.error("the simulated meter gets no pseudo terminal") }
            }
            if let port { serve(port) } else { meter.wake.wait(until: SystemTime.monotonic + .seconds(1)) }
        }
    }

    /// Until the meter is stopped or the port is pulled.
    private func serve(_ port: PseudoTerminal) {
        let count = Int32(MeterModel.registerCount)
        guard let mapping = modbus_mapping_new(1, 0, count, count) else { return }
        defer { modbus_mapping_free(mapping) }
        var context: OpaquePointer?
        defer { modbus_free(context) }
        while meter.state.withLock({ !$0.isStopping && $0.isPortWanted }) {
            if context == nil { context = makeContext(port) }
            guard let listening = context else { return }
            var entries = [
                pollfd(fd: port.descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: meter.wake.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            poll(&entries, 2, 1000)
            if entries[1].revents != 0 { meter.wake.clear() }
            guard entries[0].revents != 0, !answer(listening, mapping) else { continue }
            // After a request for another unit, libmodbus takes whatever comes next for that unit's answer, and waits
            // for ever when that unit is dead. A fresh context expects a request.
            modbus_free(listening)
            context = nil
        }
    }

    /// The path is not opened: libmodbus works on our end of the terminal.
    private func makeContext(_ port: PseudoTerminal) -> OpaquePointer? {
        guard let context = modbus_new_rtu(meter.config.linkPath, 19_200, CChar(UInt8(ascii: "N")), 8, 1) else {
            return nil
        }
        modbus_set_slave(context, Int32(meter.config.unitID))
        modbus_set_socket(context, port.descriptor)
        return context
    }

    /// False when the request was for another unit.
    private func answer(_ context: OpaquePointer, _ mapping: UnsafeMutablePointer<modbus_mapping_t>) -> Bool {
        var request = [UInt8](repeating: 0, count: Int(MODBUS_RTU_MAX_ADU_LENGTH))
        let length = modbus_receive(context, &request)
        guard length > 0 else {
            // Broken on the way: a meter says nothing.
            if length < 0 { modbus_flush(context) }
            return length < 0
        }
        let now = SystemTime.monotonic
        let seconds = Double((now - lastStep).nanosecondsClamped) / 1e9
        lastStep = now
        let isSilent = meter.state.withLock { state in
            state.model.step(seconds: seconds)
            for (index, word) in state.model.registers.enumerated() {
                mapping.pointee.tab_registers[index] = word
                mapping.pointee.tab_input_registers[index] = word
            }
            mapping.pointee.tab_bits[0] = state.model.isRelayClosed ? 1 : 0
            return state.isMeterSilent
        }
        if isSilent { return true }
        modbus_reply(context, request, length, mapping)
        let wasWritten = (mapping.pointee.tab_registers[8] != 0, mapping.pointee.tab_bits[0] != 0)
        meter.state.withLock { state in
            if wasWritten.0 != state.model.isRelayClosed || wasWritten.1 != state.model.isRelayClosed {
                state.model.isRelayClosed.toggle()
            }
        }
        return true
    }
}
