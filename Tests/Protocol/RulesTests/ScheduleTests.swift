import Primitives
import Rules
import Telemetry
import Testing

@Suite struct ScheduleTests {
    private static let monday = 0
    private static let friday = 4 * 1440
    private static let sunday = 6 * 1440

    @Test func aWindowHoldsItsMinutesAndNoOthers() throws {
        let rows: [(texts: [String], inside: [Int], outside: [Int])] = [
            (["mon-fri 08:00-18:00"], [480, 1079, Self.friday + 1079], [479, 1080, 5 * 1440 + 600]),
            (["sat,sun 09:00-12:30"], [5 * 1440 + 540, Self.sunday + 749], [600, Self.sunday + 750]),
            (["daily 22:00-06:00"], [0, 359, 1320, Self.sunday + 1439], [360, 1319]),
            (["sun 22:00-06:00"], [Self.sunday + 1320, 0, 359], [360, Self.sunday, 1440]),
            (["fri-mon 00:00-24:00"], [0, 1439, Self.friday, Self.sunday], [1440, Self.friday - 1]),
            (["mon 00:00-00:00"], [0, 1439], [1440]),
            (["mon 08:00-12:00", "mon 11:00-14:00"], [480, 700, 839], [840]),
        ]
        for row in rows {
            let schedule = try Schedule(parsing: row.texts)
            for minute in row.inside { #expect(schedule.contains(minuteOfWeek: minute), "\(row.texts) \(minute)") }
            for minute in row.outside { #expect(!schedule.contains(minuteOfWeek: minute), "\(row.texts) \(minute)") }
        }
    }

    @Test func theNextChangeIsTheFirstMinuteThatDiffers() throws {
        for texts in [
            ["mon-fri 08:00-18:00"], ["daily 22:00-06:00"], ["sun 22:00-06:00"],
            ["mon 00:00-01:00", "sun 23:00-24:00"],
            ["daily 00:00-24:00"], ["wed 12:00-12:01"],
        ] {
            let schedule = try Schedule(parsing: texts)
            let states = (0..<Schedule.minutesPerWeek).map { schedule.contains(minuteOfWeek: $0) }
            for minute in stride(from: 0, to: states.count, by: 61) {
                let naive = (1..<states.count).first { states[(minute + $0) % states.count] != states[minute] }
                #expect(schedule.minutesToChange(from: minute) == naive, "\(texts) from \(minute)")
            }
        }
    }

    @Test func aBrokenWindowNamesTheColumn() {
        let rows: [(text: String, error: String)] = [
            (
                "mo-fri 08:00-18:00",
                "column 1: \"mo-fri\" is no day; allowed are mon tue wed thu fri sat sun, ranges such as mon-fri, lists "
                    + "such as sat,sun, and daily"
            ),
            (
                "mon,fry 08:00-18:00",
                "column 5: \"fry\" is no day; allowed are mon tue wed thu fri sat sun, ranges such as mon-fri, lists "
                    + "such as sat,sun, and daily"
            ),
            ("mon 8-18", "column 6: a : is needed here, as in 08:00"),
            ("mon 08:00 18:00", "column 10: a - is needed here, as in 08:00-18:00"),
            ("mon 08:00-24:30", "column 11: the day ends at 24:00"),
            ("mon 08:60-18:00", "column 8: minutes from 00 to 59 is needed here"),
            ("mon 08:00-18:00 utc", "column 17: \"utc\" is too much; the text ends before it"),
        ]
        for row in rows {
            var found = "it was read"
            do { _ = try Schedule(parsing: [row.text]) } catch { found = error.description }
            #expect(found == row.error, "\(row.text)")
        }
        #expect(throws: RuleTextError.self) { try Schedule(parsing: []) }
    }

    @Test func aZoneIsUTCLocalAnOffsetOrAName() {
        let rows: [(text: String, zone: Schedule.Zone?)] = [
            ("utc", .offset(minutes: 0)), ("local", .local), ("+01:00", .offset(minutes: 60)),
            ("-03:30", .offset(minutes: -210)), ("+14:00", .offset(minutes: 840)), ("+14:01", nil), ("+1:00", nil),
            ("+0100", nil), ("+01:60", nil), ("", nil), ("+-1:00", nil), ("Europe/Berlin", .named("Europe/Berlin")),
            ("../etc", nil), ("Europe/", nil), ("a b", nil), ("/usr", nil),
        ]
        for row in rows {
            #expect(Schedule.Zone(row.text) == row.zone, "\(row.text)")
            if let zone = row.zone { #expect(Schedule.Zone(zone.text) == zone) }
        }
    }
}

/// A rule in force at some times only. Monday 2026-11-16 00:00 UTC is second 0 of the axis.
@Suite struct ScheduledRuleTests {
    private static let monday: Int64 = 1_794_787_200_000
    private static let hour = 3600.0

    private func instant(_ seconds: Double) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64((seconds * 1e9).rounded()))
    }

    private func evaluator(
        _ condition: Condition, holdTime: Duration = .zero, zone: String = "utc", isActiveWithoutClock: Bool = true,
        clock: RuleClock? = RuleClock(wallOffset: monday, zoneOffsets: [0])
    ) throws -> RuleEvaluator {
        let schedule = try Schedule(
            parsing: ["mon-fri 08:00-18:00"], zone: try #require(Schedule.Zone(zone)),
            isActiveWithoutClock: isActiveWithoutClock)
        let rule = try Rule(
            name: "r", metric: "m", condition: condition, holdTime: holdTime, schedule: schedule)
        var evaluator = RuleEvaluator(rules: [rule])
        evaluator.clockIs(clock, at: instant(0))
        return evaluator
    }

    private func value(_ value: Double, at seconds: Double, _ evaluator: inout RuleEvaluator) throws -> [RuleOutcome
        .Kind]
    {
        let device = try #require(DeviceID("d"))
        return evaluator.observed(device: device, metric: "m", value: value, at: instant(seconds)).map(\.kind)
    }

    /// Follows the deadlines as a shell does, and says what happened when.
    private func run(from start: Double = 0, to seconds: Double, _ evaluator: inout RuleEvaluator) -> [String] {
        var found: [String] = []
        var turns = 0
        while let deadline = evaluator.nextDeadline, deadline <= instant(seconds), turns < 1000 {
            turns += 1
            for outcome in evaluator.timeReached(max(deadline, instant(start))) {
                found.append("\(Double(outcome.at.nanoseconds) / 1e9 / Self.hour) \(outcome.kind)")
            }
        }
        #expect(turns < 1000, "the deadline stands still")
        return found
    }

    @Test func outsideItsTimesARuleOpensNothingAndWhatItOpenedEndsWithThem() throws {
        var evaluator = try evaluator(.above(70))
        #expect(try value(80, at: 7 * Self.hour, &evaluator) == [])
        #expect(run(to: 7.9 * Self.hour, &evaluator) == [])
        // The last value still holds when the rule comes into force.
        #expect(run(to: 17 * Self.hour, &evaluator) == ["8.0 breached"])
        #expect(run(to: 24 * Self.hour, &evaluator) == ["18.0 suspended"])
        #expect(try value(90, at: 25 * Self.hour, &evaluator) == [])
    }

    @Test func aValueAfterTheEndEndsTheFaultToo() throws {
        var evaluator = try evaluator(.above(70))
        #expect(try value(80, at: 17 * Self.hour, &evaluator) == [.breached])
        #expect(try value(90, at: 19 * Self.hour, &evaluator) == [.suspended])
    }

    @Test func theTimeOfSilenceCountsFromTheBeginning() throws {
        var evaluator = try evaluator(.silent, holdTime: .seconds(600))
        #expect(try value(1, at: 7 * Self.hour, &evaluator) == [])
        #expect(run(to: 8.1 * Self.hour, &evaluator) == [])
        #expect(run(to: 9 * Self.hour, &evaluator).count == 1)
        #expect(try value(1, at: 9.5 * Self.hour, &evaluator) == [.recovered])
    }

    @Test func standingStillCountsFromTheBeginning() throws {
        var evaluator = try evaluator(.stuck(tolerance: 0), holdTime: .seconds(1800))
        for hour in stride(from: 1.0, through: 8.25, by: 0.25) {
            #expect(try value(5, at: hour * Self.hour, &evaluator) == [], "\(hour)")
        }
        #expect(try value(5, at: 8.5 * Self.hour, &evaluator) == [.breached])
    }

    @Test func theOffsetMovesTheWindow() throws {
        var east = try evaluator(.above(70), zone: "+01:00", clock: .init(wallOffset: Self.monday, zoneOffsets: [3600]))
        #expect(try value(80, at: 7 * Self.hour, &east) == [.breached])
        #expect(try value(80, at: 17 * Self.hour, &east) == [.suspended])
    }

    @Test func withoutAClockARuleDoesWhatItsDefaultSays() throws {
        var watching = try evaluator(.above(70), clock: nil)
        #expect(try value(80, at: 3 * Self.hour, &watching) == [.breached])
        var idle = try evaluator(.above(70), isActiveWithoutClock: false, clock: nil)
        #expect(try value(80, at: 9 * Self.hour, &idle) == [])
        // The clock is learned: one was outside its times, the other is within.
        watching.clockIs(.init(wallOffset: Self.monday, zoneOffsets: [0]), at: instant(4 * Self.hour))
        #expect(run(from: 4 * Self.hour, to: 4 * Self.hour, &watching) == ["4.0 suspended"])
        idle.clockIs(.init(wallOffset: Self.monday, zoneOffsets: [0]), at: instant(10 * Self.hour))
        #expect(run(from: 10 * Self.hour, to: 10 * Self.hour, &idle) == ["10.0 breached"])
    }

    @Test func aClockThatJumpsIsFollowedAtOnce() throws {
        var evaluator = try evaluator(.above(70))
        #expect(try value(80, at: 9 * Self.hour, &evaluator) == [.breached])
        // Twelve hours ahead, and back.
        evaluator.clockIs(
            .init(wallOffset: Self.monday + 43_200_000, zoneOffsets: [0]), at: instant(10 * Self.hour))
        #expect(run(from: 10 * Self.hour, to: 10 * Self.hour, &evaluator) == ["10.0 suspended"])
        evaluator.clockIs(.init(wallOffset: Self.monday, zoneOffsets: [0]), at: instant(11 * Self.hour))
        #expect(run(from: 11 * Self.hour, to: 11 * Self.hour, &evaluator) == ["11.0 breached"])
    }

    @Test func anOpenFaultOfAScheduledRuleSurvivesARestartWithinItsTimesOnly() throws {
        var before = try evaluator(.above(70))
        #expect(try value(80, at: 9 * Self.hour, &before) == [.breached])
        let bytes = before.snapshot(at: instant(9 * Self.hour))
        for (hour, expected) in [(10.0, []), (20.0, ["20.0 suspended"])] {
            var after = try evaluator(.above(70), clock: nil)
            after.clockIs(.init(wallOffset: Self.monday, zoneOffsets: [0]), at: instant(hour * Self.hour))
            let isRestored = after.restore(bytes, at: instant(hour * Self.hour))
            #expect(isRestored)
            #expect(run(from: hour * Self.hour, to: hour * Self.hour, &after) == expected)
        }
    }
}
