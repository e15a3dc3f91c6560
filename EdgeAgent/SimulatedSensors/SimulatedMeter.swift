import DriverRuntime
import Glibc
public import Logging
import Primitives
import Synchronization

/// A Modbus RTU meter on a pseudo terminal, served by libmodbus on a thread of its own.
///
/// Holding and input registers alike, wide values high word first: 0 voltage (float32, V), 2 current (float32, A),
/// 4 power (float32, W), 6 energy (uint32, Wh), 8 relay (uint16, 1 = load connected, writable), 9 frequency
/// (uint16, 0.01 Hz), 10 serial number (text, 4 registers). Coil 0 is the relay too. Everything else is refused with
/// exception 2.
public final class SimulatedMeter: Sendable {
    public struct Config: Sendable {
        /// A symbolic link to the port, made anew at each `plug`: the path to give to a driver.
        public var linkPath: String
        public var unitID: UInt8 = 1
        public var seed: UInt64 = 1

        public init(linkPath: String) { self.linkPath = linkPath }
    }

    /// How it goes away.
    public enum Unplugging: Sendable {
        /// The meter is silent; the port stays.
        case meter
        /// The adapter is pulled: the port goes too.
        case adapter
    }

    struct State {
        var model: MeterModel
        var isStopping = false
        var isMeterSilent = false
        var isPortWanted = true
    }

    let config: Config
    let logger: Logger
    let state: Mutex<State>
    let wake: WakeSignal
    private let thread = Mutex<OwnThread?>(nil)

    /// `nil` when the process has no descriptor left.
    public init?(config: Config, logger: Logger) {
        guard let wake = WakeSignal() else { return nil }
        self.wake = wake
        self.config = config
        self.logger = logger
        state = Mutex(State(model: MeterModel(seed: config.seed)))
    }

    /// Makes the port, links it and serves it. False when the system gives no pseudo terminal or no thread.
    public func start() -> Bool {
        guard let port = PseudoTerminal(linkPath: config.linkPath) else { return false }
        let holder = PortHolder(port)
        return thread.withLock { thread in
            guard thread == nil else { return false }
            thread = OwnThread.run(name: "sim-meter") { [self] in MeterServer(self, holder.take()).run() }
            return thread != nil
        }
    }

    public func stop() {
        state.withLock { $0.isStopping = true }
        wake.ring()
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }

    /// It stops answering from the next request on.
    public func unplug(_ what: Unplugging) {
        state.withLock { state in
            state.isMeterSilent = true
            if case .adapter = what { state.isPortWanted = false }
        }
        wake.ring()
    }

    /// Back as it was, perhaps behind another terminal; the link leads to it.
    public func plug() {
        state.withLock { state in
            state.isMeterSilent = false
            state.isPortWanted = true
        }
        wake.ring()
    }

    public var isRelayClosed: Bool { state.withLock { $0.model.isRelayClosed } }

    /// Sets the voltage around which it measures, in V.
    public func set(nominalVoltage: Double) { state.withLock { $0.model.nominalVoltage = nominalVoltage } }

    /// Hands a port to the thread that will own it; the thread takes it exactly once.
    private final class PortHolder: Sendable {
        private let port: Mutex<PseudoTerminal?>

        init(_ port: PseudoTerminal) { self.port = Mutex(port) }

        func take() -> PseudoTerminal? {
            port.withLock { port in
                defer { port = nil }
                return port
            }
        }
    }
}
