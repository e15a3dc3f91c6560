/// What a client subscribes to: a topic name in which `+` stands for one level and a final `#` for all the rest.
/// Source: MQTT 3.1.1 section 4.7.
public struct TopicFilter: Hashable, Sendable, CustomStringConvertible {
    public let text: String

    /// `nil` unless it has 1 … 65 535 bytes without U+0000, every `+` fills a level, and `#` fills the last one.
    public init?(_ text: String) {
        guard Self.isValid(text) else { return nil }
        self.text = text
    }

    public var description: String { text }

    /// Whether messages under `name` belong to this filter.
    ///
    /// A wildcard in the first level does not match a name that begins with `$` (section 4.7.2). Cost: one pass over both.
    public func matches(_ name: TopicName) -> Bool {
        let filter = text.utf8
        let name = name.text.utf8
        if name.first == Byte.dollar, filter.first == Byte.plus || filter.first == Byte.hash { return false }
        var inFilter = filter.startIndex
        var inName = name.startIndex
        while inFilter != filter.endIndex {
            let byte = filter[inFilter]
            if byte == Byte.hash { return true }
            if byte == Byte.plus {
                inName = name[inName...].firstIndex(of: Byte.slash) ?? name.endIndex
            } else if inName == name.endIndex {
                // `sport/#` matches its parent level `sport` too.
                return filter[inFilter...].elementsEqual([Byte.slash, Byte.hash])
            } else if byte == name[inName] {
                inName = name.index(after: inName)
            } else {
                return false
            }
            inFilter = filter.index(after: inFilter)
        }
        return inName == name.endIndex
    }

    static func isValid(_ text: String) -> Bool {
        let bytes = text.utf8
        guard (1...TopicName.bytesMax).contains(bytes.count) else { return false }
        var previous = Byte.slash
        var isAfterHash = false
        for byte in bytes {
            if isAfterHash || byte == 0 { return false }
            switch byte {
            case Byte.hash:
                guard previous == Byte.slash else { return false }
                isAfterHash = true
            case Byte.plus:
                guard previous == Byte.slash else { return false }
            default:
                guard previous != Byte.plus || byte == Byte.slash else { return false }
            }
            previous = byte
        }
        return true
    }

    private enum Byte {
        static let slash = UInt8(ascii: "/")
        static let plus = UInt8(ascii: "+")
        static let hash = UInt8(ascii: "#")
        static let dollar = UInt8(ascii: "$")
    }
}
