import EventLog
import HubContract
import JSON
import Primitives

/// One event as `monitor` shows it: where it stands, whose it is, all annotations, all properties, the body.
enum EventView {
    /// System properties of the bag under the names that readers of the events endpoint know.
    /// Source: IoT Hub developer guide, format of device-to-cloud messages.
    private static let systemNames = [
        "mid": "message-id", "cid": "correlation-id", "uid": "user-id", "ct": "content-type",
        "ce": "content-encoding", "to": "to", "exp": "absolute-expiry-time", "on": "output-name",
        "sub": "dt-subject", "ctime": "iothub-creation-time-utc", "ifid": "iothub-interface-id",
    ]

    static func json(_ event: StoredEvent) -> JSONValue {
        let bag = try? PropertyBag(parsing: event.header.bag)
        var system = JSONObject()
        for entry in bag?.system ?? [] {
            let short = entry.name.hasPrefix("$.") ? String(entry.name.dropFirst(2)) : entry.name
            system[systemNames[short] ?? short] = entry.value.map(JSONValue.string) ?? .null
        }
        var application = JSONObject()
        for entry in bag?.application ?? [] { application[entry.name] = entry.value.map(JSONValue.string) ?? .null }
        var value: JSONObject = [
            "partition": .number(JSONNumber(Int64(event.partition))), "offset": .number(JSONNumber(event.offset)),
            "enqueuedTime": .string(event.header.enqueuedAt.description),
            "device": .string(event.header.device.text),
        ]
        if let module = event.header.module { value["module"] = .string(module) }
        value["annotations"] = .object(annotations(event))
        value["system"] = .object(system)
        value["properties"] = .object(application)
        value["body"] = body(event.body)
        return .object(value)
    }

    private static func annotations(_ event: StoredEvent) -> JSONObject {
        let origin = event.header.origin
        let method: JSONValue = [
            "scope": .string(origin.authScope), "type": .string(origin.authType), "issuer": "iothub",
        ]
        var annotations: JSONObject = ["iothub-connection-device-id": .string(origin.device.text)]
        if let module = origin.module { annotations["iothub-connection-module-id"] = .string(module) }
        annotations["iothub-connection-auth-generation-id"] = .string(origin.authGeneration)
        annotations["iothub-connection-auth-method"] = .string(method.text)
        annotations["iothub-enqueuedtime"] = .string(event.header.enqueuedAt.description)
        annotations["iothub-message-source"] = .string(source(event.header.source))
        if event.header.source == .will { annotations["iothub-MessageType"] = "Will" }
        return annotations
    }

    private static func source(_ source: EventSource) -> String {
        switch source {
        case .telemetry, .will: "Telemetry"
        case .twinChange: "twinChangeEvents"
        case .connectionState: "deviceConnectionStateEvents"
        case .lifecycle: "deviceLifecycleEvents"
        }
    }

    /// JSON as it is, other text as a string, anything else as base64 in a member of that name.
    private static func body(_ bytes: [UInt8]) -> JSONValue {
        if let value = try? JSONValue(parsing: bytes) { return value }
        if let text = String(validating: bytes, as: UTF8.self) { return .string(text) }
        return ["base64": .string(Base64.encode(bytes))]
    }
}
