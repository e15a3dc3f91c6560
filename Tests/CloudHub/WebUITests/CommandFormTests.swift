import Testing

@testable import WebUI

@Suite struct CommandFormTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let body: String
        let expected: Result<NewCommand, CommandForm.Problem>

        init(_ description: String, _ body: String, _ expected: Result<NewCommand, CommandForm.Problem>) {
            testDescription = description
            self.body = body
            self.expected = expected
        }
    }

    static let rows: [Row] = [
        Row("a reset needs nothing else", "command=Reset+Thermostat", .success(.resetThermostat)),
        Row(
            "values keep what the person typed", "command=Set%20Values&temperature=21.50&humidity=",
            .success(.setValues(["Temperature": "21.50"]))),
        Row(
            "a message is decoded", "command=Notification&message=caf%C3%A9+%26+more",
            .success(.notification(message: "café & more"))),
        Row(
            "an empty message is refused", "command=Notification&message=",
            .failure(.init(text: "Write the message that the device shall show."))),
        Row(
            "a word is no temperature", "command=Set+Values&temperature=warm",
            .failure(.init(text: "Temperature must be a number, like 21.5; this is not one: warm"))),
        Row(
            "infinity is no temperature", "command=Set+Values&temperature=inf",
            .failure(.init(text: "Temperature must be a number, like 21.5; this is not one: inf"))),
        Row(
            "no value at all is refused", "command=Set+Values",
            .failure(.init(text: "Give a temperature, a humidity or both."))),
        Row(
            "an unknown command names the known ones", "command=Explode",
            .failure(.init(text: "Choose one of Reset Thermostat, Set Values and Notification."))),
        Row(
            "a broken percent sign is no field", "command=%ZZ",
            .failure(.init(text: "Choose one of Reset Thermostat, Set Values and Notification."))),
    ]

    @Test(arguments: rows) func aFormIsReadOrRefusedInWords(_ row: Row) {
        #expect(CommandForm.read(CommandForm.fields(row.body)) == row.expected)
    }

    @Test func aMessageOf501CharactersIsTooLong() {
        let form = ["command": "Notification", "message": String(repeating: "x", count: 501)]
        #expect(
            CommandForm.read(form) == .failure(.init(text: "The message has 501 characters; 500 are allowed.")))
    }
}
