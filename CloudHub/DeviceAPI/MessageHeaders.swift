import Devices
import HubContract
import Primitives

/// How the properties of a message travel as HTTP headers. Names of headers are compared without regard to case.
/// Source: Azure IoT Hub device REST API.
enum MessageHeaders {
    static let applicationPrefix = "iothub-app-"

    /// Header, lower case, to system property.
    private static let systemNames = [
        "iothub-messageid": "$.mid", "iothub-correlationid": "$.cid", "iothub-userid": "$.uid", "iothub-to": "$.to",
        "iothub-expiry": "$.exp", "iothub-contenttype": "$.ct", "iothub-contentencoding": "$.ce",
        "iothub-interface-id": "$.ifid",
    ]
    /// The order in which SDKs write system properties into a topic.
    private static let order = ["$.mid", "$.cid", "$.uid", "$.ct", "$.ce", "$.ifid", "$.to", "$.exp"]

    /// The property that a header of an event stands for; `nil` when it is none.
    static func property(_ header: String) -> String? {
        let name = header.lowercased()
        if let system = systemNames[name] { return system }
        guard name.hasPrefix(applicationPrefix), name != applicationPrefix else { return nil }
        // Of an application's own name the case counts.
        return String(header.dropFirst(applicationPrefix.count))
    }

    /// The bag of an event: system properties first, then the application's in their order.
    /// - Throws: 400 when there are more than a bag may have.
    static func bag(_ headers: some Sequence<(name: String, value: String)>) throws(HubError) -> PropertyBag {
        var system: [PropertyBag.Entry] = []
        var application: [PropertyBag.Entry] = []
        for header in headers {
            guard let name = property(header.name) else { continue }
            if name.hasPrefix("$.") {
                system.append(PropertyBag.Entry(name, header.value))
            } else {
                application.append(PropertyBag.Entry(name, header.value))
            }
            guard system.count + application.count <= PropertyBag.entriesMax else {
                throw HubError(.argumentInvalid, "the message has more than \(PropertyBag.entriesMax) properties")
            }
        }
        let place = { (entry: PropertyBag.Entry) in order.firstIndex(of: entry.name) ?? order.count }
        return PropertyBag(system.sorted { place($0) < place($1) } + application)
    }

    /// The headers of a message on its way to the device. A property whose name can be no header is left out.
    static func headers(of locked: LockedMessage) -> [(name: String, value: String)] {
        let message = locked.waiting.message
        var headers = [
            (name: "ETag", value: "\"\(locked.lock)\""),
            (name: "iothub-sequencenumber", value: String(locked.waiting.sequence)),
            (name: "iothub-enqueuedtime", value: message.enqueuedAt.description),
            // As in AMQP: those before this one.
            (name: "iothub-deliverycount", value: String(message.deliveries - 1)),
            (name: "iothub-ack", value: message.ack.rawValue),
        ]
        let names = [String: String](uniqueKeysWithValues: systemNames.map { ($0.value, $0.key) })
        for entry in (try? PropertyBag(parsing: message.bagText))?.entries ?? [] {
            if let name = names[entry.name] {
                headers.append((name: name, value: entry.value ?? ""))
            } else if entry.name != C2DAck.propertyName, !entry.name.hasPrefix("$.") {
                headers.append((name: applicationPrefix + entry.name, value: entry.value ?? ""))
            }
        }
        return headers
    }
}
