import Actuation
import JSON
import Primitives
import Telemetry
import Timekeeping
import Uplink

/// Methods of the gateway about its actuators, for technicians by way of the hub.
extension CommandRouter {
    /// `actuators`: where each is, who overrides it, and why it may not move.
    func actuators() -> CommandAnswer {
        let answer = JSONValue.array(
            actuation.views.map { view in
                var object = JSONObject()
                object["actuator"] = .string(view.name)
                object["target"] = .string(view.target)
                object["position"] = view.position.map { .string($0.description) } ?? .null
                if let override = view.override {
                    object["override"] = [
                        "who": .string(override.who), "lasts": .string(DurationText.format(override.lasts)),
                    ]
                }
                if let blocked = view.blocked { object["blocked"] = .string(blocked) }
                return .object(object)
            })
        return CommandAnswer(status: 200, payload: answer.serialized())
    }

    /// `override` with `{"actuator": "fan", "value": 1, "who": "Anna", "for": "30m"}`, or `"until"` with a time.
    func override(_ call: CommandCall) -> CommandAnswer {
        guard let document = try? JSONValue(parsing: call.payload), let name = document["actuator"]?.stringValue,
            let value = document["value"].flatMap(Self.position), let who = document["who"]?.stringValue,
            (1...100).contains(who.utf8.count), let lasting = lasting(document)
        else {
            return .failed(
                400,
                #"override needs {"actuator": name, "value": position, "who": name, "for": "30m"}, or "until" with a "#
                    + "time in place of for, when the gateway knows the time")
        }
        if let refusal = actuation.override(name, position: value, who: who, lasting: lasting) {
            return .failed(409, refusal)
        }
        return CommandAnswer(status: 200, payload: Array("null".utf8))
    }

    /// `release` with `{"actuator": "fan", "who": "Anna"}`.
    func release(_ call: CommandCall) -> CommandAnswer {
        guard let document = try? JSONValue(parsing: call.payload), let name = document["actuator"]?.stringValue,
            let who = document["who"]?.stringValue, (1...100).contains(who.utf8.count)
        else { return .failed(400, #"release needs {"actuator": name, "who": name}"#) }
        if let refusal = actuation.release(name, by: who) { return .failed(409, refusal) }
        return CommandAnswer(status: 200, payload: Array("null".utf8))
    }

    private func lasting(_ document: JSONValue) -> Duration? {
        if let text = document["for"]?.stringValue { return DurationText.parse(text) }
        guard let until = document["until"]?.stringValue.flatMap({ WallInstant($0) }) else { return nil }
        let now = clock.now()
        return now.quality == .unset ? nil : until - now.time
    }

    private static func position(_ value: JSONValue) -> ReadingValue? {
        switch value {
        case .number(let number): DecimalText(number.text).map(ReadingValue.number)
        case .bool(let flag): .boolean(flag)
        case .string(let text): text.utf8.count <= 100 ? .text(text) : nil
        case .null, .array, .object: nil
        }
    }
}
