/// Any JSON value (RFC 8259). Numbers keep their text, objects their order.
public enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(JSONNumber)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

extension JSONValue {
    /// Reads exactly one value with white space around it. Of a name that comes twice in one object the last counts.
    public init(parsing bytes: some Collection<UInt8>, limits: JSONLimits = .default) throws(JSONError) {
        self = try JSONCursor.reading(bytes) { cursor in
            Result { () throws(JSONError) in try cursor.document(limits: limits) }
        }.get()
    }

    /// `init(parsing:)` for a text.
    public init(parsing text: String, limits: JSONLimits = .default) throws(JSONError) {
        try self.init(parsing: text.utf8, limits: limits)
    }

    /// UTF-8 without white space; only `"`, `\` and control characters are escaped.
    public func serialized() -> [UInt8] {
        var out: [UInt8] = []
        JSONWriter.write(self, to: &out)
        return out
    }

    /// `serialized()` as a text.
    public var text: String { String(decoding: serialized(), as: UTF8.self) }

    public var isNull: Bool { self == .null }
    /// Itself, and nothing at all when it is `null`.
    public var unlessNull: JSONValue? { isNull ? .none : .some(self) }
    /// The text when this is a string.
    public var stringValue: String? { if case .string(let text) = self { text } else { nil } }
    /// The number when it is whole and fits.
    public var int64Value: Int64? { if case .number(let number) = self { number.int64 } else { nil } }
    /// The number as the nearest double.
    public var doubleValue: Double? { if case .number(let number) = self { number.double } else { nil } }
    public var boolValue: Bool? { if case .bool(let flag) = self { flag } else { nil } }
    public var arrayValue: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }
    public var objectValue: JSONObject? { if case .object(let object) = self { object } else { nil } }

    /// The member of an object; `nil` when this is no object or has no such member.
    public subscript(key: String) -> JSONValue? { objectValue?[key] }

    /// The value that the pointer leads to (RFC 6901); `nil` when it leads nowhere.
    public subscript(pointer: JSONPointer) -> JSONValue? {
        var here = self
        for step in pointer.steps {
            switch here {
            case .object(let object):
                guard let next = object[step] else { return nil }
                here = next
            case .array(let elements):
                guard let index = JSONPointer.index(step), index < elements.count else { return nil }
                here = elements[index]
            default:
                return nil
            }
        }
        return here
    }

    /// The value after a merge patch (RFC 7396): objects merge, `null` deletes, everything else replaces.
    public func merging(patch: JSONValue) -> JSONValue {
        guard case .object(let changes) = patch else { return patch }
        var result = objectValue ?? JSONObject()
        var gone: Set<String> = []
        for change in changes.members {
            if change.value.isNull {
                gone.insert(change.key)
            } else {
                result[change.key] = (result[change.key] ?? .null).merging(patch: change.value)
            }
        }
        if !gone.isEmpty { result.removeAll { key, _ in gone.contains(key) } }
        return .object(result)
    }
}

extension JSONValue: CustomStringConvertible {
    public var description: String { text }
}

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .number(JSONNumber(value)) }
    /// `null` for a literal that no finite double holds.
    public init(floatLiteral value: Double) { self = JSONNumber(value).map(JSONValue.number) ?? .null }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements.map { ($0.0, $0.1) }))
    }
}
