import Foundation
import HubContract
import Primitives
import Testing

/// Lines of Tests/Golden/hub-topics: topic, tab, meaning.
func goldenLines(_ name: String) throws -> [(topic: String, meaning: String)] {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appending(path: "../../Golden/hub-topics/\(name)").standardizedFileURL
    let text = try String(contentsOf: file, encoding: .utf8)
    return text.split(separator: "\n").filter { !$0.hasPrefix("# ") }.map { line in
        let halves = line.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false)
        return (String(halves[0]), halves.count > 1 ? String(halves[1]) : "")
    }
}

@Suite("Hub topics")
struct HubTopicsTests {
    static let device = HubIdentity("dev-1") ?? HubIdentity(device: DeviceID("x")!)
    static let module = HubIdentity("dev-1/m1") ?? device

    @Test("every recorded topic of a device means what the record says")
    func deviceToHub() throws {
        let lines = try goldenLines("device-to-hub.txt")
        #expect(lines.count == 14)
        for line in lines {
            let (child, publish) = try HubTopics.publish(line.topic, from: Self.device)
            let meaning =
                switch publish {
                case .telemetry(let bag): "telemetry \(bag)"
                case .twinGet(let rid): "twinGet \(rid)"
                case .reportedPatch(let rid, let version): "reportedPatch \(rid) \(version.map(String.init) ?? "-")"
                case .methodResponse(let status, let rid): "methodResponse \(status) \(rid)"
                case .timeGet(let rid): "timeGet \(rid)"
                }
            #expect((child.map { "\($0): " } ?? "") + meaning == line.meaning)
        }
    }

    @Test("every recorded topic of the hub means what the record says")
    func hubToDevice() throws {
        let lines = try goldenLines("hub-to-device.txt")
        #expect(lines.count == 9)
        for line in lines {
            let (child, publish) = try HubTopics.delivery(line.topic, to: Self.device)
            let meaning =
                switch publish {
                case .cloudToDevice(let bag): "cloudToDevice \(bag)"
                case .moduleInput(let name, let bag): "moduleInput \(name) \(bag)"
                case .methodRequest(let name, let rid): "methodRequest \(name) \(rid)"
                case .twinResponse(let status, let rid, let version):
                    "twinResponse \(status) \(rid) \(version.map(String.init) ?? "-")"
                case .desiredChanged(let version): "desiredChanged \(version)"
                case .receipt: "receipt"
                case .time(let rid): "time \(rid)"
                }
            #expect((child.map { "\($0): " } ?? "") + meaning == line.meaning)
        }
    }

    @Test("every filter reads as its subscription and is built back from it")
    func filters() throws {
        let lines = try goldenLines("filters.txt")
        #expect(lines.count == 12)
        for line in lines {
            let (scope, subscription) = try HubTopics.subscription(line.topic, from: Self.device)
            let name =
                switch scope {
                case .own: "own"
                case .everyChild: "everyChild"
                case .child(let child): child.text
                }
            #expect("\(name) \(subscription)" == line.meaning)
            #expect(HubTopics.filter(subscription, scope: scope, of: Self.device) == line.topic)
        }
    }

    @Test("a module has its own topics")
    func modules() throws {
        let events = try HubTopics.publish("devices/dev-1/modules/m1/messages/events/%24.on=o", from: Self.module)
        #expect(events.publish == .telemetry(bagText: "%24.on=o"))
        for filter in ["devices/dev-1/modules/m1/inputs/#", "devices/dev-1/modules/m1/#"] {
            #expect(try HubTopics.subscription(filter, from: Self.module).subscription == .moduleInputs)
        }
        let topic = HubTopics.moduleInput(to: Self.module, name: "in 1", bag: PropertyBag([.init("a", "b/c")]))
        #expect(topic == "devices/dev-1/modules/m1/inputs/in%201/a=b%2Fc")
        #expect(
            try HubTopics.delivery(topic, to: Self.module).publish == .moduleInput(name: "in 1", bagText: "a=b%2Fc"))
    }

    @Test("what one side builds the other reads back")
    func roundTrip() throws {
        let bag = PropertyBag([.init("$.ct", "application/json"), .init("flag", nil), .init("empty", "")])
        #expect(
            try HubTopics.publish(HubTopics.events(from: Self.device, bag: bag), from: Self.device).publish
                == .telemetry(bagText: "%24.ct=application%2Fjson&flag&empty="))
        #expect(try HubTopics.publish(HubTopics.twinGet(rid: "1"), from: Self.device).publish == .twinGet(rid: "1"))
        #expect(
            try HubTopics.publish(HubTopics.reportedPatch(rid: "1", ifVersion: 3), from: Self.device).publish
                == .reportedPatch(rid: "1", ifVersion: 3))
        #expect(try HubTopics.publish(HubTopics.timeGet(rid: "1"), from: Self.device).publish == .timeGet(rid: "1"))
        #expect(try HubTopics.delivery(HubTopics.timeResponse(rid: "1"), to: Self.device).publish == .time(rid: "1"))
        let child = try #require(DeviceID("thermostat-1"))
        let answer = HubTopics.child(child, HubTopics.methodResponse(status: 200, rid: "7"))
        #expect(answer == "$fieldline/thermostat-1/$iothub/methods/res/200/?$rid=7")
        #expect(try HubTopics.publish(answer, from: Self.device).child == child)
        let odd = HubTopics.methodRequest(name: "a/b c*d", rid: "7")
        #expect(odd == "$iothub/methods/POST/a%2Fb%20c*d/?$rid=7")
        #expect(try HubTopics.delivery(odd, to: Self.device).publish == .methodRequest(name: "a/b c*d", rid: "7"))
        #expect(
            try HubTopics.delivery(HubTopics.cloudToDevice(to: Self.device, bag: bag), to: Self.device).publish
                == .cloudToDevice(bagText: bag.encoded()))
        #expect(
            try HubTopics.delivery(HubTopics.twinResponse(rid: "r", status: 204, version: 9), to: Self.device).publish
                == .twinResponse(status: 204, rid: "r", version: 9))
        #expect(
            try HubTopics.delivery(HubTopics.desiredPush(version: 9), to: Self.device).publish
                == .desiredChanged(version: 9))
    }

    @Test(
        "another identity's topic is refused with both names",
        arguments: [
            ("dev-1", "devices/dev-2/messages/events/", "it belongs to device 'dev-2', not to device 'dev-1'"),
            ("dev-1", "devices/dev-10/messages/events/", "it belongs to device 'dev-10', not to device 'dev-1'"),
            ("dev-1", "devices/DEV-1/messages/events/", "it belongs to device 'DEV-1', not to device 'dev-1'"),
            (
                "dev-1", "devices/dev-1/modules/m1/messages/events/",
                "it belongs to module 'dev-1/m1', not to device 'dev-1'"
            ),
            ("dev-1/m1", "devices/dev-1/messages/events/", "it belongs to device 'dev-1', not to module 'dev-1/m1'"),
            ("dev-1", "$fieldline/c1/devices/c2/messages/events/", "it belongs to device 'c2', not to device 'c1'"),
        ])
    func foreign(speaker: String, topic: String, what: String) throws {
        let identity = try #require(HubIdentity(speaker))
        let error = #expect(throws: TopicError.self) { try HubTopics.publish(topic, from: identity) }
        #expect(error?.description == "\(identity.spoken) cannot use topic '\(topic)': \(what)")
    }

    @Test(
        "a topic that the hub does not have is refused by kind",
        arguments: [
            ("devices/dev-1/messages/devicebound/x", .unknownTopic), ("a/b", .unknownTopic), ("", .unknownTopic),
            ("devices/dev-1/messages/eventsx", .unknownTopic), ("$iothub/twin/PUT/?$rid=1", .unknownTopic),
            ("$iothub/twin/GET/", .missingRequestID), ("$iothub/twin/GET/?$rid=", .missingRequestID),
            ("$iothub/methods/res/ok/?$rid=1", .badStatus),
            ("$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x", .badVersion),
            ("$fieldline/", .badChild), ("$fieldline//x", .badChild),
            ("$fieldline/c d/$iothub/twin/GET/?$rid=1", .badChild),
            ("$fieldline/c/$fieldline/d/$iothub/twin/GET/?$rid=1", .unknownTopic),
        ] as [(String, TopicError.Problem)])
    func unknown(topic: String, problem: TopicError.Problem) {
        let error = #expect(throws: TopicError.self) { try HubTopics.publish(topic, from: Self.device) }
        #expect(error?.problem == problem)
    }

    @Test(
        "a filter that the hub does not have is refused",
        arguments: [
            "#", "+", "$iothub/#", "devices/+/messages/devicebound/#", "devices/dev-1/#", "devices/dev-1/inputs/#",
            "$fieldline/#", "$fieldline/+/#", "$fieldline/receipts/#", "$SYS/#", "",
        ])
    func badFilters(filter: String) {
        #expect(throws: TopicError.self) { try HubTopics.subscription(filter, from: Self.device) }
    }

    @Test("another device's filter is refused with both names, and a module is no gateway")
    func foreignFilters() {
        let error = #expect(throws: TopicError.self) {
            try HubTopics.subscription("devices/dev-2/messages/devicebound/#", from: Self.device)
        }
        #expect(error?.description.contains("device 'dev-2', not to device 'dev-1'") == true)
        let gateway = #expect(throws: TopicError.self) {
            try HubTopics.subscription("$fieldline/+/$iothub/methods/POST/#", from: Self.module)
        }
        #expect(gateway?.problem == .moduleIsNoGateway)
    }

    @Test("the raw telemetry test agrees with the topic reader")
    func telemetryTopic() throws {
        let cases = [
            "devices/dev-1/messages/events", "devices/dev-1/messages/events/", "devices/dev-1/messages/events/?a=1",
            "devices/dev-1/messages/events/a=1&b=2", "devices/dev-1/messages/eventsx", "devices/dev-2/messages/events/",
            "devices/dev-1/messages", "", "$iothub/twin/GET/?$rid=1",
        ]
        let fast = TelemetryTopic(of: Self.device)
        for topic in cases {
            let bag = Array(topic.utf8).withUnsafeBytes { raw in
                fast.bagRange(in: raw).map { String(decoding: raw[$0], as: UTF8.self) }
            }
            var expected: String?
            if case .telemetry(let text)? = try? HubTopics.publish(topic, from: Self.device).publish { expected = text }
            #expect(bag == expected, "\(topic)")
        }
    }

    @Test("random topics never trap", arguments: 0..<8 as Range<UInt64>)
    func random(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let pieces = [
            "devices", "dev-1", "/", "/", "$iothub", "$fieldline", "twin", "res", "?", "$rid=", "&", "=", "messages",
            "events",
            "methods", "\u{301}", "é", "+", "#", "%", "%2", "modules", "PATCH/properties/reported", "\u{0}", "-1",
            "$version=",
        ]
        for _ in 0..<2000 {
            let topic = (0..<Int.random(in: 0...10, using: &random)).map { _ in
                pieces.randomElement(using: &random) ?? ""
            }.joined()
            _ = try? HubTopics.publish(topic, from: Self.device)
            _ = try? HubTopics.subscription(topic, from: Self.device)
            _ = try? HubTopics.delivery(topic, to: Self.module)
            _ = try? PropertyBag(parsing: topic)
            _ = try? ConnectUserName(parsing: topic)
            _ = try? SASToken(parsing: "SharedAccessSignature " + topic)
            _ = try? ConnectionString(parsing: topic)
        }
    }
}
