import JSON
import Primitives
import Telemetry

/// Why a message gave no readings.
enum MessageProblem: Error, Equatable, CustomStringConvertible {
    case unmappedTopic
    case topicNotUTF8
    case deviceNameNotAllowed(String)
    case oversize(bytes: Int, bytesMax: Int)
    case brokenJSON(JSONError)
    case payloadNotUTF8
    case textTooLong(bytes: Int)
    case numberTooLong
    case metricNameTooLong(bytes: Int)
    case noMetric
    case noValue
    case tooManyReadings(countMax: Int)

    var description: String {
        switch self {
        case .unmappedTopic:
            "no topic mapping matches; the broker may keep a subscription of an earlier configuration"
        case .topicNotUTF8: "the topic name is not UTF-8"
        case .deviceNameNotAllowed(let name):
            "'\(name)' in the topic cannot be a device id: 1 to 128 letters, digits and -:.+%_#*?!(),=@;$'"
        case .oversize(let bytes, let bytesMax): "the payload has \(bytes) bytes, most is \(bytesMax)"
        case .brokenJSON(let error): "\(error)"
        case .payloadNotUTF8: "the payload is not UTF-8 text"
        case .textTooLong(let bytes): "the text has \(bytes) bytes, most is \(MessageReader.textBytesMax)"
        case .numberTooLong: "a number has over \(DecimalText.bytesMax) characters"
        case .metricNameTooLong(let bytes):
            "a value's name has \(bytes) bytes, 1 to \(TelemetryLimits.metricBytesMax) are allowed"
        case .noMetric: "the value has no name: give the mapping a metric, or publish an object"
        case .noValue: "there is no value in it"
        case .tooManyReadings(let countMax): "it holds more than \(countMax) readings"
        }
    }
}

/// Turns a message of the local broker into readings. Pure: bytes and times in, readings out.
struct MessageReader {
    static let textBytesMax = TelemetryLimits.valueTextBytesMax
    /// Topics remembered at once; a full table is emptied and fills again.
    static let routesMax = 4096
    /// Local payloads nest less than this.
    static let depthMax = 16

    struct Stamp {
        var time: WallInstant
        var clock: ClockQuality
        var quality: ReadingQuality
    }

    private struct Route {
        let mapping: Int
        let device: DeviceID
        let metric: String?
    }

    private let mappings: [TopicMapping]
    private let membersByPath: [[String: String]]
    private let limits: JSONLimits
    private let payloadBytesMax: Int
    private let readingsMax: Int
    private var routes: [String: Result<Route, MessageProblem>] = [:]

    init(config: LocalMQTTConfig) {
        mappings = config.topics
        membersByPath = config.topics.map { mapping in
            Dictionary(mapping.members.map { ($0.path, $0.metric) }, uniquingKeysWith: { first, _ in first })
        }
        limits = JSONLimits(bytesMax: config.payloadBytesMax, depthMax: Self.depthMax)
        payloadBytesMax = config.payloadBytesMax
        readingsMax = config.readingsPerMessageMax
    }

    /// Appends the message's readings and says whose they are; after an error nothing was appended.
    mutating func read(
        topic: String, payload: UnsafeBufferPointer<UInt8>, stamp: Stamp, into readings: inout [Reading]
    ) throws(MessageProblem) -> DeviceID {
        let route = try route(of: topic).get()
        guard payload.count <= payloadBytesMax else {
            throw .oversize(bytes: payload.count, bytesMax: payloadBytesMax)
        }
        switch mappings[route.mapping].payload {
        case .plain: try readPlain(payload, route, stamp, &readings)
        case .json: try readJSON(payload, route, stamp, &readings)
        case .automatic where Self.looksLikeJSON(payload): try readJSON(payload, route, stamp, &readings)
        case .automatic: try readPlain(payload, route, stamp, &readings)
        }
        return route.device
    }

    private mutating func route(of topic: String) -> Result<Route, MessageProblem> {
        if let known = routes[topic] { return known }
        if routes.count >= Self.routesMax { routes.removeAll(keepingCapacity: true) }
        let found = findRoute(of: topic)
        routes[topic] = found
        return found
    }

    private func findRoute(of topic: String) -> Result<Route, MessageProblem> {
        for (index, mapping) in mappings.enumerated() {
            guard let captures = mapping.template.captures(of: topic) else { continue }
            let metric = captures.metric.map(String.init) ?? mapping.metric
            if let device = mapping.device {
                return .success(Route(mapping: index, device: device, metric: metric))
            }
            let name = captures.device ?? ""
            guard let device = DeviceID(name) else {
                return .failure(.deviceNameNotAllowed(String(name.prefix(128))))
            }
            return .success(Route(mapping: index, device: device, metric: metric))
        }
        return .failure(.unmappedTopic)
    }

    private static func looksLikeJSON(_ payload: UnsafeBufferPointer<UInt8>) -> Bool {
        let first = payload.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0A && $0 != 0x0D }
        return first == UInt8(ascii: "{") || first == UInt8(ascii: "[")
    }
}

// MARK: - Plain payloads

extension MessageReader {
    private func readPlain(
        _ payload: UnsafeBufferPointer<UInt8>, _ route: Route, _ stamp: Stamp, _ readings: inout [Reading]
    ) throws(MessageProblem) {
        guard let metric = route.metric else { throw .noMetric }
        guard (1...TelemetryLimits.metricBytesMax).contains(metric.utf8.count) else {
            throw .metricNameTooLong(bytes: metric.utf8.count)
        }
        guard payload.count <= Self.textBytesMax else { throw .textTooLong(bytes: payload.count) }
        guard let text = String(validating: payload, as: UTF8.self) else { throw .payloadNotUTF8 }
        let trimmed = Self.trim(text)
        guard !trimmed.isEmpty else { throw .noValue }
        readings.append(reading(Self.plainValue(trimmed), metric, route, stamp))
    }

    private static func trim(_ text: String) -> String {
        guard let first = text.firstIndex(where: { !$0.isWhitespace }),
            let last = text.lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(text[first...last])
    }

    /// A JSON number (a leading `+` is forgiven), then the words for true and false, else the text itself.
    private static func plainValue(_ text: String) -> ReadingValue {
        if let number = JSONNumber(text: text.hasPrefix("+") ? text.dropFirst() : text[...]),
            let decimal = DecimalText(number.text)
        {
            return .number(decimal)
        }
        switch text.lowercased() {
        case "on", "true": return .boolean(true)
        case "off", "false": return .boolean(false)
        default: return .text(text)
        }
    }

    private func reading(_ value: ReadingValue, _ metric: String, _ route: Route, _ stamp: Stamp) -> Reading {
        Reading(
            device: route.device, metric: metric, value: value, unit: mappings[route.mapping].units[metric],
            time: stamp.time, quality: stamp.quality, clock: stamp.clock)
    }
}

// MARK: - JSON payloads

extension MessageReader {
    private func readJSON(
        _ payload: UnsafeBufferPointer<UInt8>, _ route: Route, _ stamp: Stamp, _ readings: inout [Reading]
    ) throws(MessageProblem) {
        let document: JSONValue
        do {
            document = try JSONValue(parsing: payload, limits: limits)
        } catch {
            throw .brokenJSON(error)
        }
        var walk = Walk(route: route, stamp: stamp)
        try visit(document, path: "", &walk)
        if walk.readings.isEmpty { throw .noValue }
        readings += walk.readings
    }

    /// One message on its way through `visit`.
    private struct Walk {
        let route: Route
        let stamp: Stamp
        var readings: [Reading] = []
    }

    /// Depth is bounded by the parser's limit.
    private func visit(_ value: JSONValue, path: String, _ walk: inout Walk) throws(MessageProblem) {
        let leaf: ReadingValue
        switch value {
        case .null: return
        case .object(let object):
            for member in object.members {
                try visit(member.value, path: Self.join(path, member.key), &walk)
            }
            return
        case .array(let elements):
            for (index, element) in elements.enumerated() {
                try visit(element, path: Self.join(path, String(index)), &walk)
            }
            return
        case .bool(let flag): leaf = .boolean(flag)
        case .number(let number):
            guard let decimal = DecimalText(number.text) else { throw .numberTooLong }
            leaf = .number(decimal)
        case .string(let text):
            guard text.utf8.count <= Self.textBytesMax else { throw .textTooLong(bytes: text.utf8.count) }
            leaf = .text(text)
        }
        guard let metric = try metric(at: path, walk.route) else { return }
        guard (1...TelemetryLimits.metricBytesMax).contains(metric.utf8.count) else {
            throw .metricNameTooLong(bytes: metric.utf8.count)
        }
        guard walk.readings.count < readingsMax else { throw .tooManyReadings(countMax: readingsMax) }
        walk.readings.append(reading(leaf, metric, walk.route, walk.stamp))
    }

    private static func join(_ path: String, _ step: String) -> String { path.isEmpty ? step : path + "." + step }

    /// `nil` when the mapping does not want this member.
    private func metric(at path: String, _ route: Route) throws(MessageProblem) -> String? {
        let wanted = membersByPath[route.mapping]
        if !wanted.isEmpty { return wanted[path] }
        switch (route.metric, path) {
        case (nil, ""): throw .noMetric
        case (nil, _): return path
        case (let metric?, ""): return metric
        case (let metric?, _): return metric + "." + path
        }
    }
}
