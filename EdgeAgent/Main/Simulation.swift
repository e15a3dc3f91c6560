import DriverRuntime
import Glibc
import Logging
import Primitives
import SimulatedSensors

/// `edge-agent simulate`: sensors that are not there, on real wire formats.
struct Simulation {
    static let verb = Verb(
        name: "simulate", abstract: "Play a thermostat on a local broker and a Modbus meter on a pseudo terminal.",
        discussion: """
            Keys on standard input: m pulls the meter's plug or puts it back, o overheats the thermostat, q ends.
            SIGUSR1 is m, SIGUSR2 is o.
            """,
        options: [
            Verb.Option(name: "thermostat", placeholder: "id", help: "the thermostat's device id; needs --broker-port"),
            Verb.Option(name: "broker-host", placeholder: "host", help: "the local broker's host (127.0.0.1)"),
            Verb.Option(name: "broker-port", placeholder: "port", help: "the local broker's port"),
            Verb.Option(name: "root", placeholder: "topic", help: "first level of the thermostat's topics (plant)"),
            Verb.Option(name: "interval", placeholder: "duration", help: "time between two of its messages (1s)"),
            Verb.Option(
                name: "overheat-after", placeholder: "duration",
                help: "time until it overheats; left out, it does not by itself"),
            Verb.Option(name: "meter", placeholder: "id", help: "the meter's device id"),
            Verb.Option(name: "unit", placeholder: "number", help: "the meter's Modbus unit identifier, 1 to 247 (1)"),
            Verb.Option(
                name: "tty", placeholder: "path", help: "the serial port to make; left out, a path under /tmp"),
        ]
    ) { options throws(ExitStatus) in try Simulation(options).run() }

    private let thermostat: SimulatedThermostat.Config?
    private let meter: (device: String, config: SimulatedMeter.Config)?
    private let overheatAfter: Duration?

    private init(_ options: OptionValues) throws(ExitStatus) {
        let duration = "a duration with its unit, such as 250ms or 8s"
        let interval = try options.value("interval", expected: duration + ", 10ms or more") {
            DurationText.parse($0).flatMap { $0 >= .milliseconds(10) ? $0 : nil }
        }
        overheatAfter = try options.value("overheat-after", expected: duration, DurationText.parse)
        let port = try options.value("broker-port", expected: "a number from 1 to 65535") {
            UInt16($0).flatMap { $0 > 0 ? $0 : nil }
        }
        let unit = try options.value("unit", expected: "a number from 1 to 247") {
            UInt8($0).flatMap { (1...247).contains($0) ? $0 : nil }
        }
        if let device = options["thermostat"] {
            guard let port else { throw options.wrong("--thermostat needs --broker-port") }
            var config = SimulatedThermostat.Config(
                device: device, host: options["broker-host"] ?? "127.0.0.1", port: port)
            config.root = options["root"] ?? "plant"
            config.interval = interval ?? .seconds(1)
            thermostat = config
        } else {
            thermostat = nil
        }
        meter = options["meter"].map { device in
            var config = SimulatedMeter.Config(linkPath: options["tty"] ?? "/tmp/fieldline-\(device)-\(getpid()).tty")
            config.unitID = unit ?? 1
            return (device, config)
        }
        guard thermostat != nil || meter != nil else { throw options.wrong("give --thermostat, --meter or both") }
    }

    private func run() throws(ExitStatus) {
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

    private func startThermostat(_ parts: inout [String]) throws(ExitStatus) -> SimulatedThermostat? {
        guard let thermostat else { return nil }
        let made = SimulatedThermostat(config: thermostat, logger: Logger(label: "thermostat"))
        guard made.start() else {
            Terminal.error("edge-agent: the system has no thread left for the thermostat")
            throw .failed
        }
        parts.append("thermostat=\(thermostat.device)")
        return made
    }

    private func startMeter(_ parts: inout [String]) throws(ExitStatus) -> SimulatedMeter? {
        guard let meter else { return nil }
        let path = meter.config.linkPath
        guard let made = SimulatedMeter(config: meter.config, logger: Logger(label: "meter")), made.start() else {
            Terminal.error(
                "edge-agent: no pseudo terminal can be made at \(path); check that its folder may be written")
            throw .failed
        }
        parts.append("meter=\(meter.device) tty=\(path)")
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
