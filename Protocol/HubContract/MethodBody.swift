public import JSON

/// `POST /twins/{id}/methods`: a direct method to invoke.
public struct MethodBody: Sendable, Hashable {
    /// Largest payload either way, as compact JSON.
    public static let payloadBytesMax = 128 << 10
    static let responseSeconds = 5...300
    static let connectSeconds = 0...300

    /// 1 to 64 characters without `/`, `+`, `#`.
    public let name: String
    /// `null` when the caller gave none.
    public let payload: JSONValue
    /// How long the device may take to answer: 5 to 300 s, 30 by default.
    public let responseTimeout: Duration
    /// How long to wait for an absent device to connect: 0 to 300 s, 0 by default.
    public let connectTimeout: Duration

    public init(parsing value: JSONValue) throws(HubError) {
        let body = try Body(value, "the method request")
        guard let name = try body.text("methodName"), Self.isName(name) else {
            throw HubError(
                .argumentInvalid, "methodName is missing, or not 1 to 64 characters without '/', '+' and '#'")
        }
        self.name = name
        payload = body.value("payload") ?? .null
        let bytes = payload.serialized().count
        guard bytes <= Self.payloadBytesMax else {
            throw HubError(
                .messageTooLarge, "the payload has \(bytes) bytes; at most \(Self.payloadBytesMax) are taken")
        }
        responseTimeout = .seconds(
            try Self.seconds(body, "responseTimeoutInSeconds", Self.responseSeconds) ?? 30)
        connectTimeout = .seconds(try Self.seconds(body, "connectTimeoutInSeconds", Self.connectSeconds) ?? 0)
    }

    /// The 200 answer: what the device said.
    public static func result(status: Int, payload: JSONValue) -> JSONValue {
        ["status": .number(JSONNumber(status)), "payload": payload]
    }

    private static func isName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count) && !name.utf8.contains { "/+#".utf8.contains($0) || $0 < 0x20 }
    }

    private static func seconds(_ body: Body, _ name: String, _ range: ClosedRange<Int>) throws(HubError) -> Int? {
        guard let value = body.value(name) else { return nil }
        guard let seconds = value.int64Value.flatMap({ Int(exactly: $0) }), range.contains(seconds) else {
            throw HubError(
                .argumentInvalid, "\(name) is not a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return seconds
    }
}

/// Reads a request's object member by member; `null` counts as absent.
struct Body {
    private let object: JSONObject
    private let name: String

    init(_ value: JSONValue, _ name: String) throws(HubError) {
        guard let object = value.objectValue else { throw HubError(.argumentInvalid, "\(name) is not a JSON object") }
        self.object = object
        self.name = name
    }

    func value(_ key: String) -> JSONValue? { object[key]?.unlessNull }

    func text(_ key: String) throws(HubError) -> String? {
        guard let value = value(key) else { return nil }
        guard let text = value.stringValue else {
            throw HubError(.argumentInvalid, "'\(key)' of \(name) is not a text")
        }
        return text
    }

    func flag(_ key: String) throws(HubError) -> Bool? {
        guard let value = value(key) else { return nil }
        guard let flag = value.boolValue else {
            throw HubError(.argumentInvalid, "'\(key)' of \(name) is not true or false")
        }
        return flag
    }

    func object(_ key: String) throws(HubError) -> Body? {
        guard let value = value(key) else { return nil }
        return try Body(value, "'\(key)'")
    }

    func texts(_ key: String) throws(HubError) -> [String]? {
        guard let value = value(key) else { return nil }
        let texts = value.arrayValue?.compactMap(\.stringValue)
        guard let texts, texts.count == value.arrayValue?.count, texts.count <= 100 else {
            throw HubError(.argumentInvalid, "'\(key)' of \(name) is not a list of at most 100 texts")
        }
        return texts
    }

    /// A member that repeats what the path says, when it is there, must say the same.
    func check(_ key: String, is expected: String) throws(HubError) {
        guard let text = try text(key), text != expected else { return }
        throw HubError(.argumentInvalid, "'\(key)' is '\(text.prefix(128))' in the body but '\(expected)' in the path")
    }
}

extension JSONValue {
    init(optional text: String?) { self = text.map(JSONValue.string) ?? .null }
}
