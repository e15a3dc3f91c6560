import JSON
import Primitives
import SouthboundAPI
import Testing

@testable import LocalMQTT

@Suite struct TopicTemplateTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let template: String
        let topic: String
        /// "device,metric" with "-" for none; `nil` for no match.
        let captures: String?
        var testDescription: String { "\(template) over \(topic)" }
    }

    static let rows = [
        Row(template: "plant/{device}/{metric}", topic: "plant/t-1/temperature", captures: "t-1,temperature"),
        Row(template: "plant/{device}/{metric}", topic: "plant/t-1", captures: nil),
        Row(template: "plant/{device}/{metric}", topic: "plant/t-1/a/b", captures: nil),
        Row(template: "plant/+/state", topic: "plant/x/state", captures: "-,-"),
        Row(template: "plant/{device}/#", topic: "plant/x/a/b/c", captures: "x,-"),
        Row(template: "plant/{device}/#", topic: "plant/x", captures: "x,-"),
        Row(template: "{device}/up", topic: "$SYS/up", captures: nil),
        Row(template: "#", topic: "$SYS/broker", captures: nil),
        Row(template: "$SYS/#", topic: "$SYS/broker", captures: "-,-"),
        Row(template: "a//{device}", topic: "a//d", captures: "d,-"),
        Row(template: "plant/{device}", topic: "plant/", captures: ",-"),
    ]

    @Test(arguments: rows) func levelsAreMatchedAndCaptured(_ row: Row) throws {
        let template = try #require(TopicTemplate(row.template))
        let captures = template.captures(of: row.topic)
        #expect(captures.map { "\($0.device ?? "-"),\($0.metric ?? "-")" } == row.captures)
    }

    @Test(arguments: ["", "a/#/b", "a+/b", "{device}/{device}", "x{device}", "{other}/a", "a\0b"])
    func aBrokenTemplateIsRefused(_ text: String) { #expect(TopicTemplate(text) == nil) }

    @Test func namesBecomeWildcardsInTheFilter() throws {
        #expect(try #require(TopicTemplate("plant/{device}/{metric}/#")).filter == "plant/+/+/#")
    }
}

@Suite struct CommandRoutingTests {
    private func command(_ name: String, _ payload: String, device: String = "t-1") throws -> DeviceCommand {
        DeviceCommand(
            device: try #require(DeviceID(device)), name: name, payload: Array(payload.utf8),
            deadline: MonotonicInstant(nanoseconds: 9))
    }

    private func publish(_ route: CommandRoute, _ command: DeviceCommand) throws -> CommandPublish {
        try CommandRouting(routes: [route]).publish(for: command, id: 7, driver: "plant")
    }

    @Test(arguments: [(#""21.50""#, "21.50"), ("21.5", "21.5"), (#""-3e2""#, "-3e2")])
    func aNumberArrivesAsANumberHoweverItWasWritten(_ given: String, _ written: String) throws {
        let route = CommandRoute(
            command: "SetValue", topic: TextTemplate("t"), payload: TextTemplate(#"{"target": {payload.a.b:number}}"#))
        let made = try publish(route, command("SetValue", #"{"a":{"b":\#(given)}}"#))
        #expect(String(decoding: made.payload, as: UTF8.self) == #"{"target": \#(written)}"#)
    }

    @Test(arguments: [#""warm""#, "true", "{}", "null", #""""#])
    func whatIsNoNumberIsRefusedInWords(_ given: String) throws {
        let route = CommandRoute(
            command: "SetValue", topic: TextTemplate("t"), payload: TextTemplate("{payload.a:number}"))
        #expect(
            throws: CommandRouting.Refusal(
                reason: "the payload of SetValue: 'a' must be a number; it is \(given)")
        ) { try publish(route, command("SetValue", #"{"a":\#(given)}"#)) }
    }

    @Test func templatesAreFilled() throws {
        let route = CommandRoute(
            command: "SetValue", topic: TextTemplate("plant/{device}/cmd/{command}"),
            payload: TextTemplate(#"{"id":{id},"target":{payload.a.b},"all":{payload}, "x": {}}"#),
            answerTopic: TextTemplate("plant/{device}/answer"))
        let publish = try publish(route, try command("SetValue", #"{"a":{"b":21.50}}"#))
        #expect(publish.topic == "plant/t-1/cmd/SetValue")
        #expect(
            String(decoding: publish.payload, as: UTF8.self)
                == #"{"id":7,"target":21.50,"all":{"a":{"b":21.50}}, "x": {}}"#)
        #expect(publish.answerTopic == "plant/t-1/answer")
        #expect(CommandRouting(routes: [route]).answerFilters == ["plant/+/answer"])
    }

    @Test func theRouteOfTheDeviceItselfComesFirst() throws {
        let general = CommandRoute(command: "Reset", topic: TextTemplate("all/{device}"))
        let own = CommandRoute(command: "Reset", device: DeviceID("t-1"), topic: TextTemplate("own"))
        let routing = CommandRouting(routes: [general, own])
        #expect(try routing.publish(for: try command("Reset", ""), id: 1, driver: "p").topic == "own")
        #expect(
            try routing.publish(for: try command("Reset", "", device: "t-2"), id: 1, driver: "p").topic == "all/t-2")
    }

    @Test func whatCannotBeSentSaysWhy() throws {
        let route = CommandRoute(
            command: "SetValue", topic: TextTemplate("t/{device}"), payload: TextTemplate("{payload.target}"))
        #expect(
            throws: CommandRouting.Refusal(
                kind: .unknownCommand,
                reason: "no command Reset is configured for t-1 on driver plant; add it to the driver's commands")
        ) { try publish(route, try command("Reset", "")) }
        #expect(throws: CommandRouting.Refusal(reason: "the payload of SetValue has no member 'target'")) {
            try publish(route, try command("SetValue", "{}"))
        }
        #expect(
            throws: CommandRouting.Refusal(
                reason: "the payload of SetValue cannot be read: "
                    + "JSON is broken at byte 0: 'x' cannot stand here")
        ) { try publish(route, try command("SetValue", "x")) }
        #expect(throws: CommandRouting.Refusal(reason: "'t/#' is no topic that can be published to")) {
            try publish(route, try command("SetValue", #"{"target":1}"#, device: "#"))
        }
    }
}

@Suite struct LocalMQTTConfigTests {
    @Test func everyProblemIsReportedAtOnce() throws {
        var config = LocalMQTTConfig(
            name: "plant", host: "", port: 0, clientID: "",
            topics: [
                TopicMapping(template: try #require(TopicTemplate("plant/+/state")))
            ])
        config.keepAlive = .seconds(1)
        config.commands = [CommandRoute(command: "Reset", topic: TextTemplate("a/+"))]
        #expect(
            config.problems().map { "\($0.key) \($0.problem)" } == [
                "host needs 1 to 255 characters", "port needs 1 to 65535", "client_id needs 1 to 64 bytes",
                "keep_alive needs 5s to 1h",
                "topics[0].device is needed, because the topic has no {device}",
                "commands[0].topic must be a topic name: not empty, no + and no #",
            ])
    }
}
