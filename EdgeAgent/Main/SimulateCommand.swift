import ArgumentParser
import DriverRuntime
import Glibc
import Logging
import Primitives
import SimulatedSensors

struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Play a thermostat on a local broker and a Modbus meter on a pseudo terminal.",
        discussion: """
            Keys on standard input: m pulls the meter's plug or puts it back, o overheats the thermostat, q ends. \
            SIGUSR1 is m, SIGUSR2 is o.
            """)

    @Option(help: "Device id of the thermostat; needs --broker-port.") var thermostat: String?
    @Option(help: "The local broker's host.") var brokerHost = "127.0.0.1"
    @Option(help: "The local broker's port.") var brokerPort: UInt16?
    @Option(help: "First level of the thermostat's topics.") var root = "plant"
    @Option(help: "Time between two of its messages.", transform: duration) var interval = Duration.seconds(1)
    @Option(help: "Time until it overheats; left out, it does not by itself.", transform: duration)
    var overheatAfter: Duration?

    @Option(help: "Device id of the meter.") var meter: String?
    @Option(help: "The meter's Modbus unit identifier, 1 to 247.") var unit: UInt8 = 1
    @Option(help: "The serial port to make; left out, a path under /tmp.") var tty: String?

    static func duration(_ text: String) throws -> Duration {
        guard let duration = DurationText.parse(text) else {
            throw ValidationError("\(text) is no duration; write 250ms, 8s or 1m")
        }
        return duration
    }

    func validate() throws {
        guard thermostat != nil || meter != nil else { throw ValidationError("give --thermostat, --meter or both") }
        if thermostat != nil, brokerPort == nil { throw ValidationError("--thermostat needs --broker-port") }
        guard (1...247).contains(unit) else { throw ValidationError("--unit is 1 to 247") }
        guard interval >= .milliseconds(10) else { throw ValidationError("--interval is 10ms or more") }
    }

    func run() throws {
        let signals = SimulationSignals()
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        var parts: [String] = []
        let oven = try startThermostat(&parts)
        let gauge = try startMeter(&parts)
        Terminal.line("edge-agent simulating " + parts.joined(separator: " "))
        var overheatAt = overheatAfter.map { SystemTime.monotonic + $0 }
        var isUnplugged = false
        signals.run {
            guard let due = overheatAt, SystemTime.monotonic >= due else { return }
            overheatAt = nil
            oven?.overheat()
        } body: { event in
            switch event {
            case .key("m"), .signal(SIGUSR1):
                isUnplugged.toggle()
                if isUnplugged { gauge?.unplug(.meter) } else { gauge?.plug() }
            case .key("o"), .signal(SIGUSR2): oven?.overheat()
            case .key, .signal: break
            }
        }
        oven?.stop()
        gauge?.stop()
    }

    private func startThermostat(_ parts: inout [String]) throws -> SimulatedThermostat? {
        guard let thermostat, let brokerPort else { return nil }
        var config = SimulatedThermostat.Config(device: thermostat, host: brokerHost, port: brokerPort)
        config.root = root
        config.interval = interval
        let made = SimulatedThermostat(config: config, logger: Logger(label: "thermostat"))
        guard made.start() else {
            Terminal.error("edge-agent: the system has no thread left for the thermostat")
            throw ExitCode(1)
        }
        parts.append("thermostat=\(thermostat)")
        return made
    }

    private func startMeter(_ parts: inout [String]) throws -> SimulatedMeter? {
        guard let meter else { return nil }
        let path = tty ?? "/tmp/fieldline-\(meter)-\(getpid()).tty"
        var config = SimulatedMeter.Config(linkPath: path)
        config.unitID = unit
        guard let made = SimulatedMeter(config: config, logger: Logger(label: "meter")), made.start() else {
            Terminal.error(
                "edge-agent: no pseudo terminal can be made at \(path); check that its folder may be written")
            throw ExitCode(1)
        }
        parts.append("meter=\(meter) tty=\(path)")
        return made
    }
}

/// Keys on standard input and signals, for as long as a simulation runs.
struct SimulationSignals {
    enum Event {
        case key(Character)
        case signal(Int32)
    }

    private var set = sigset_t()

    /// Blocks the signals for every thread that is made from now on, so that they wait for `run`.
    init() {
        sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGUSR1, SIGUSR2] { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
    }

    /// Returns at SIGTERM, SIGINT or the key q. A closed standard input only means that no key comes. `tick` is called
    /// at least ten times a second.
    func run(tick: () -> Void, body: (Event) -> Void) {
        var set = set
        var isInputOpen = true
        while true {
            tick()
            // A tenth of a second: fast enough for a finger, and a signal is looked for as often.
            var entry = pollfd(fd: isInputOpen ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, 100) > 0 {
                var byte: UInt8 = 0
                isInputOpen = read(STDIN_FILENO, &byte, 1) == 1
                if isInputOpen, byte == UInt8(ascii: "q") { return }
                if isInputOpen { body(.key(Character(Unicode.Scalar(byte)))) }
            }
            var none = timespec()
            let number = sigtimedwait(&set, nil, &none)
            if number == SIGTERM || number == SIGINT { return }
            if number > 0 { body(.signal(number)) }
        }
    }
}
