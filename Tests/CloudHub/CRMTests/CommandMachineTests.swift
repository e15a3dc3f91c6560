import CRM
import JSON
import Primitives
import Testing

@Suite struct CommandMachineTests {
    static let created = WallInstant("2026-11-21T09:00:00Z")!
    static let id = UniqueID(high: 1, low: 2)

    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var age: Duration = .seconds(10)
        var device: DeviceID? = DeviceID("t-1")
        var message = #"{"CommandName":"Reset Thermostat","Parameters":{}}"#
        var state: CommandRecord.State?
        var isUnderWay = false
        let expect: CommandMachine.RowAction

        init(
            _ description: String, age: Duration = .seconds(10), device: DeviceID? = DeviceID("t-1"),
            message: String = #"{"CommandName":"Reset Thermostat","Parameters":{}}"#,
            state: CommandRecord.State? = nil, isUnderWay: Bool = false, expect: CommandMachine.RowAction
        ) {
            testDescription = description
            self.age = age
            self.device = device
            self.message = message
            self.state = state
            self.isUnderWay = isUnderWay
            self.expect = expect
        }
    }

    static let reset = DeviceCommand(method: "Reset", payload: .object(JSONObject()))
    static let sent = CommandVerdict(.sent, "done")
    static let device = DeviceID("t-1")!

    static let rows: [Row] = [
        Row(
            "a new row is attempted with the time that is left", expect: .attempt(reset, device, within: .seconds(290))),
        Row(
            "a row from a clock ahead gets the limit, not more", age: .seconds(-60),
            expect: .attempt(reset, device, within: .seconds(300))),
        Row("at the limit it is expired", age: .seconds(300), expect: .decide(.expired)),
        Row("long after the limit it is expired", age: .seconds(86_400), expect: .decide(.expired)),
        Row("an attempt of an earlier run is not repeated", state: .attempting, expect: .decide(.interrupted)),
        Row(
            "an attempt of an earlier run past the limit is not called expired", age: .seconds(900), state: .attempting,
            expect: .decide(.interrupted)),
        Row("an attempt of this run goes on", state: .attempting, isUnderWay: true, expect: .wait),
        Row("a queued one of an earlier run is asked about", state: .queued("Reset"), expect: .follow),
        Row(
            "a queued one past the limit is asked about too: it may have been delivered", age: .seconds(900),
            state: .queued("Reset"), expect: .follow),
        Row("a queued one that this run follows waits", state: .queued("Reset"), isUnderWay: true, expect: .wait),
        Row("what was decided is reported", state: .decided(sent), expect: .report(sent)),
        Row(
            "what was decided long ago is reported, not sent", age: .seconds(9000), state: .decided(sent),
            expect: .report(sent)),
        Row("a row that was set back is told again, not sent again", state: .reported(sent), expect: .report(sent)),
        Row(
            "without a device it ends", device: nil,
            expect: .decide(
                CommandVerdict(.error, "the command names no device, or one that cannot exist in the registry"))),
        Row(
            "a message that is no JSON ends it", message: "Reset",
            expect: .decide(
                CommandVerdict(
                    .error, "the command's message is not JSON: JSON is broken at byte 0: 'R' cannot stand here"))
        ),
        Row(
            "a message without a name ends it", message: "{}",
            expect: .decide(CommandVerdict(.error, "the command's message has no text member CommandName"))),
        Row(
            "an unknown name that is no method ends it", message: #"{"CommandName":"Do it!"}"#,
            expect: .decide(CommandVerdict(.error, "no method belongs to the command name Do it!"))),
        Row(
            "an own method's name is passed on", message: #"{"CommandName":"flush-1"}"#,
            expect: .attempt(
                DeviceCommand(method: "flush-1", payload: .object(JSONObject())), device, within: .seconds(290))),
        Row(
            "the stock names do not care for case", message: #"{"CommandName":"set values","Parameters":{"a":1}}"#,
            expect: .attempt(
                DeviceCommand(method: "SetValue", payload: ["a": 1]), device, within: .seconds(290))),
    ]

    @Test(arguments: rows) func decidesOnARow(_ row: Row) {
        let seen = CommandRow(
            id: Self.id, device: row.device, message: row.message, createdAt: Self.created, parentAlert: nil)
        let record = row.state.map { CommandRecord(command: Self.id, state: $0, changedAt: Self.created) }
        let action = CommandMachine.rowSeen(
            seen, record: record, isUnderWay: row.isUnderWay, limits: CommandLimits(), now: Self.created + row.age)
        #expect(action == row.expect)
    }

    static let outcomes: [(MethodOutcome, CommandVerdict?)] = [
        (.answered(status: 200, payload: [:]), CommandVerdict(.sent, "the device answered Reset with status 200: {}")),
        (
            .answered(status: 404, payload: "no"),
            CommandVerdict(.error, "the device answered Reset with status 404: \"no\"")
        ),
        (.notOnline, nil),
        (
            .unanswered,
            CommandVerdict(
                .error,
                "unknown: the device was sent Reset and did not answer in time; whether it obeyed is not known")
        ),
        (.failed("it is broken"), CommandVerdict(.error, "Reset failed: it is broken")),
    ]

    @Test(arguments: outcomes) func judgesAnOutcome(_ outcome: MethodOutcome, _ verdict: CommandVerdict?) {
        #expect(CommandMachine.verdict(on: outcome, method: "Reset") == verdict)
    }

    @Test func reasonsFitTheColumn() {
        let long = CommandVerdict(.sent, String(repeating: "é🔥", count: 4000))
        #expect(long.reason.utf16.count <= 2000)
        #expect(long.reason.hasSuffix("…"))
    }
}
