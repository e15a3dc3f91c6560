import Actuation
import Expressions
import Primitives
import SouthboundAPI
import Telemetry
import Testing

/// A desk with one actuator, told what happens second by second.
struct Bench {
    var desk: ActuationDesk

    static let device = DeviceID("meter-1").unsafelyUnwrapped
    static let target = Actuator.Target.register(device: device, register: "fan")

    init(known: [String: KnownActuator] = [:], _ change: (inout Actuator) throws -> Void = { _ in }) throws {
        var actuator = Actuator(name: "fan", target: Self.target)
        try change(&actuator)
        desk = ActuationDesk(actuators: [actuator])
        begun = Self.words(desk.begin(restoring: known, at: Self.instant(0)))
    }

    /// What the beginning did.
    private(set) var begun: [String] = []

    static func instant(_ seconds: Double) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64((seconds * 1e9).rounded()))
    }

    static func number(_ value: Double) -> ReadingValue { .number(DecimalText(value).unsafelyUnwrapped) }

    /// `=1` for a write, `moved 0>1 by rule r`, `waits`, … for the log.
    static func words(_ effects: [ActuationEffect]) -> [String] {
        effects.map { effect in
            switch effect {
            case .write(_, let position): "=\(position)"
            case .log(let entry): "\(entry.event.rawValue) by \(entry.by)"
            }
        }
    }

    mutating func rule(_ value: Double, at seconds: Double, by: String = "rule r") -> [String] {
        Self.words(desk.ruleAsks(0, for: Self.number(value), by: by, at: Self.instant(seconds)))
    }

    mutating func command(_ value: Double, at seconds: Double) -> String? {
        desk.commandAsks(0, for: Self.number(value), by: "command c", at: Self.instant(seconds)).refusal
    }

    mutating func hears(_ name: String, _ value: Double?, at seconds: Double) throws -> [String] {
        let parts = name.split(separator: "/")
        let sensor = Actuator.Sensor(device: try #require(DeviceID(parts[0])), metric: String(parts[1]))
        return Self.words(desk.observed(sensor, value, at: Self.instant(seconds)))
    }

    mutating func override(_ value: Double, for lasting: Double, at seconds: Double) -> String? {
        desk.overrideAsked(
            0, position: Self.number(value), who: "Anna", lasting: .seconds(lasting), at: Self.instant(seconds)
        ).refusal
    }

    /// Follows the deadlines as the shell does, and says what happened when.
    mutating func run(from start: Double, to end: Double) -> [String] {
        var found: [String] = []
        var now = Self.instant(start)
        var turns = 0
        while let due = desk.nextDeadline(after: now), due <= Self.instant(end), turns < 1000 {
            turns += 1
            now = max(now, due)
            for word in Self.words(desk.timeReached(now)) {
                found.append("\(Double(now.nanoseconds / 100_000_000) / 10) \(word)")
            }
        }
        #expect(turns < 1000, "the deadline stands still")
        return found
    }
}

@Suite struct ActuationDeskTests {
    @Test func withoutConditionsAWritePasses() throws {
        var bench = try Bench()
        #expect(bench.rule(1, at: 1) == ["=1", "moved by rule r"])
        // The same again is written again, and is no event.
        #expect(bench.rule(1, at: 2) == ["=1"])
        #expect(bench.command(0, at: 3) == nil)
    }

    @Test func whatARuleAsksWaitsForTheLeastTimesAndTheLastOneCounts() throws {
        var bench = try Bench {
            $0.onTimeMin = .seconds(30)
            $0.offTimeMin = .seconds(60)
        }
        #expect(bench.rule(1, at: 0) == ["=1", "moved by rule r"])
        #expect(bench.rule(0, at: 10) == ["waits by rule r"])
        #expect(bench.rule(1, at: 20) == ["=1"])
        #expect(bench.run(from: 20, to: 100) == [])
        #expect(bench.rule(0, at: 100) == ["=0", "moved by rule r"])
        #expect(bench.rule(1, at: 130) == ["waits by rule r"])
        #expect(bench.run(from: 130, to: 200) == ["160.0 =1", "160.0 moved by rule r"])
    }

    @Test func aCommandIsDoneNowOrRefusedWithTheReason() throws {
        var bench = try Bench { $0.onTimeMin = .seconds(30) }
        #expect(bench.command(1, at: 0) == nil)
        #expect(
            bench.command(0, at: 10)
                == "fan was not moved: it stays on for at least 30s; 20s are left")
        #expect(bench.run(from: 10, to: 100) == [], "a command is never done late")
        #expect(bench.command(0, at: 30) == nil)
    }

    @Test func aFailedCommandLeavesThePositionUnknown() throws {
        var bench = try Bench()
        #expect(bench.command(1, at: 0) == nil)
        #expect(
            Bench.words(bench.desk.commandFailed(0, by: "command c", reason: "no answer")) == ["failed by command c"])
        #expect(bench.desk.views(at: Bench.instant(1))[0].position == nil)
        #expect(bench.rule(1, at: 2) == ["=1", "moved by rule r"])
    }

    @Test func switchingsAreCounted() throws {
        var bench = try Bench {
            $0.switchingsMax = 3
            $0.switchingsPer = .seconds(100)
        }
        for second in 0..<3 { #expect(bench.rule(second % 2 == 0 ? 1 : 0, at: Double(second)).count == 2) }
        #expect(bench.rule(0, at: 3) == ["waits by rule r"])
        #expect(
            bench.command(0, at: 10)
                == "fan was not moved: it switches at most 3 times in 1m40s; 1m30s are left")
        #expect(bench.run(from: 3, to: 200) == ["100.0 =0", "100.0 moved by rule r"])
    }

    @Test func aRateOfChangeBecomesARamp() throws {
        var bench = try Bench { $0.slew = .init(change: 10, per: .seconds(1)) }
        #expect(bench.rule(0, at: 0) == ["=0", "moved by rule r"])
        #expect(bench.rule(3, at: 0.1) == ["ramping by rule r", "=1"])
        #expect(bench.run(from: 0.1, to: 5) == ["0.2 =2", "0.3 =3", "0.3 moved by rule r"])
        #expect(
            bench.command(50, at: 10)
                == "fan was not moved: it may change by 10 per 1s; as far as 13 is allowed now")
        #expect(bench.command(12, at: 10) == nil)
    }

    @Test func anInterlockMustBeKnownToHold() throws {
        var bench = try Bench {
            $0.interlocks = [try SignalExpression(parsing: "[door-1/open] == 0", as: .boolean)]
            $0.failSafe = Bench.number(0)
        }
        #expect(bench.begun == ["=0", "moved by start"])
        #expect(bench.rule(1, at: 1) == ["waits by rule r"], "it may be known any moment")
        #expect(
            bench.command(1, at: 1)
                == "fan was not moved: the interlock [door-1/open] == 0 is not known to hold")
        #expect(try bench.hears("door-1/open", 0, at: 2) == ["=1", "moved by rule r"])
        #expect(bench.rule(1, at: 3) == ["=1"])
        #expect(
            try bench.hears("door-1/open", 1, at: 4) == ["interlock-lost by interlock", "=0", "moved by interlock"])
        #expect(bench.rule(1, at: 5) == ["refused by rule r"])
        #expect(bench.rule(0, at: 5) == ["=0"], "the fail-safe position is always allowed")
        // Nothing starts by itself because a door was closed.
        #expect(try bench.hears("door-1/open", 0, at: 6) == ["interlock-holds by interlock"])
        #expect(bench.rule(1, at: 7) == ["=1", "moved by rule r"])
        #expect(
            try bench.hears("door-1/open", nil, at: 8) == ["interlock-lost by interlock", "=0", "moved by interlock"])
    }

    @Test func whatMayResumeDoes() throws {
        var bench = try Bench {
            $0.interlocks = [try SignalExpression(parsing: "[door-1/open] == 0", as: .boolean)]
            $0.failSafe = Bench.number(0)
            $0.resumesAfterInterlock = true
        }
        #expect(try bench.hears("door-1/open", 0, at: 1) == [])
        #expect(bench.rule(1, at: 2) == ["=1", "moved by rule r"])
        #expect(try bench.hears("door-1/open", 1, at: 3).contains("=0"))
        #expect(
            try bench.hears("door-1/open", 0, at: 4) == ["interlock-holds by interlock", "=1", "moved by rule r"])
    }

    @Test func anInterlockThatIsNeverHeardIsLostAfterTheStart() throws {
        var bench = try Bench {
            $0.interlocks = [try SignalExpression(parsing: "[door-1/open] == 0", as: .boolean)]
            $0.failSafe = Bench.number(0)
        }
        #expect(bench.run(from: 0, to: 100) == ["10.0 interlock-lost by interlock"])
    }

    @Test func anInputOfAnInterlockGrowsOld() throws {
        var bench = try Bench {
            $0.interlocks = [try SignalExpression(parsing: "[door-1/open] == 0", as: .boolean)]
            $0.interlockAgeMax = .seconds(20)
            $0.failSafe = Bench.number(0)
        }
        #expect(try bench.hears("door-1/open", 0, at: 1) == [])
        #expect(bench.rule(1, at: 2).contains("=1"))
        #expect(
            bench.run(from: 2, to: 100) == [
                "21.0 interlock-lost by interlock", "21.0 =0", "21.0 moved by interlock",
            ])
    }

    @Test func aSilentSensorBringsTheFailSafePositionUntilItSpeaks() throws {
        var bench = try Bench {
            $0.failSafe = Bench.number(0)
            $0.sensors = [.init(device: Bench.device, metric: "temperature")]
            $0.sensorTimeout = .seconds(60)
            $0.onTimeMin = .seconds(3600)
        }
        #expect(try bench.hears("meter-1/temperature", 80, at: 1) == [])
        #expect(bench.rule(1, at: 2) == ["=1", "moved by rule r"])
        // At once, whatever the least time.
        #expect(bench.run(from: 2, to: 100) == ["61.0 sensor-lost by sensor", "61.0 =0", "61.0 moved by sensor"])
        #expect(bench.rule(1, at: 101) == ["waits by rule r"])
        #expect(
            bench.command(1, at: 101) == "fan was not moved: meter-1/temperature was not heard for 1m")
        #expect(
            try bench.hears("meter-1/temperature", nil, at: 102) == ["sensor-back by sensor", "=1", "moved by rule r"])
    }

    @Test func anOverrideHoldsAgainstRulesAndCommandsAndEnds() throws {
        var bench = try Bench { $0.overrideMax = .seconds(100) }
        #expect(bench.rule(1, at: 0).contains("=1"))
        #expect(bench.override(0, for: 101, at: 1) == "fan is not overridden: an override lasts at most 1m40s")
        #expect(bench.override(0, for: 50, at: 1) == nil)
        #expect(bench.desk.views(at: Bench.instant(2))[0].position == Bench.number(0))
        #expect(bench.rule(1, at: 3) == ["waits by rule r"])
        #expect(
            bench.command(1, at: 11)
                == "fan was not moved: Anna overrides it for another 40s; release it first")
        #expect(
            bench.run(from: 11, to: 100) == ["51.0 override-ended by time", "51.0 =1", "51.0 moved by rule r"])
        #expect(bench.override(0, for: 50, at: 200) == nil)
        let (wasOverridden, effects) = bench.desk.released(0, by: "Anna", at: Bench.instant(201))
        #expect(wasOverridden && Bench.words(effects) == ["override-ended by Anna", "=1", "moved by rule r"])
        #expect(!bench.desk.released(0, by: "Anna", at: Bench.instant(202)).wasOverridden)
    }

    @Test func anInterlockEndsAnOverride() throws {
        var bench = try Bench {
            $0.interlocks = [try SignalExpression(parsing: "[door-1/open] == 0", as: .boolean)]
            $0.failSafe = Bench.number(0)
        }
        #expect(bench.override(1, for: 50, at: 1) != nil)
        #expect(try bench.hears("door-1/open", 0, at: 2) == [])
        #expect(bench.override(1, for: 50, at: 3) == nil)
        #expect(
            try bench.hears("door-1/open", 1, at: 4) == [
                "interlock-lost by interlock", "override-ended by interlock", "=0", "moved by interlock",
            ])
    }

    @Test func stoppingGoesToTheFailSafePositionPastEveryLeastTime() throws {
        var bench = try Bench {
            $0.failSafe = Bench.number(0)
            $0.onTimeMin = .seconds(3600)
        }
        #expect(bench.rule(1, at: 1).contains("=1"))
        #expect(Bench.words(bench.desk.stopping(at: Bench.instant(2))) == ["=0", "moved by stop"])
        var stays = try Bench {
            $0.failSafe = Bench.number(0)
            $0.movesOnStop = false
        }
        #expect(stays.desk.stopping(at: Bench.instant(2)) == [])
    }

    @Test func aStartEstablishesTheLastKnownPosition() throws {
        var known = KnownActuator()
        known.position = Bench.number(1)
        known.switchedAgo = .seconds(10)
        known.override = (Bench.number(1), "Anna", .seconds(30))
        var bench = try Bench(known: ["fan": known]) {
            $0.failSafe = Bench.number(0)
            $0.onTimeMin = .seconds(60)
        }
        #expect(bench.begun == ["=1", "moved by start"])
        #expect(bench.rule(0, at: 1) == ["waits by rule r"])
        // The override ends first; the least time, counted from before the restart, after it.
        #expect(
            bench.run(from: 1, to: 100) == [
                "30.0 override-ended by time", "30.0 waits by rule r", "50.0 =0", "50.0 moved by rule r",
            ])
        let fresh = try Bench { $0.failSafe = Bench.number(0) }
        #expect(fresh.begun == ["=0", "moved by start"])
        let unknown = try Bench()
        #expect(unknown.begun == [])
    }

    @Test func positionsAreTheSameHoweverTheyAreWritten() throws {
        var desk = ActuationDesk(actuators: [Actuator(name: "relay", target: .topic("plant/relay", isRetained: true))])
        let target = desk.target(of: .publish(topic: "plant/relay", payload: Array("true".utf8), isRetained: false))
        #expect(target?.index == 0 && target?.position == .boolean(true))
        #expect(desk.target(of: .publish(topic: "plant/other", payload: [], isRetained: false)) == nil)
        #expect(Bench.words(desk.ruleAsks(0, for: .boolean(true), by: "r", at: Bench.instant(0))).count == 2)
        #expect(Bench.words(desk.ruleAsks(0, for: Bench.number(1), by: "r", at: Bench.instant(1))) == ["=1"])
    }

    /// Whatever comes, least times and rates are kept but for what must be at once, and no interlock is passed.
    @Test func noSequenceBreaksALimit() throws {
        for seed in UInt64(0)..<200 {
            var random = SeededRandom(seed: seed)
            var bench = try Bench {
                $0.interlocks = [try SignalExpression(parsing: "[door-1/open] == 0", as: .boolean)]
                $0.failSafe = Bench.number(0)
                $0.onTimeMin = .seconds(5)
                $0.offTimeMin = .seconds(7)
            }
            var watcher = Watcher()
            for step in 0..<300 {
                let now = Bench.instant(Double(step))
                watcher.judge(bench.desk.timeReached(now), step)
                let value = Double(Int.random(in: 0...1, using: &random))
                switch Int.random(in: 0..<6, using: &random) {
                case 0:
                    watcher.isClosed = value == 0
                    let door = Actuator.Sensor(device: try #require(DeviceID("door-1")), metric: "open")
                    watcher.judge(bench.desk.observed(door, value, at: now), step)
                case 1:
                    watcher.judge(bench.desk.commandAsks(0, for: Bench.number(value), by: "c", at: now).effects, step)
                case 2:
                    let (_, effects) = bench.desk.overrideAsked(
                        0, position: Bench.number(value), who: "a", lasting: .seconds(9), at: now)
                    watcher.judge(effects, step)
                default: watcher.judge(bench.desk.ruleAsks(0, for: Bench.number(value), by: "r", at: now), step)
                }
            }
            #expect(watcher.problems.isEmpty, "seed \(seed): \(watcher.problems.prefix(3))")
        }
    }

    /// Holds moves against the conditions, in a way of its own.
    private struct Watcher {
        var isClosed = false
        private var isOn = false
        private var switchedAt = -100
        private(set) var problems: [String] = []

        mutating func judge(_ effects: [ActuationEffect], _ now: Int) {
            for case .log(let entry) in effects where entry.event == .moved {
                let isOnNow = entry.to == Bench.number(1)
                guard isOnNow != isOn else { continue }
                if isOnNow, !isClosed { problems.append("\(now): on without its interlock") }
                if isOnNow, now - switchedAt < 7 { problems.append("\(now): off too briefly") }
                if !isOnNow, entry.by != "interlock", now - switchedAt < 5 { problems.append("\(now): on too briefly") }
                isOn = isOnNow
                switchedAt = now
            }
        }
    }
}
