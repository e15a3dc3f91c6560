import Primitives
import Telemetry
import Testing

@testable import LocalMQTT

@Suite struct MessageReaderTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let claim: String
        let topic: String
        let payload: String
        /// "device/metric=kind:value unit" each, or the problem's text.
        let expected: [String]
        var testDescription: String { claim }

        init(_ claim: String, _ topic: String, _ payload: String, _ expected: [String]) {
            self.claim = claim
            self.topic = topic
            self.payload = payload
            self.expected = expected
        }
    }

    static let rows = [
        Row(
            "members become metrics, digit for digit", "plant/t-1/state",
            #"{"temperature":71.250,"on":true,"mode":"eco","none":null}"#,
            ["t-1/temperature=n:71.250 Cel", "t-1/on=b:true", "t-1/mode=t:eco"]),
        Row(
            "nesting becomes a dotted path", "plant/t-1/state", #"{"motor":{"phase":[1,2e3]}}"#,
            ["t-1/motor.phase.0=n:1", "t-1/motor.phase.1=n:2e3"]),
        Row("a plain number", "plain/t-1/temperature", " 21.50\n", ["t-1/temperature=n:21.50 Cel"]),
        Row("a plain number with a plus", "plain/t-1/level", "+3", ["t-1/level=n:3"]),
        Row("ON is true", "plain/t-1/relay", "ON", ["t-1/relay=b:true"]),
        Row("off is false", "plain/t-1/relay", "off", ["t-1/relay=b:false"]),
        Row("01 is no number but a text", "plain/t-1/code", "01", ["t-1/code=t:01"]),
        Row("JSON under a metric gets it in front", "plain/t-1/env", #"{"t":1}"#, ["t-1/env.t=n:1"]),
        Row("only the members that are wanted", "picked/x", #"{"a":{"b":1},"c":2}"#, ["fixed/power=n:1 W"]),
        Row(
            "broken JSON", "plant/t-1/state", #"{"a":"#,
            ["JSON is broken at byte 5: the text ends in the middle of a value"]),
        Row(
            "a bare value without a name", "plant/t-1/state", "21",
            [
                "the value has no name: give the mapping a metric, or publish an object"
            ]),
        Row("nothing in it", "plant/t-1/state", #"{"a":null}"#, ["there is no value in it"]),
        Row("an empty payload", "plain/t-1/a", "", ["there is no value in it"]),
        Row("too many readings", "plant/t-1/state", "[1,2,3,4,5,6,7,8,9]", ["it holds more than 8 readings"]),
        Row(
            "too large", "plant/t-1/state", String(repeating: " ", count: 201),
            ["the payload has 201 bytes, most is 200"]),
        Row(
            "a device name that cannot be one", "plant/t 1/state", "{}",
            ["'t 1' in the topic cannot be a device id: 1 to 128 letters, digits and -:.+%_#*?!(),=@;$'"]),
        Row(
            "a topic of nobody", "elsewhere", "1",
            ["no topic mapping matches; the broker may keep a subscription of an earlier configuration"]),
        Row(
            "a number longer than a reading holds", "plant/t-1/state",
            "{\"a\":" + String(repeating: "9", count: 65) + "}",
            ["a number has over 64 characters"]),
    ]

    private func reader() throws -> MessageReader {
        var state = TopicMapping(template: try #require(TopicTemplate("plant/{device}/state")))
        state.units = ["temperature": "Cel"]
        state.payload = .json
        var plain = TopicMapping(template: try #require(TopicTemplate("plain/{device}/{metric}")))
        plain.units = ["temperature": "Cel"]
        var picked = TopicMapping(
            template: try #require(TopicTemplate("picked/+")), device: DeviceID("fixed"))
        picked.members = [.init(path: "a.b", metric: "power")]
        picked.units = ["power": "W"]
        var config = LocalMQTTConfig(name: "p", host: "h", clientID: "c", topics: [state, plain, picked])
        config.payloadBytesMax = 200
        config.readingsPerMessageMax = 8
        return MessageReader(config: config)
    }

    private func read(_ reader: inout MessageReader, _ topic: String, _ payload: [UInt8]) -> [String] {
        var readings: [Reading] = []
        do {
            try payload.withUnsafeBufferPointer { bytes throws(MessageProblem) in
                _ = try reader.read(
                    topic: topic, payload: bytes,
                    stamp: .init(time: WallInstant(milliseconds: 5), clock: .guessed, quality: .uncertain),
                    into: &readings)
            }
        } catch {
            #expect(readings.isEmpty, "a refused message leaves nothing behind")
            return ["\(error)"]
        }
        return readings.map { reading in
            #expect(reading.time == WallInstant(milliseconds: 5) && reading.clock == .guessed)
            #expect(reading.quality == .uncertain)
            let kind =
                switch reading.value {
                case .number: "n"
                case .boolean: "b"
                case .text: "t"
                }
            let unit = reading.unit.map { " " + $0 } ?? ""
            return "\(reading.device)/\(reading.metric)=\(kind):\(reading.value)\(unit)"
        }
    }

    @Test(arguments: rows) func aMessageBecomesReadings(_ row: Row) throws {
        var reader = try reader()
        #expect(read(&reader, row.topic, Array(row.payload.utf8)) == row.expected)
        #expect(read(&reader, row.topic, Array(row.payload.utf8)) == row.expected, "the remembered route says the same")
    }

    @Test func bytesThatAreNotTextAreRefused() throws {
        var reader = try reader()
        #expect(read(&reader, "plain/t-1/a", [0xFF, 0x31]) == ["the payload is not UTF-8 text"])
        #expect(read(&reader, "plain/t-1/a", Array("1".utf8)) == ["t-1/a=n:1"], "the next good one passes")
    }

    @Test func randomBytesNeverTrap() throws {
        var reader = try reader()
        var random = SeededRandom(seed: 20)
        for _ in 0..<5000 {
            let length = Int.random(in: 0...60, using: &random)
            let alphabet = Array(#"{}[]",:.0123456789eE+-truefalsn\u "#.utf8) + [0, 0xC3, 0xFF]
            let bytes = (0..<length).map { _ in alphabet.randomElement(using: &random) ?? 0 }
            _ = read(&reader, "plain/t-1/a", bytes)
            _ = read(&reader, "plant/t-1/state", bytes)
        }
    }

    @Test func moreTopicsThanAreRememberedAreStillRead() throws {
        var reader = try reader()
        for index in 0..<(MessageReader.routesMax + 10) {
            #expect(read(&reader, "plain/d-\(index)/a", Array("1".utf8)) == ["d-\(index)/a=n:1"])
        }
    }
}
