import Actuation
import DriverRuntime
import Foundation
import Logging
import Primitives
import SouthboundAPI
import Synchronization
import Telemetry
import Testing

/// The shell with a real file, and a driver that only remembers.
@Suite struct ActuationShellTests {
    private final class Plant: Sendable {
        let folder: String
        private let written = Mutex<[Actuation]>([])
        private let isRefusing = Mutex(false)

        init() throws {
            folder = NSTemporaryDirectory() + "actuation-" + UUID().uuidString
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: folder) }

        var log: String { folder + "/actuation.log" }
        var writes: [Actuation] { written.withLock { $0 } }
        func refuses(_ now: Bool) { isRefusing.withLock { $0 = now } }

        func shell(_ actuators: [Actuator], logBytesMax: Int = 1_048_576) throws -> ActuationShell {
            let clock = DriverClock(
                monotonic: { SystemTime.monotonic }, wall: { (SystemTime.wall, .synchronised) })
            return try ActuationShell(
                actuators: actuators, logPath: log, logBytesMax: logBytesMax, clock: clock,
                logger: Logger(label: "test")
            ) { actuation in
                if self.isRefusing.withLock({ $0 }) {
                    return .failure(DriverError(.queueFull, doing: "write", which: "relay"))
                }
                self.written.withLock { $0.append(actuation) }
                return .success(())
            }
        }

        /// `event by who` of every line.
        func events() -> [String] {
            ActuationLog.lines(at: log).map { "\($0.entry.event.rawValue) by \($0.entry.by)" }
        }
    }

    private static let relay = Actuation.publish(topic: "plant/relay", payload: Array("1".utf8), isRetained: false)

    private func relay(_ change: (inout Actuator) -> Void = { _ in }) -> Actuator {
        var actuator = Actuator(name: "relay", target: .topic("plant/relay", isRetained: false))
        actuator.failSafe = Bench.number(0)
        change(&actuator)
        return actuator
    }

    @Test func whatIsAskedIsHandedOverAndLoggedAndTheEndIsSafe() throws {
        let plant = try Plant()
        let shell = try plant.shell([relay()])
        try shell.start()
        shell.ruleAsks(Self.relay, by: "rule overheat")
        #expect(plant.writes.last == Self.relay, "before it returns")
        shell.ruleAsks(.write(device: Bench.device, register: "lamp", value: .boolean(true)), by: "rule overheat")
        shell.stop()
        shell.stop()
        #expect(
            plant.events() == [
                "known by rotation", "moved by start", "moved by rule overheat", "moved by rule overheat",
                "moved by stop",
            ])
        #expect(plant.writes.last == .publish(topic: "plant/relay", payload: Array("0".utf8), isRetained: false))
        #expect(ActuationLog.lines(at: plant.log)[3].entry.actuator == "meter-1/lamp")
    }

    @Test func aRestartKnowsPositionAndOverride() throws {
        let plant = try Plant()
        var actuator = relay()
        actuator.movesOnStop = false
        let first = try plant.shell([actuator])
        try first.start()
        #expect(first.override("relay", position: Bench.number(1), who: "Anna", lasting: .seconds(3600)) == nil)
        first.stop()
        let count = plant.writes.count
        let second = try plant.shell([actuator])
        try second.start()
        defer { second.stop() }
        #expect(plant.writes.count == count + 1 && plant.writes.last == Self.relay, "it is established again first")
        let view = try #require(second.views.first)
        #expect(view.override?.who == "Anna" && view.position == Bench.number(1))
        let refusal = try #require(second.commandBegins([Self.relay], by: "command c"))
        #expect(refusal.hasPrefix("relay was not moved: Anna overrides it for another "))
        #expect(second.release("relay", by: "Bert") == nil)
        #expect(second.release("relay", by: "Bert") == "relay is not overridden")
        #expect(second.release("fan", by: "Bert") == "there is no actuator fan; there are: relay")
    }

    @Test func aCommandOfSeveralWritesIsAllOrNothing() throws {
        let plant = try Plant()
        let lamp = Actuator(name: "lamp", target: .topic("plant/lamp", isRetained: false))
        let shell = try plant.shell([lamp, relay { $0.offTimeMin = .seconds(3600) }])
        try shell.start()
        let writes = [Actuation.publish(topic: "plant/lamp", payload: Array("1".utf8), isRetained: false), Self.relay]
        #expect(shell.commandBegins(writes, by: "command c")?.contains("it stays off for at least 1h") == true)
        #expect(shell.views[0].position == nil, "what was let pass for the lamp did not happen")
        #expect(shell.commandBegins([writes[0]], by: "command c") == nil)
        shell.commandEnded([writes[0]], by: "command c", failure: "no answer")
        #expect(shell.views[0].position == nil)
        shell.stop()
        #expect(plant.events().contains("refused by command c") && plant.events().contains("failed by command c"))
    }

    @Test func aWriteThatNoDriverTakesIsSaid() throws {
        let plant = try Plant()
        let shell = try plant.shell([relay()])
        try shell.start()
        plant.refuses(true)
        shell.ruleAsks(Self.relay, by: "rule r")
        #expect(shell.views[0].position == nil)
        plant.refuses(false)
        shell.stop()
        #expect(plant.events().contains("failed by driver"))
    }

    @Test func timeAloneMoves() throws {
        let plant = try Plant()
        let sensor = Actuator.Sensor(device: Bench.device, metric: "temperature")
        let shell = try plant.shell([
            relay {
                $0.sensors = [sensor]
                $0.sensorTimeout = .milliseconds(200)
            }
        ])
        try shell.start()
        shell.arrived([
            Reading(device: Bench.device, metric: "temperature", value: Bench.number(1), time: SystemTime.wall)
        ])
        shell.ruleAsks(Self.relay, by: "rule r")
        let end = SystemTime.monotonic + .seconds(20)
        while !plant.events().contains("moved by sensor"), SystemTime.monotonic < end { usleep(10_000) }
        #expect(plant.writes.last == .publish(topic: "plant/relay", payload: Array("0".utf8), isRetained: false))
        shell.stop()
    }

    @Test func theLogIsRotatedAndForgetsNothingThatIsNeeded() throws {
        let plant = try Plant()
        var actuator = relay()
        actuator.movesOnStop = false
        let shell = try plant.shell([actuator], logBytesMax: 2000)
        try shell.start()
        shell.ruleAsks(Self.relay, by: "rule r")
        for number in 0..<200 {
            shell.ruleAsks(
                .publish(topic: "plant/other", payload: Array("\(number)".utf8), isRetained: false), by: "rule r")
            // Each line on its own, as they come in life.
            if number % 10 == 0 { usleep(2000) }
        }
        shell.stop()
        let files = try FileManager.default.contentsOfDirectory(atPath: plant.folder).sorted()
        #expect(files == ["actuation.log", "actuation.log.1", "actuation.log.2", "actuation.log.3"])
        let known = KnownActuator.reading(ActuationLog.lines(at: plant.log, filesMax: 1), now: SystemTime.wall)
        #expect(known["relay"]?.position == Bench.number(1), "the head of a new file says what is known")
    }

    @Test func aTornLineIsLeftOutAndTheNextStandsAlone() throws {
        let plant = try Plant()
        try #"{"time":"2026-11-21T08:00:00.000Z","actuator":"relay","event":"mo"#
            .write(toFile: plant.log, atomically: true, encoding: .utf8)
        let shell = try plant.shell([relay()])
        try shell.start()
        shell.stop()
        #expect(plant.events() == ["moved by start", "moved by stop"])
    }

    @Test func everyLineReadsBack() throws {
        var entry = ActuationEntry("fan", .waits, by: "rule \"r\"")
        entry.to = .text("half open")
        entry.from = .boolean(false)
        entry.reason = "it stays off"
        entry.lasts = .seconds(90)
        entry.switchedAgo = .milliseconds(1500)
        let time = try #require(WallInstant("2026-11-21T08:53:00.250Z"))
        for clock in ClockQuality.allCases {
            let line = ActuationLine(time: time, clock: clock, entry: entry)
            #expect(ActuationLine(parsing: line.text) == line)
        }
        for text in ["", "{}", "[1]", "{\"time\":1}", "\u{0}"] { #expect(ActuationLine(parsing: text) == nil) }
    }

    @Test func timeThatNobodyKnowsDoesNotPass() throws {
        let time = try #require(WallInstant("2026-11-21T08:00:00.000Z"))
        var moved = ActuationEntry("fan", .moved, by: "r")
        moved.to = Bench.number(1)
        var taken = ActuationEntry("fan", .overrideBegan, by: "override by Anna")
        taken.to = Bench.number(1)
        taken.lasts = .seconds(600)
        for (clock, now, passed) in [
            (ClockQuality.synchronised, time + .seconds(60), Duration.seconds(60)),
            (.unset, time + .seconds(60), .zero),
            (.synchronised, nil, .zero), (.synchronised, time + .seconds(-60), .zero),
        ] {
            let lines = [moved, taken].map { ActuationLine(time: time, clock: clock, entry: $0) }
            let known = KnownActuator.reading(lines, now: now)["fan"]
            #expect(known?.switchedAgo == passed)
            #expect(known?.override?.lasts == .seconds(600) - passed && known?.override?.who == "Anna")
        }
        let late = KnownActuator.reading(
            [ActuationLine(time: time, clock: .synchronised, entry: taken)], now: time + .seconds(600))
        #expect(late["fan"]?.override == nil)
    }
}
