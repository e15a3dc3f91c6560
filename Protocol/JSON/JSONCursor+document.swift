/// Building values.
extension JSONCursor {
    /// One value and nothing after it.
    mutating func document(limits: JSONLimits) throws(JSONError) -> JSONValue {
        guard bytes.count <= limits.bytesMax else {
            throw failure(.tooLarge(bytesMax: limits.bytesMax), at: limits.bytesMax)
        }
        let value = try value(depth: 0, limits)
        try expectEnd()
        return value
    }

    private mutating func value(depth: Int, _ limits: JSONLimits) throws(JSONError) -> JSONValue {
        switch try peekToken() {
        case UInt8(ascii: "{"): return .object(try object(depth: depth + 1, limits))
        case UInt8(ascii: "["): return .array(try array(depth: depth + 1, limits))
        default: return try scalar()
        }
    }

    /// A string, number or word; the caller has looked for `{` and `[`.
    mutating func scalar() throws(JSONError) -> JSONValue {
        let first = try peekToken()
        switch first {
        case UInt8(ascii: "\""):
            return .string(unescaped(try string()))
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            return .number(JSONNumber(checked: text(try number())))
        case UInt8(ascii: "t"):
            try word("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try word("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try word("null")
            return .null
        default:
            throw failure(.unexpectedByte(first))
        }
    }

    private mutating func object(depth: Int, _ limits: JSONLimits) throws(JSONError) -> JSONObject {
        guard depth <= limits.depthMax else { throw failure(.tooDeep(depthMax: limits.depthMax)) }
        try expect(UInt8(ascii: "{"))
        var object = JSONObject()
        if try take(UInt8(ascii: "}")) { return object }
        repeat {
            skipSpace()
            let key = unescaped(try string())
            try expect(UInt8(ascii: ":"))
            object[key] = try value(depth: depth, limits)
        } while try take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "}"))
        return object
    }

    private mutating func array(depth: Int, _ limits: JSONLimits) throws(JSONError) -> [JSONValue] {
        guard depth <= limits.depthMax else { throw failure(.tooDeep(depthMax: limits.depthMax)) }
        try expect(UInt8(ascii: "["))
        var elements: [JSONValue] = []
        if try take(UInt8(ascii: "]")) { return elements }
        repeat {
            elements.append(try value(depth: depth, limits))
        } while try take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "]"))
        return elements
    }
}
