import JSON

/// What may stand in a twin, and how much. Source: Azure IoT Hub, "Understand and use device twins".
enum TwinRules {
    enum Section: String {
        case tags = "tags"
        case desired = "desired properties"
        case reported = "reported properties"

        /// Keys and values as UTF-8, metadata not counted.
        var bytesMax: Int { self == .tags ? 8 << 10 : 32 << 10 }
    }

    /// Objects and arrays inside a section.
    static let depthMax = 10
    static let keyBytesMax = 1 << 10
    static let stringBytesMax = 4 << 10
    static let integers: ClosedRange<Int64> = -4_503_599_627_370_496...4_503_599_627_370_495

    /// Checks a patch or a whole section before it is applied.
    static func check(_ object: JSONObject, in section: Section) throws(HubError) {
        try check(object, section, path: "", depth: 0)
    }

    /// Checks the section as it would stand afterwards.
    static func checkSize(_ object: JSONObject, of section: Section) throws(HubError) {
        let bytes = size(object)
        guard bytes <= section.bytesMax else {
            throw HubError(
                .argumentInvalid,
                "the \(section.rawValue) would take \(bytes) bytes; at most \(section.bytesMax) are allowed")
        }
    }

    /// Lengths of keys and strings; a number counts 8, a bool 4.
    static func size(_ object: JSONObject) -> Int {
        object.members.reduce(0) { $0 + $1.key.utf8.count + size($1.value) }
    }

    private static func size(_ value: JSONValue) -> Int {
        switch value {
        case .null: 0
        case .bool: 4
        case .number: 8
        case .string(let text): text.utf8.count
        case .array(let elements): elements.reduce(0) { $0 + size($1) }
        case .object(let object): size(object)
        }
    }

    private static func check(
        _ object: JSONObject, _ section: Section, path: String, depth: Int
    ) throws(HubError) {
        for member in object.members {
            let here = path.isEmpty ? member.key : "\(path).\(member.key)"
            try checkKey(member.key, section, path)
            try check(member.value, section, path: here, depth: depth)
        }
    }

    private static func check(
        _ value: JSONValue, _ section: Section, path: String, depth: Int
    ) throws(HubError) {
        switch value {
        case .null, .bool:
            return
        case .number(let number):
            guard
                number.text.utf8.contains(where: { ".eE".utf8.contains($0) })
                    || number.int64.map(integers.contains) == true
            else {
                throw refused(
                    section, path,
                    "the whole number \(number.text.prefix(40)) is outside \(integers.lowerBound) to \(integers.upperBound)"
                )
            }
            guard number.double.isFinite else { throw refused(section, path, "the number is too large") }
        case .string(let text):
            guard text.utf8.count <= stringBytesMax else {
                throw refused(
                    section, path, "the text has \(text.utf8.count) bytes; at most \(stringBytesMax) are allowed")
            }
        case .array(let elements):
            try checkDepth(depth + 1, section, path)
            for element in elements { try check(element, section, path: path, depth: depth + 1) }
        case .object(let object):
            try checkDepth(depth + 1, section, path)
            try check(object, section, path: path, depth: depth + 1)
        }
    }

    private static func checkDepth(_ depth: Int, _ section: Section, _ path: String) throws(HubError) {
        guard depth <= depthMax else { throw refused(section, path, "it nests more than \(depthMax) levels deep") }
    }

    private static func checkKey(_ key: String, _ section: Section, _ path: String) throws(HubError) {
        guard !key.isEmpty else { throw refused(section, path, "a key is empty") }
        guard key.utf8.count <= keyBytesMax else {
            throw refused(section, path, "a key has \(key.utf8.count) bytes; at most \(keyBytesMax) are allowed")
        }
        for scalar in key.unicodeScalars {
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            guard !isControl, scalar != ".", scalar != "$", scalar != " " else {
                throw refused(
                    section, path,
                    "the key '\(printable(key))' has a character that keys cannot have ('.', '$', space or a control character)"
                )
            }
        }
    }

    private static func refused(_ section: Section, _ path: String, _ what: String) -> HubError {
        let place = path.isEmpty ? "" : " at '\(printable(path))'"
        return HubError(.argumentInvalid, "the \(section.rawValue) are refused\(place): \(what)")
    }

    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.prefix(128).map {
                    $0.value < 0x20 || (0x7F...0x9F).contains($0.value) ? "\u{FFFD}" : $0
                }))
    }
}
