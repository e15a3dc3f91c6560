public import Primitives
import Telemetry

/// One local broker and what to make of its topics. Plain values; `problems()` checks them without any I/O.
public struct LocalMQTTConfig: Sendable {
    /// Unique among the agent's drivers.
    public var name: String
    /// Host name or address of the broker.
    public var host: String
    /// Default 1883.
    public var port: UInt16
    /// Fixed, so that the broker keeps the session while the agent is away. 1 to 64 bytes; unique at the broker.
    public var clientID: String
    public var userName: String?
    public var password: Secret?
    /// Default 30 s. Range 5 s … 1 h, whole seconds.
    public var keepAlive: Duration = .seconds(30)
    /// QoS 1 messages that the broker sends before it waits for an acknowledgement, as it is configured (mosquitto:
    /// `max_inflight_messages`, 20 unless set). When so many wait to be kept they are kept at once, whatever the commit
    /// interval is, because the broker sends nothing more before. Default 20. Range 1 … 1000.
    public var inflightMax = 20
    /// What to subscribe to; 1 to 256. A topic name is read by the first mapping that matches it.
    public var topics: [TopicMapping]
    /// How a command reaches a device; at most 1024.
    public var commands: [CommandRoute]
    /// Larger messages are refused: acknowledged, not kept, named in the log. Default and most: 256 KiB.
    public var payloadBytesMax = 262_144
    /// Readings that one message may hold; a message with more is refused. Default 256. Range 1 … 4096.
    public var readingsPerMessageMax = 256
    /// Wait before the first reconnect. Default 500 ms. Range 50 ms … `reconnectMost`.
    public var reconnectFirst: Duration = .milliseconds(500)
    /// Longest wait between two tries. Default 30 s, most 1 h.
    public var reconnectMost: Duration = .seconds(30)

    public init(
        name: String, host: String, port: UInt16 = 1883, clientID: String, topics: [TopicMapping]
    ) {
        self.name = name
        self.host = host
        self.port = port
        self.clientID = clientID
        self.topics = topics
        commands = []
    }
}

/// How to read the messages of one topic template.
public struct TopicMapping: Sendable {
    public enum PayloadForm: String, Sendable, CaseIterable {
        /// JSON when it begins like an object or an array, else plain. The default.
        case automatic = "auto"
        /// An object's members become metrics under their dotted path; a bare scalar needs a metric.
        case json
        /// One value: a number, `on`/`off`/`true`/`false`, or a text of up to 4 KiB. Needs a metric.
        case plain
    }

    /// Picks one member and says what it is called here.
    public struct Member: Sendable, Equatable {
        /// Dotted path in the JSON payload: `sensor.temperature`, `values.0`.
        public var path: String
        public var metric: String

        public init(path: String, metric: String) {
            self.path = path
            self.metric = metric
        }
    }

    /// Where the values come from; see `TopicTemplate`.
    public var template: TopicTemplate
    /// 0 or 1. Default 1: acknowledged to the broker only when durable here.
    public var qualityOfService: UInt8 = 1
    /// The device, when the template has no `{device}`.
    public var device: DeviceID?
    /// The metric of a plain payload, when the template has no `{metric}`.
    public var metric: String?
    public var payload = PayloadForm.automatic
    /// Only these members, under these names; empty means every member.
    public var members: [Member] = []
    /// Metric to unit (UCUM), for what has one.
    public var units: [String: String] = [:]

    public init(template: TopicTemplate, device: DeviceID? = nil, metric: String? = nil) {
        self.template = template
        self.device = device
        self.metric = metric
    }
}

/// How one command reaches devices: published as QoS 1, and confirmed by the broker or by the device itself.
public struct CommandRoute: Sendable {
    /// `SetValue`, `Reset`, `Notify` or a name of the plant's own.
    public var command: String
    /// Only this device; `nil` for every device that this driver serves.
    public var device: DeviceID?
    /// Where to publish; `{device}` stands for the device's id.
    public var topic: TextTemplate
    /// What to publish. `{payload}` is the command's payload as it came, `{payload.a.b}` one member of it as JSON,
    /// `{device}`, `{command}`, `{id}` (a number of this run, for answers). Default `{payload}`.
    public var payload: TextTemplate
    /// Where the device answers; `{device}` as above. When set, the command is executed when an answer has come, and
    /// failed when none came in time. An answer that is an object with an `id` belongs to the command of that number;
    /// a member `error` that is not null makes it failed.
    public var answerTopic: TextTemplate?
    public var isRetained = false

    public init(
        command: String, device: DeviceID? = nil, topic: TextTemplate, payload: TextTemplate = .payload,
        answerTopic: TextTemplate? = nil
    ) {
        self.command = command
        self.device = device
        self.topic = topic
        self.payload = payload
        self.answerTopic = answerTopic
    }
}

extension LocalMQTTConfig {
    /// Everything that is wrong, each as key below this driver's table and sentence; empty when it may be used.
    public func problems() -> [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        if host.isEmpty || host.utf8.count > 255 { found.append(("host", "needs 1 to 255 characters")) }
        if port == 0 { found.append(("port", "needs 1 to 65535")) }
        if !(1...64).contains(clientID.utf8.count) { found.append(("client_id", "needs 1 to 64 bytes")) }
        if !(Duration.seconds(5)...(.seconds(3600))).contains(keepAlive) {
            found.append(("keep_alive", "needs 5s to 1h"))
        }
        if !(1...256).contains(topics.count) { found.append(("topics", "needs 1 to 256 topics")) }
        if commands.count > 1024 { found.append(("commands", "has \(commands.count), most is 1024")) }
        if !(1...262_144).contains(payloadBytesMax) { found.append(("payload_max", "needs 1 to 262144 bytes")) }
        if !(1...4096).contains(readingsPerMessageMax) {
            found.append(("readings_per_message_max", "needs 1 to 4096"))
        }
        if !(1...1000).contains(inflightMax) { found.append(("max_inflight", "needs 1 to 1000")) }
        if reconnectFirst < .milliseconds(50) || reconnectFirst > reconnectMost {
            found.append(("reconnect_first", "needs 50ms up to reconnect_most"))
        }
        if reconnectMost > .seconds(3600) { found.append(("reconnect_most", "is at most 1h")) }
        for (index, mapping) in topics.enumerated() {
            for problem in mapping.problems { found.append(("topics[\(index)].\(problem.key)", problem.problem)) }
        }
        for (index, route) in commands.enumerated() {
            for problem in route.problems { found.append(("commands[\(index)].\(problem.key)", problem.problem)) }
        }
        return found
    }
}

extension TopicMapping {
    fileprivate var problems: [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        if device == nil, !template.namesDevice {
            found.append(("device", "is needed, because the topic has no {device}"))
        }
        if device != nil, template.namesDevice {
            found.append(("device", "is given twice: here and as {device} in the topic"))
        }
        if payload == .plain, metric == nil, !template.namesMetric {
            found.append(("metric", "is needed for a plain payload, because the topic has no {metric}"))
        }
        if qualityOfService > 1 { found.append(("qos", "is 0 or 1")) }
        if members.count > 1024 { found.append(("members", "has \(members.count), most is 1024")) }
        if let metric, !(1...TelemetryLimits.metricBytesMax).contains(metric.utf8.count) {
            found.append(("metric", "needs 1 to \(TelemetryLimits.metricBytesMax) bytes"))
        }
        for member in members where !(1...TelemetryLimits.metricBytesMax).contains(member.metric.utf8.count) {
            found.append(("members", "'\(member.path)' needs a metric of 1 to \(TelemetryLimits.metricBytesMax) bytes"))
        }
        for (metric, unit) in units where !(1...TelemetryLimits.unitBytesMax).contains(unit.utf8.count) {
            found.append(("units", "the unit of \(metric) needs 1 to \(TelemetryLimits.unitBytesMax) bytes"))
        }
        if units.count > 1024 { found.append(("units", "has \(units.count), most is 1024")) }
        return found
    }
}

extension CommandRoute {
    fileprivate var problems: [(key: String, problem: String)] {
        var found: [(key: String, problem: String)] = []
        if command.isEmpty || command.utf8.count > 100 { found.append(("command", "needs 1 to 100 bytes")) }
        if !topic.isTopicName { found.append(("topic", "must be a topic name: not empty, no + and no #")) }
        if let answerTopic, !answerTopic.isTopicName {
            found.append(("answer_topic", "must be a topic name: not empty, no + and no #"))
        }
        return found
    }
}
