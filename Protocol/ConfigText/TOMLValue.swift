/// A value of a TOML document and where it stands.
public struct TOMLValue: Hashable, Sendable {
    public enum Content: Hashable, Sendable {
        case text(String)
        case integer(Int64)
        case decimal(Double)
        case flag(Bool)
        case list([TOMLValue])
        case table(TOMLTable)
    }

    public let content: Content
    /// Counted from 1.
    public let line: Int

    public init(_ content: Content, line: Int) {
        self.content = content
        self.line = line
    }

    /// As an error shows it, at most 80 characters.
    public var shown: String {
        let whole =
            switch content {
            case .text(let text): "\"\(text)\""
            case .integer(let number): String(number)
            case .decimal(let number): String(number)
            case .flag(let flag): String(flag)
            case .list(let values): "a list of \(values.count)"
            case .table: "a table"
            }
        return whole.count > 80 ? whole.prefix(79) + "…" : whole
    }
}

/// Keys in the order in which they stand, each once.
public struct TOMLTable: Hashable, Sendable {
    public private(set) var keys: [String] = []
    private var values: [String: TOMLValue] = [:]

    public init() {}

    public subscript(key: String) -> TOMLValue? {
        get { values[key] }
        set {
            if let newValue {
                if values.updateValue(newValue, forKey: key) == nil { keys.append(key) }
            } else if values.removeValue(forKey: key) != nil {
                keys.removeAll { $0 == key }
            }
        }
    }
}

/// Why a text is not TOML, and where.
public struct TOMLError: Error, Hashable, Sendable, CustomStringConvertible {
    public let message: String
    /// Counted from 1.
    public let line: Int

    public var description: String { "line \(line): \(message)" }
}
