public import Primitives

extension HubTopics {
    /// What a PUBLISH by this identity asks for, and for which child when it came through the extension.
    public static func publish(
        _ topicName: String, from identity: HubIdentity
    ) throws(TopicError) -> (child: DeviceID?, publish: DevicePublish) {
        if let rest = Substring(topicName).dropping(timeGetPath) {
            return (nil, .timeGet(rid: try requestID(rest, TopicContext(topicName, identity))))
        }
        let (child, inner) = try unwrapped(topicName, identity)
        let speaker = child.map { HubIdentity($0) } ?? identity
        if let rest = inner.dropping("$iothub/") {
            return (child, try request(rest, TopicContext(topicName, identity)))
        }
        if let rest = inner.dropping(eventsBase(of: speaker)), rest.isEmpty || rest.utf8.first == UInt8(ascii: "/") {
            let bag = rest.dropping("/") ?? rest
            return (child, .telemetry(bagText: String(bag.dropping("?") ?? bag)))
        }
        throw foreignOrUnknown(inner, speaker, TopicContext(topicName, identity))
    }

    /// What a SUBSCRIBE or UNSUBSCRIBE filter by this identity stands for.
    public static func subscription(
        _ filter: String, from identity: HubIdentity
    ) throws(TopicError) -> (scope: SubscriptionScope, subscription: DeviceSubscription) {
        if filter == receipts {
            guard identity.module == nil else { throw TopicError(.unknownFilter, TopicContext(filter, identity)) }
            return (.own, .receipts)
        }
        if filter == timeFilter { return (.own, .timeResponses) }
        var scope = SubscriptionScope.own
        var inner = Substring(filter)
        var owners = [base(of: identity)]
        if let rest = inner.dropping(extensionRoot + "+/"), identity.module == nil {
            (scope, inner, owners) = (.everyChild, rest, ["devices/+"])
        } else {
            let (child, rest) = try unwrapped(filter, identity)
            if let child { (scope, inner, owners) = (.child(child), rest, ["devices/\(child)", "devices/+"]) }
        }
        switch inner {
        case "$iothub/methods/POST/#": return (scope, .methods)
        case "$iothub/twin/res/#": return (scope, .twinResponses)
        case "$iothub/twin/PATCH/properties/desired/#": return (scope, .desiredChanges)
        // A client that names the one answer it waits for, as request-and-response tools do, gets it like any other.
        case let answer where answer.hasPrefix("$iothub/twin/res/"): return (scope, .twinResponses)
        default: break
        }
        for owner in owners {
            guard let rest = inner.dropping(owner + "/") else { continue }
            if rest == "messages/devicebound/#" { return (scope, .cloudToDevice) }
            if scope == .own, identity.module != nil, rest == "inputs/#" || rest == "#" {
                return (scope, .moduleInputs)
            }
        }
        let speaker: HubIdentity
        if case .child(let child) = scope { speaker = HubIdentity(child) } else { speaker = identity }
        let context = TopicContext(filter, identity)
        let error = foreignOrUnknown(inner, speaker, context)
        throw error.problem == .unknownTopic ? TopicError(.unknownFilter, context) : error
    }

    /// What the hub sent, read by the client that it was sent to.
    public static func delivery(
        _ topicName: String, to identity: HubIdentity
    ) throws(TopicError) -> (child: DeviceID?, publish: HubPublish) {
        if topicName == receipts { return (nil, .receipt) }
        if let rest = Substring(topicName).dropping(timeAnswerPath) {
            return (nil, .time(rid: try requestID(rest, TopicContext(topicName, identity))))
        }
        let (child, inner) = try unwrapped(topicName, identity)
        let context = TopicContext(topicName, identity)
        let target = child.map { HubIdentity($0) } ?? identity
        if let rest = inner.dropping("$iothub/") { return (child, try order(rest, context)) }
        if let bag = inner.dropping(base(of: target) + "/messages/devicebound/") {
            return (child, .cloudToDevice(bagText: String(bag)))
        }
        if target.module != nil, let rest = inner.dropping(base(of: target) + "/inputs/") {
            let parts = rest.cut(at: "/", maxSplits: 1)
            let name = PercentEncoding.decode(parts[0]) ?? String(parts[0])
            return (child, .moduleInput(name: name, bagText: parts.count > 1 ? String(parts[1]) : ""))
        }
        throw foreignOrUnknown(inner, target, context)
    }

    // MARK: - Parts

    /// Takes `$fieldline/{child}/` off.
    private static func unwrapped(
        _ topic: String, _ identity: HubIdentity
    ) throws(TopicError) -> (child: DeviceID?, inner: Substring) {
        guard let rest = Substring(topic).dropping(extensionRoot) else { return (nil, Substring(topic)) }
        let context = TopicContext(topic, identity)
        guard identity.module == nil else { throw TopicError(.moduleIsNoGateway, context) }
        let parts = rest.cut(at: "/", maxSplits: 1)
        guard parts.count == 2, let child = DeviceID(parts[0]) else { throw TopicError(.badChild, context) }
        return (child, parts[1])
    }

    private static func request(_ rest: Substring, _ context: TopicContext) throws(TopicError) -> DevicePublish {
        let (path, query) = split(rest)
        let rid = query.raw("$rid").map(String.init) ?? ""
        let publish: DevicePublish
        if path == "twin/GET" {
            publish = .twinGet(rid: rid)
        } else if path == "twin/PATCH/properties/reported" {
            publish = .reportedPatch(rid: rid, ifVersion: try version(query, context))
        } else if let text = path.dropping("methods/res/") {
            guard let status = Int(text) else { throw TopicError(.badStatus, context) }
            publish = .methodResponse(status: status, rid: rid)
        } else {
            throw TopicError(.unknownTopic, context)
        }
        guard !rid.isEmpty else { throw TopicError(.missingRequestID, context) }
        return publish
    }

    private static func order(_ rest: Substring, _ context: TopicContext) throws(TopicError) -> HubPublish {
        let (path, query) = split(rest)
        if path == "twin/PATCH/properties/desired" {
            guard let version = try version(query, context) else { throw TopicError(.badVersion, context) }
            return .desiredChanged(version: version)
        }
        guard let rid = query.raw("$rid").map(String.init), !rid.isEmpty else {
            throw TopicError(.missingRequestID, context)
        }
        if let name = path.dropping("methods/POST/") {
            return .methodRequest(name: PercentEncoding.decode(name) ?? String(name), rid: rid)
        }
        if let text = path.dropping("twin/res/") {
            guard let status = Int(text) else { throw TopicError(.badStatus, context) }
            return .twinResponse(status: status, rid: rid, version: try version(query, context))
        }
        throw TopicError(.unknownTopic, context)
    }

    /// What is left of a topic that is a request or its answer, and nothing else.
    private static func requestID(_ rest: Substring, _ context: TopicContext) throws(TopicError) -> String {
        let (path, query) = split(rest)
        guard path.isEmpty else { throw TopicError(.unknownTopic, context) }
        guard let rid = query.raw("$rid"), !rid.isEmpty else { throw TopicError(.missingRequestID, context) }
        return String(rid)
    }

    /// `a/b/?q` or `a/b?q` as `a/b` and its query.
    private static func split(_ rest: Substring) -> (path: Substring, query: Query) {
        let halves = rest.cut(at: "?", maxSplits: 1)
        let path = halves[0].utf8
        let isSlashed = path.last == UInt8(ascii: "/")
        return (Substring(isSlashed ? path.dropLast() : path), Query(halves.count > 1 ? halves[1] : ""))
    }

    private static func version(_ query: Query, _ context: TopicContext) throws(TopicError) -> Int64? {
        guard let text = query.raw("$version") else { return nil }
        guard let version = Int64(text), version >= 0 else { throw TopicError(.badVersion, context) }
        return version
    }

    /// A topic under `devices/` names its owner: then the error names both.
    private static func foreignOrUnknown(
        _ inner: Substring, _ speaker: HubIdentity, _ context: TopicContext
    ) -> TopicError {
        let parts = inner.cut(at: "/", maxSplits: 4)
        guard parts.count >= 3, parts[0] == "devices", let device = DeviceID(parts[1]) else {
            return TopicError(.unknownTopic, context)
        }
        let owner =
            parts.count > 3 && parts[2] == "modules" ? HubIdentity(device, module: parts[3]) : HubIdentity(device)
        guard let owner, owner != speaker else { return TopicError(.unknownTopic, context) }
        return TopicError(.belongsTo(owner, speaker: speaker), context)
    }
}

/// Which topic, used by whom.
struct TopicContext {
    let topic: String
    let identity: HubIdentity

    init(_ topic: String, _ identity: HubIdentity) {
        self.topic = topic
        self.identity = identity
    }
}

/// Why a topic or filter is refused. The hub closes the connection or answers 0x80. Not retryable.
public struct TopicError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        /// The topic is another identity's than the one that speaks (itself, or the child it speaks for).
        case belongsTo(HubIdentity, speaker: HubIdentity)
        case unknownTopic
        case unknownFilter
        case missingRequestID
        case badStatus
        case badVersion
        case badChild
        case moduleIsNoGateway
    }

    public let problem: Problem
    /// The topic or filter, cut to 256 characters.
    public let topic: String
    public let identity: HubIdentity
    public var isRetryable: Bool { false }

    init(_ problem: Problem, _ context: TopicContext) {
        self.problem = problem
        topic = String(context.topic.prefix(256))
        identity = context.identity
    }

    public var description: String {
        let what =
            switch problem {
            case .belongsTo(let owner, let speaker): "it belongs to \(owner.spoken), not to \(speaker.spoken)"
            case .unknownTopic: "the hub has no such topic; check it against IoT Hub's MQTT topics"
            case .unknownFilter: "the hub has nothing to subscribe to there; check it against IoT Hub's MQTT filters"
            case .missingRequestID: "the request id is missing; end the topic with '/?$rid={any text}'"
            case .badStatus: "the status is not a whole number"
            case .badVersion: "the $version is not a whole number"
            case .badChild: "no device id of a child stands after '\(HubTopics.extensionRoot)'"
            case .moduleIsNoGateway: "a module cannot speak for child devices; connect as the gateway's device"
            }
        return "\(identity.spoken) cannot use topic '\(topic)': \(what)"
    }
}
