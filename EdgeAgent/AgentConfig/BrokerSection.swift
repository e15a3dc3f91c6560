import ConfigText
import LocalMQTT
import Primitives

enum BrokerSection {
    static func read(_ section: ConfigSection, _ devices: KnownDevices) -> BrokerSettings {
        let name = devices.driverName(section, expected: "a name for this broker") ?? "mqtt"
        let host = section.text("host", default: "127.0.0.1", expected: "a host name or an address")
        var mqtt = LocalMQTTConfig(
            name: name, host: host, port: UInt16(section.integer("port", default: 1883, in: 1...65_535)),
            clientID: section.text("client_id", default: "fieldline-\(name)"), topics: [])
        mqtt.userName = section.optionalText("user")
        mqtt.keepAlive = section.duration("keep_alive", default: mqtt.keepAlive, in: .seconds(5) ... .seconds(3600))
        mqtt.payloadBytesMax =
            section.bytes(
                "payload_max", default: ByteCount(bytes: mqtt.payloadBytesMax),
                in: ByteCount(bytes: 1) ... .kibibytes(256)
            ).bytes
        mqtt.readingsPerMessageMax = section.integer(
            "readings_per_message_max", default: mqtt.readingsPerMessageMax, in: 1...4096)
        mqtt.inflightMax = section.integer("max_inflight", default: mqtt.inflightMax, in: 1...1000)
        mqtt.reconnectMost = section.duration(
            "reconnect_most", default: mqtt.reconnectMost, in: .milliseconds(50) ... .seconds(3600))
        mqtt.reconnectFirst = section.duration(
            "reconnect_first", default: min(mqtt.reconnectFirst, mqtt.reconnectMost),
            in: .milliseconds(50)...mqtt.reconnectMost)
        let mappings = section.sections("subscription", countMax: 256).map(mapping)
        mqtt.topics = mappings.compactMap(\.self)
        mqtt.commands = section.sections("command", countMax: 1024).compactMap(route)
        for device in mqtt.topics.compactMap(\.device) {
            guard let other = devices.claim(device.text, by: name) else { continue }
            section.problem("the device \(device) is read by the driver '\(other)' already")
        }
        DriverProblems.note(mqtt.problems(), in: section, "topics", isRead: mappings.map { $0 != nil })
        return BrokerSettings(
            mqtt: mqtt, passwordFile: section.optionalText("password_file", expected: "the path of a file"))
    }

    private static func mapping(_ section: ConfigSection) -> TopicMapping? {
        let template = section.required(
            "topic", expected: "a topic, with {device} and {metric} for the levels that name them"
        ) { TopicTemplate($0) }
        var mapping = template.map { TopicMapping(template: $0) }
        let device = section.optional("device", expected: "a device id") { DeviceID($0) }
        let metric = section.optionalText("metric")
        let payload = section.choice(
            "payload", default: TopicMapping.PayloadForm.automatic,
            ["auto": .automatic, "json": .json, "plain": .plain])
        let quality = UInt8(section.integer("qos", default: 1, in: 0...1))
        let units = section.section("units")
        let members = section.section("members")
        mapping?.device = device
        mapping?.metric = metric
        mapping?.payload = payload
        mapping?.qualityOfService = quality
        mapping?.units = TextTable.read(units)
        mapping?.members = TextTable.read(members).sorted { $0.key < $1.key }
            .map { TopicMapping.Member(path: $0.value, metric: $0.key) }
        return mapping
    }

    private static func route(_ section: ConfigSection) -> CommandRoute? {
        let name = section.requiredText("name", expected: "the command's name, such as \"Reset\"")
        let topic = section.requiredText("topic", expected: "the topic to publish to")
        let device = section.optional("device", expected: "a device id") { DeviceID($0) }
        let payload = section.text("payload", default: "{payload}", expected: "what to publish")
        let answer = section.optionalText("answer_topic", expected: "the topic that the device answers on")
        let isRetained = section.flag("retain", default: false)
        guard let name, let topic else { return nil }
        var route = CommandRoute(
            command: name, device: device, topic: TextTemplate(topic), payload: TextTemplate(payload),
            answerTopic: answer.map { TextTemplate($0) })
        route.isRetained = isRetained
        return route
    }
}

/// A table whose values are texts: `{ temperature = "Cel" }`.
enum TextTable {
    static func read(_ section: ConfigSection) -> [String: String] {
        var texts: [String: String] = [:]
        for key in section.keys { texts[key] = section.optionalText(key) }
        return texts
    }
}

/// What a driver's own check says, under the names that the file uses.
enum DriverProblems {
    private static let names = [
        "topics": "subscription", "commands": "command", "units": "unit", "registers": "register", "unit_id": "unit",
    ]

    /// - Parameters:
    ///   - list: the member whose elements were read from tables.
    ///   - isRead: for each table whether it could be read. What could not be was named already, and the check does not
    ///     know of it: it counts only the others.
    static func note(
        _ problems: [(key: String, problem: String)], in section: ConfigSection, _ list: String, isRead: [Bool]
    ) {
        let places = isRead.indices.filter { isRead[$0] }
        for (key, problem) in problems where key != list || places.count == isRead.count {
            section.problem(path(placed(key, list, places)), expected: problem)
        }
    }

    /// `key` with the index that its element of `list` has among all tables.
    private static func placed(_ key: String, _ list: String, _ places: [Int]) -> String {
        guard key.hasPrefix(list + "["), let end = key.firstIndex(of: "]"),
            let index = Int(key[..<end].dropFirst(list.count + 1)), places.indices.contains(index)
        else { return key }
        return "\(list)[\(places[index])\(key[end...])"
    }

    /// `units[0].registers[2].type` is `unit[1].register[3].type` in the file: lists count from 1 there.
    static func path(_ key: String) -> String {
        key.split(separator: ".").map { part in
            guard let open = part.firstIndex(of: "["), part.last == "]",
                let index = Int(part[part.index(after: open)...].dropLast())
            else { return names[String(part)] ?? String(part) }
            let name = String(part[..<open])
            return "\(names[name] ?? name)[\(index + 1)]"
        }.joined(separator: ".")
    }
}
