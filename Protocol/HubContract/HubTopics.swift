public import Primitives

/// What a device's PUBLISH asks for, by its topic.
public enum DevicePublish: Hashable, Sendable {
    /// `devices/D/messages/events/{bag}`; the bag is as sent, without a leading `?`.
    case telemetry(bagText: String)
    /// `$iothub/twin/GET/?$rid=…`
    case twinGet(rid: String)
    /// `$iothub/twin/PATCH/properties/reported/?$rid=…[&$version=N]`
    case reportedPatch(rid: String, ifVersion: Int64?)
    /// `$iothub/methods/res/{status}/?$rid=…`; any integer, negative ones too.
    case methodResponse(status: Int, rid: String)
    /// `$fieldline/time/GET/?$rid=…`
    case timeGet(rid: String)
}

/// For whom a gateway subscribes.
public enum SubscriptionScope: Hashable, Sendable {
    /// For itself: every ordinary IoT Hub filter.
    case own
    /// `$fieldline/{child}/…`
    case child(DeviceID)
    /// `$fieldline/+/…`
    case everyChild
}

/// What the hub publishes to a device, by its topic: the client's side.
public enum HubPublish: Hashable, Sendable {
    case cloudToDevice(bagText: String)
    case moduleInput(name: String, bagText: String)
    case methodRequest(name: String, rid: String)
    case twinResponse(status: Int, rid: String, version: Int64?)
    case desiredChanged(version: Int64)
    case receipt
    case time(rid: String)
}

/// The only place that builds or reads the topics of IoT Hub's MQTT 3.1.1 endpoint and of the Fieldline extension:
/// `$fieldline/{child}/` before a child's own topic, `$fieldline/receipts` and `$fieldline/time`.
///
/// Ids stand in topics as they are, not encoded. Request ids are opaque: what came is sent back.
public enum HubTopics {
    public static let receipts = "$fieldline/receipts"
    static let extensionRoot = "$fieldline/"
    // A child may be called "time": its own topics go on with devices/ or $iothub/, never with these.
    static let timeGetPath = "$fieldline/time/GET"
    static let timeAnswerPath = "$fieldline/time/res/200"
    static let timeFilter = "$fieldline/time/res/#"

    /// The topic of the same message for a child, on its gateway's connection.
    public static func child(_ child: DeviceID, _ topic: String) -> String { "\(extensionRoot)\(child)/\(topic)" }

    // MARK: - From the hub to the device

    public static func cloudToDevice(to target: HubIdentity, bag: PropertyBag) -> String {
        "\(base(of: target))/messages/devicebound/\(bag.encoded())"
    }

    public static func moduleInput(to target: HubIdentity, name: String, bag: PropertyBag) -> String {
        "\(base(of: target))/inputs/\(segment(name))/\(bag.encoded())"
    }

    public static func methodRequest(name: String, rid: String) -> String {
        "$iothub/methods/POST/\(segment(name))/?$rid=\(rid)"
    }

    /// `version` is told with a 204: the reported version after the patch.
    public static func twinResponse(rid: String, status: Int, version: Int64?) -> String {
        let topic = "$iothub/twin/res/\(status)/?$rid=\(rid)"
        return version.map { topic + "&$version=\($0)" } ?? topic
    }

    public static func desiredPush(version: Int64) -> String {
        "$iothub/twin/PATCH/properties/desired/?$version=\(version)"
    }

    public static func timeResponse(rid: String) -> String { "\(timeAnswerPath)/?$rid=\(rid)" }

    // MARK: - From the device to the hub

    public static func timeGet(rid: String) -> String { "\(timeGetPath)/?$rid=\(rid)" }

    public static func events(from source: HubIdentity, bag: PropertyBag) -> String {
        "\(eventsBase(of: source))/\(bag.encoded())"
    }

    public static func twinGet(rid: String) -> String { "$iothub/twin/GET/?$rid=\(rid)" }

    public static func reportedPatch(rid: String, ifVersion: Int64? = nil) -> String {
        let topic = "$iothub/twin/PATCH/properties/reported/?$rid=\(rid)"
        return ifVersion.map { topic + "&$version=\($0)" } ?? topic
    }

    public static func methodResponse(status: Int, rid: String) -> String {
        "$iothub/methods/res/\(status)/?$rid=\(rid)"
    }

    /// The filter to subscribe with. Receipts come on one topic whatever the scope.
    public static func filter(
        _ subscription: DeviceSubscription, scope: SubscriptionScope = .own, of identity: HubIdentity
    ) -> String {
        let owner: String
        switch scope {
        case .own: owner = base(of: identity)
        case .child(let child): owner = base(of: HubIdentity(child))
        case .everyChild: owner = "devices/+"
        }
        let filter =
            switch subscription {
            case .cloudToDevice: "\(owner)/messages/devicebound/#"
            case .moduleInputs: "\(owner)/inputs/#"
            case .methods: "$iothub/methods/POST/#"
            case .twinResponses: "$iothub/twin/res/#"
            case .desiredChanges: "$iothub/twin/PATCH/properties/desired/#"
            case .receipts: receipts
            case .timeResponses: timeFilter
            }
        guard subscription.isOfChildren else { return filter }
        switch scope {
        case .own: return filter
        case .child(let id): return child(id, filter)
        case .everyChild: return "\(extensionRoot)+/\(filter)"
        }
    }

    // MARK: - Pieces

    static func base(of identity: HubIdentity) -> String { identity.resourcePath.joined(separator: "/") }

    static func eventsBase(of identity: HubIdentity) -> String { base(of: identity) + "/messages/events" }

    /// A name as one topic level: what would end the level or make a wildcard is percent-encoded.
    private static func segment(_ name: String) -> String {
        var text = ""
        for scalar in name.unicodeScalars {
            let isSafe = scalar.value > 0x20 && !"/+#%?".unicodeScalars.contains(scalar)
            text += isSafe ? String(scalar) : PercentEncoding.encode(String(scalar))
        }
        return text
    }
}
