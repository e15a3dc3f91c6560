import Expressions
import Faults
import Primitives
import Rules
import Telemetry
import Testing

/// The hub's own rules on the axis of event time.
@Suite struct EventTimeRuleTests {
    /// Monday 2026-11-16, 07:00 UTC.
    private static let morning = WallInstant(milliseconds: 1_794_787_200_000 + 7 * 3_600_000)
    private static let place = HubRuleEngine.Place(partition: 0, offset: 1)

    private func now(_ minutes: Int64) -> HubRuleEngine.HubTime {
        HubRuleEngine.HubTime(
            wall: Self.morning + .seconds(minutes * 60),
            monotonic: MonotonicInstant(nanoseconds: minutes * 60_000_000_000))
    }

    /// A value measured at one minute that arrives at another.
    private func take(
        _ value: Double, of device: String, measured: Int64, arrived: Int64, _ engine: inout HubRuleEngine
    ) throws -> [FaultState] {
        engine.observed(
            "m", value, of: try #require(DeviceID(device)), time: now(measured).wall, arrivedAt: now(arrived).wall,
            place: Self.place, now: now(arrived)
        ).map(\.transition.state)
    }

    @Test func aScheduleGoesByTheTimeOfMeasurement() throws {
        let schedule = try Schedule(parsing: ["mon-fri 08:00-18:00"], zone: .offset(minutes: 0))
        let rule = try Rule(name: "r", runs: .hub, metric: "m", condition: .above(70), schedule: schedule)
        var engine = HubRuleEngine(rules: [rule], lateness: .seconds(300))
        _ = engine.begin(nil, now: now(0))
        #expect(try take(80, of: "a", measured: 59, arrived: 62, &engine) == [])
        #expect(try take(80, of: "b", measured: 61, arrived: 62, &engine) == [.raised])
        // What was measured before the window is not in force, whenever it arrives; and it flaps nothing of others.
        #expect(try take(80, of: "c", measured: 59, arrived: 63, &engine) == [])
        #expect(try take(80, of: "b", measured: 62, arrived: 63, &engine) == [])
        // What was so before the window still is when it begins; the lateness bound comes on top, here and at its end.
        #expect(engine.caughtUp(now: now(64)).map(\.transition.state) == [])
        #expect(engine.caughtUp(now: now(65)).map(\.transition.device.text) == ["a", "c"])
        #expect(engine.caughtUp(now: now(11 * 60 + 4)).map(\.transition.state) == [])
        #expect(engine.caughtUp(now: now(11 * 60 + 5)).map(\.transition.state) == [.cleared, .cleared, .cleared])
    }

    @Test func anExpressionReadsDevicesThatNoRuleIsFor() throws {
        let device = try #require(DeviceID("oven"))
        let door = try #require(DeviceID("door"))
        let rule = try Rule(
            name: "r", runs: .hub, device: .one(device), metric: nil,
            condition: .expression(SignalExpression(parsing: "m > 70 and [door/m] == 0", as: .boolean)))
        var engine = HubRuleEngine(rules: [rule])
        _ = engine.begin(nil, now: now(0))
        #expect(engine.watches(device) && engine.watches(door) && engine.needsNumbers)
        #expect(try take(80, of: "oven", measured: 1, arrived: 1, &engine) == [])
        #expect(try take(0, of: "door", measured: 0, arrived: 1, &engine) == [.raised])
        #expect(try take(1, of: "door", measured: 2, arrived: 2, &engine) == [.cleared])
    }

    @Test func backFillMovesNoWindowAndNoAverage() throws {
        let rule = try Rule(name: "r", runs: .hub, metric: "m", condition: .changing(.rises, by: 5, per: .seconds(600)))
        var engine = HubRuleEngine(rules: [rule], lateness: .seconds(60))
        _ = engine.begin(nil, now: now(0))
        #expect(try take(10, of: "a", measured: 20, arrived: 20, &engine) == [])
        #expect(try take(1, of: "a", measured: 5, arrived: 21, &engine) == [])
        #expect(try take(12, of: "a", measured: 22, arrived: 22, &engine) == [])
        #expect(try take(16, of: "a", measured: 23, arrived: 23, &engine) == [.raised])
    }
}
