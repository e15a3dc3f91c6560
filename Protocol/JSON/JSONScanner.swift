/// Takes single values out of a JSON text without building the rest of it. The whole text is checked all the same.
public enum JSONScanner {
    /// Visits every number of the document, in order of appearance, with its place as a dotted path (`a.b.0`; empty
    /// for a document that is one number). Keys are taken as they are, dots in them included. Numbers beyond what a
    /// double holds are left out.
    public static func numbers(
        in bytes: some Collection<UInt8>, limits: JSONLimits = .default, visit: (_ path: String, Double) -> Void
    ) throws(JSONError) {
        try JSONCursor.reading(bytes) { cursor in
            Result { () throws(JSONError) in
                var walk = NumberWalk(limits: limits)
                try cursor.checkSize(limits)
                try walk.value(&cursor, depth: 0, visit: visit)
                try cursor.expectEnd()
            }
        }.get()
    }

    /// The scalar that the pointer leads to, its text exactly as written. `nil` when nothing is there, or an array or
    /// object is.
    public static func scalar(
        at pointer: JSONPointer, in bytes: some Collection<UInt8>, limits: JSONLimits = .default
    ) throws(JSONError) -> JSONValue? {
        try JSONCursor.reading(bytes) { cursor in
            Result { () throws(JSONError) in
                var search = ScalarSearch(steps: pointer.steps, limits: limits)
                try cursor.checkSize(limits)
                try search.value(&cursor, matched: 0, depth: 0)
                try cursor.expectEnd()
                return search.found
            }
        }.get()
    }

    /// A number that two objects share when they have the same members, by name and order, and the values of each are of
    /// the same kind: number, text, truth, or anything else. `nil` when the document is no object.
    ///
    /// FNV-1a over the names as written, so a hostile sender can make two shapes meet.
    public static func shape(
        of bytes: some Collection<UInt8>, limits: JSONLimits = .default
    ) throws(JSONError) -> UInt64? {
        try JSONCursor.reading(bytes) { cursor in
            Result { () throws(JSONError) in
                var walk = ShapeWalk(limits: limits)
                try cursor.checkSize(limits)
                let isObject = try cursor.peekToken() == UInt8(ascii: "{")
                try walk.document(&cursor)
                try cursor.expectEnd()
                return isObject ? walk.hash : nil
            }
        }.get()
    }

    /// The finite number that the pointer leads to; `nil` when there is none or the text is not JSON.
    public static func number(at pointer: JSONPointer, in bytes: some Collection<UInt8>) -> Double? {
        guard let value = try? scalar(at: pointer, in: bytes), let number = value.doubleValue, number.isFinite else {
            return nil
        }
        return number
    }
}

extension JSONCursor {
    func checkSize(_ limits: JSONLimits) throws(JSONError) {
        guard bytes.count <= limits.bytesMax else {
            throw failure(.tooLarge(bytesMax: limits.bytesMax), at: limits.bytesMax)
        }
    }
}

/// The path to where the cursor is, kept as bytes that grow and shrink with the walk.
private struct NumberWalk {
    let limits: JSONLimits
    var path: [UInt8] = []

    mutating func value(
        _ cursor: inout JSONCursor, depth: Int, visit: (String, Double) -> Void
    ) throws(JSONError) {
        switch try cursor.peekToken() {
        case UInt8(ascii: "{"): try object(&cursor, depth: depth + 1, visit: visit)
        case UInt8(ascii: "["): try array(&cursor, depth: depth + 1, visit: visit)
        case UInt8(ascii: "\""): _ = try cursor.string()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            let number = cursor.double(try cursor.number())
            if number.isFinite { visit(String(decoding: path, as: UTF8.self), number) }
        default: _ = try cursor.scalar()
        }
    }

    private mutating func object(
        _ cursor: inout JSONCursor, depth: Int, visit: (String, Double) -> Void
    ) throws(JSONError) {
        guard depth <= limits.depthMax else { throw cursor.failure(.tooDeep(depthMax: limits.depthMax)) }
        try cursor.expect(UInt8(ascii: "{"))
        if try cursor.take(UInt8(ascii: "}")) { return }
        let outer = path.count
        repeat {
            cursor.skipSpace()
            let key = try cursor.string()
            try cursor.expect(UInt8(ascii: ":"))
            if outer > 0 { path.append(UInt8(ascii: ".")) }
            if key.hasEscapes { path += cursor.resolved(key.range) } else { path += cursor.bytes[key.range] }
            try value(&cursor, depth: depth, visit: visit)
            path.removeSubrange(outer...)
        } while try cursor.take(UInt8(ascii: ","))
        try cursor.expect(UInt8(ascii: "}"))
    }

    private mutating func array(
        _ cursor: inout JSONCursor, depth: Int, visit: (String, Double) -> Void
    ) throws(JSONError) {
        guard depth <= limits.depthMax else { throw cursor.failure(.tooDeep(depthMax: limits.depthMax)) }
        try cursor.expect(UInt8(ascii: "["))
        if try cursor.take(UInt8(ascii: "]")) { return }
        let outer = path.count
        var index = 0
        repeat {
            if outer > 0 { path.append(UInt8(ascii: ".")) }
            path += String(index).utf8
            try value(&cursor, depth: depth, visit: visit)
            path.removeSubrange(outer...)
            index += 1
        } while try cursor.take(UInt8(ascii: ","))
        try cursor.expect(UInt8(ascii: "]"))
    }
}

/// Steps over a whole document; of an outermost object it hashes names and kinds.
private struct ShapeWalk {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    private var rest: ScalarSearch

    init(limits: JSONLimits) { rest = ScalarSearch(steps: [], limits: limits) }

    mutating func document(_ cursor: inout JSONCursor) throws(JSONError) {
        guard try cursor.peekToken() == UInt8(ascii: "{") else {
            try rest.value(&cursor, matched: nil, depth: 0)
            return
        }
        try cursor.expect(UInt8(ascii: "{"))
        if try cursor.take(UInt8(ascii: "}")) { return }
        repeat {
            cursor.skipSpace()
            for byte in cursor.bytes[try cursor.string().range] { add(byte) }
            try cursor.expect(UInt8(ascii: ":"))
            add(Self.kind(try cursor.peekToken()))
            try rest.value(&cursor, matched: nil, depth: 1)
        } while try cursor.take(UInt8(ascii: ","))
        try cursor.expect(UInt8(ascii: "}"))
    }

    private mutating func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }

    /// A control character that no name holds: it also parts one name from the next.
    private static func kind(_ first: UInt8) -> UInt8 {
        switch first {
        case UInt8(ascii: "\""): 1
        case UInt8(ascii: "t"), UInt8(ascii: "f"): 2
        case UInt8(ascii: "{"), UInt8(ascii: "["), UInt8(ascii: "n"): 3
        default: 4
        }
    }
}

/// Follows one pointer and steps over everything else.
private struct ScalarSearch {
    let steps: [String]
    let limits: JSONLimits
    var found: JSONValue?

    /// `matched` counts the steps that led here; `nil` is a place beside the way.
    mutating func value(_ cursor: inout JSONCursor, matched: Int?, depth: Int) throws(JSONError) {
        switch try cursor.peekToken() {
        case UInt8(ascii: "{"):
            try container(
                &cursor, open: UInt8(ascii: "{"), close: UInt8(ascii: "}"), matched: matched, depth: depth + 1)
        case UInt8(ascii: "["):
            try container(
                &cursor, open: UInt8(ascii: "["), close: UInt8(ascii: "]"), matched: matched, depth: depth + 1)
        case UInt8(ascii: "\"") where matched != steps.count:
            _ = try cursor.string()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            let range = try cursor.number()
            if matched == steps.count { found = .number(JSONNumber(checked: cursor.text(range))) }
        default:
            let scalar = try cursor.scalar()
            if matched == steps.count { found = scalar }
        }
    }

    private mutating func container(
        _ cursor: inout JSONCursor, open: UInt8, close: UInt8, matched: Int?, depth: Int
    ) throws(JSONError) {
        guard depth <= limits.depthMax else { throw cursor.failure(.tooDeep(depthMax: limits.depthMax)) }
        try cursor.expect(open)
        let isObject = open == UInt8(ascii: "{")
        if try cursor.take(close) { return }
        var index = 0
        repeat {
            let isOnWay: Bool
            if isObject {
                cursor.skipSpace()
                let key = try cursor.string()
                isOnWay = matched.map { $0 < steps.count && cursor.says(steps[$0], key) } ?? false
                try cursor.expect(UInt8(ascii: ":"))
            } else {
                isOnWay = matched.map { $0 < steps.count && JSONPointer.index(steps[$0]) == index } ?? false
                index += 1
            }
            // Of a name that comes twice the last counts: what the first held is forgotten.
            if isOnWay { found = nil }
            try value(&cursor, matched: isOnWay ? (matched ?? 0) + 1 : nil, depth: depth)
        } while try cursor.take(UInt8(ascii: ","))
        try cursor.expect(close)
    }
}
