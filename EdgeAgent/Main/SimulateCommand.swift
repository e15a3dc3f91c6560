import ArgumentParser
import Glibc
import Logging
import Primitives
import SimulatedSensors

struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Play a sensor, for demonstrations and tests.", subcommands: [Meter.self, Thermostat.self])

    struct Meter: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "A Modbus RTU power meter on a pseudo terminal.",
            discussion: "Keys: u unplug, p plug in, q quit. SIGUSR1 unplugs, SIGUSR2 plugs in.")

        @Option(help: "The serial port to make: a symbolic link to the pseudo terminal.") var port: String
        @Option(help: "Modbus unit identifier, 1 to 247.") var unit: UInt8 = 1

        func run() throws {
            let signals = SimulationSignals()
            var config = SimulatedMeter.Config(linkPath: port)
            config.unitID = unit
            guard let meter = SimulatedMeter(config: config, logger: Logger(label: "meter")), meter.start() else {
                Terminal.error("edge-agent: no pseudo terminal can be made at \(port); check its folder")
                throw ExitCode(1)
            }
            Terminal.line("simulated meter ready: \(port)")
            signals.run { event in
                switch event {
                case .key("u"), .signal(SIGUSR1):
                    meter.unplug(.silent)
                    Terminal.line("the meter is unplugged")
                case .key("p"), .signal(SIGUSR2):
                    meter.plug()
                    Terminal.line("the meter is plugged in")
                case .key, .signal: break
                }
            }
            meter.stop()
        }
    }

    struct Thermostat: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "A thermostat that speaks MQTT to a local broker.",
            discussion: "Keys: o overheat, q quit. SIGUSR1 overheats.")

        @Option(help: "Its device id.") var device = "thermostat-1"
        @Option(help: "The broker's host.") var host = "127.0.0.1"
        @Option(help: "The broker's port.") var port: UInt16 = 1883
        @Option(help: "First level of its topics.") var root = "plant"
        @Option(help: "Milliseconds between two readings.") var interval = 1000

        func validate() throws {
            guard (10...3_600_000).contains(interval) else {
                throw ValidationError("--interval is 10 to 3600000 milliseconds")
            }
        }

        func run() throws {
            let signals = SimulationSignals()
            var config = SimulatedThermostat.Config(device: device, host: host, port: port)
            config.root = root
            config.interval = .milliseconds(interval)
            let thermostat = SimulatedThermostat(config: config, logger: Logger(label: "thermostat"))
            guard thermostat.start() else {
                Terminal.error("edge-agent: the system has no thread left for the thermostat")
                throw ExitCode(1)
            }
            Terminal.line("simulated thermostat ready: \(device)")
            signals.run { event in
                switch event {
                case .key("o"), .signal(SIGUSR1):
                    thermostat.overheat()
                    Terminal.line("the thermostat overheats")
                case .key, .signal: break
                }
            }
            thermostat.stop()
        }
    }
}

/// Keys on standard input and signals, for as long as a simulation runs.
struct SimulationSignals {
    enum Event {
        case key(Character)
        case signal(Int32)
    }

    private var set = sigset_t()

    init() {
        sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGUSR1, SIGUSR2] { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
    }

    /// Returns at SIGTERM, SIGINT or the key q. A closed standard input only means that no key comes.
    func run(_ body: (Event) -> Void) {
        var set = set
        var isInputOpen = true
        while true {
            // A tenth of a second: fast enough for a finger, and a signal is looked for as often.
            var entry = pollfd(fd: isInputOpen ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0)
            if poll(&entry, 1, 100) > 0 {
                var byte: UInt8 = 0
                isInputOpen = read(STDIN_FILENO, &byte, 1) == 1
                let key = Character(Unicode.Scalar(byte))
                if isInputOpen, key == "q" { return }
                if isInputOpen { body(.key(key)) }
            }
            var none = timespec()
            let number = sigtimedwait(&set, nil, &none)
            if number == SIGTERM || number == SIGINT { return }
            if number > 0 { body(.signal(number)) }
        }
    }
}
