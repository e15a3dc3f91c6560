import Primitives

/// What a person filled in on an alert's page, read and checked.
enum CommandForm {
    /// Longest message or value a person may send. Unit: characters.
    static let textLengthMax = 500

    struct Problem: Error, Equatable { let text: String }

    /// The fields of an `application/x-www-form-urlencoded` body; at most 32 are kept, the last of a name wins.
    static func fields(_ body: String) -> [String: String] {
        var fields: [String: String] = [:]
        for pair in body.split(separator: "&").prefix(32) {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decode(parts[0]), let value = decode(parts.count > 1 ? parts[1] : "") else { continue }
            fields[name] = value
        }
        return fields
    }

    static func read(_ form: [String: String]) -> Result<NewCommand, Problem> {
        switch form["command"] {
        case "Reset Thermostat": return .success(.resetThermostat)
        case "Notification":
            let message = form["message"] ?? ""
            guard !message.isEmpty else {
                return .failure(Problem(text: "Write the message that the device shall show."))
            }
            guard message.count <= textLengthMax else { return .failure(tooLong("message", message.count)) }
            return .success(.notification(message: message))
        case "Set Values": return readValues(form)
        default:
            return .failure(Problem(text: "Choose one of Reset Thermostat, Set Values and Notification."))
        }
    }

    private static func readValues(_ form: [String: String]) -> Result<NewCommand, Problem> {
        var values: [String: String] = [:]
        for (field, metric) in [("temperature", "Temperature"), ("humidity", "Humidity")] {
            guard let text = form[field], !text.isEmpty else { continue }
            guard text.count <= 32, let number = Double(text), number.isFinite else {
                return .failure(
                    Problem(text: "\(metric) must be a number, like 21.5; this is not one: \(text.prefix(32))"))
            }
            values[metric] = text
        }
        guard !values.isEmpty else { return .failure(Problem(text: "Give a temperature, a humidity or both.")) }
        return .success(.setValues(values))
    }

    private static func tooLong(_ field: String, _ length: Int) -> Problem {
        Problem(text: "The \(field) has \(length) characters; \(textLengthMax) are allowed.")
    }

    private static func decode(_ text: Substring) -> String? {
        PercentEncoding.decode(String(text.map { $0 == "+" ? " " : $0 }))
    }
}
