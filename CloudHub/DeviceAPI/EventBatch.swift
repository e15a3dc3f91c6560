import HubContract
import JSON
import Primitives

/// One event of a device, before it is stored.
struct NewEvent: Sendable, Equatable {
    let bagText: String
    let body: [UInt8]
}

/// Several events in one request: an array of `{"body", "base64Encoded", "properties"}`.
/// Source: Azure IoT Hub device REST API, batch of device-to-cloud messages.
enum EventBatch {
    static let contentType = "application/vnd.microsoft.iothub.json"
    /// Source: IoT Hub quotas.
    static let eventsMax = 500

    static func isBatch(contentType text: String?) -> Bool {
        guard let type = text?.split(separator: ";").first else { return false }
        return type.filter { $0 != " " }.lowercased() == contentType
    }

    /// - Throws: 400006 when it is no such array; 400004 and 413001 as for a single event.
    static func events(parsing bytes: [UInt8]) throws(HubError) -> [NewEvent] {
        let value: JSONValue
        do throws(JSONError) { value = try JSONValue(parsing: bytes) } catch {
            throw HubError(.iotHubFormatError, "the batch is no JSON: \(error)")
        }
        guard let items = value.arrayValue, !items.isEmpty, items.count <= eventsMax else {
            throw HubError(.iotHubFormatError, "a batch is an array of 1 to \(eventsMax) messages")
        }
        var events: [NewEvent] = []
        for (index, item) in items.enumerated() {
            let isEncoded = item["base64Encoded"]?.boolValue ?? true
            guard let text = item["body"]?.stringValue,
                let body = isEncoded ? Base64.decode(text) : Array(text.utf8)
            else {
                throw HubError(
                    .iotHubFormatError,
                    "message \(index + 1) of the batch has no body: base64, or text with \"base64Encoded\": false")
            }
            events.append(NewEvent(bagText: try bag(item["properties"], of: index).encoded(), body: body))
        }
        return events
    }

    /// Names are those of the headers; any other is an application's own.
    private static func bag(_ properties: JSONValue?, of index: Int) throws(HubError) -> PropertyBag {
        guard let properties, properties != .null else { return PropertyBag() }
        guard let members = properties.objectValue?.members else {
            throw HubError(.iotHubFormatError, "the properties of message \(index + 1) are no object")
        }
        return try MessageHeaders.bag(
            members.map { member in
                let isNamed = MessageHeaders.property(member.key) != nil
                return (
                    name: isNamed ? member.key : MessageHeaders.applicationPrefix + member.key,
                    value: member.value.stringValue ?? member.value.text
                )
            })
    }
}
