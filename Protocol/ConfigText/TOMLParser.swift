/// Reads TOML 1.0 (https://toml.io/en/v1.0.0) except dates and times, for which configuration has no use.
///
/// It is our own because the package that reads TOML in Swift draws in Foundation with its tables of the world's
/// languages: several times the size that the gateway may have.
public struct TOMLParser {
    /// Longest document that is read.
    public static let bytesMax = 1 << 20
    /// Arrays and inline tables inside each other, and parts of a dotted key.
    static let depthMax = 32

    var cursor: TOMLCursor
    private var root = Node()

    /// A table while it is being filled: who made it decides who may add to it.
    private final class Node {
        enum Origin { case implied, header, dotted }
        enum Member {
            case value(TOMLValue)
            case table(Node)
            case tables([Node])
        }
        var origin = Origin.implied
        var line = 1
        var keys: [String] = []
        var members: [String: Member] = [:]

        func set(_ key: String, _ member: Member) {
            if members.updateValue(member, forKey: key) == nil { keys.append(key) }
        }

        var table: TOMLTable {
            var table = TOMLTable()
            for key in keys {
                switch members[key] {
                case .value(let value): table[key] = value
                case .table(let node): table[key] = TOMLValue(.table(node.table), line: node.line)
                case .tables(let nodes):
                    let list = nodes.map { TOMLValue(.table($0.table), line: $0.line) }
                    table[key] = TOMLValue(.list(list), line: nodes.first?.line ?? 1)
                case nil: break
                }
            }
            return table
        }
    }

    private init(_ text: String) { cursor = TOMLCursor(bytes: Array(text.utf8)) }

    public static func parse(_ text: String) throws(TOMLError) -> TOMLTable {
        guard text.utf8.count <= bytesMax else {
            throw TOMLError(message: "the text is longer than \(bytesMax) bytes", line: 1)
        }
        var parser = TOMLParser(text)
        try parser.document()
        return parser.root.table
    }

    private mutating func document() throws(TOMLError) {
        var current = root
        while try cursor.skipToStatement() {
            if cursor.take("[") {
                let isList = cursor.take("[")
                let line = cursor.line
                cursor.skipBlanks()
                let key = try cursor.dottedKey()
                guard cursor.take("]"), !isList || cursor.take("]") else {
                    throw cursor.failure("the table header does not end with '\(isList ? "]]" : "]")'")
                }
                current = try isList ? appended(key, line) : opened(key, line)
            } else {
                try assignment(in: current)
            }
            try cursor.endOfLine()
        }
    }

    // MARK: - Tables

    /// `[a.b.c]`
    private func opened(_ key: [String], _ line: Int) throws(TOMLError) -> Node {
        let parent = try descended(from: root, through: key.dropLast(), line: line)
        let last = key[key.count - 1]
        switch parent.members[last] {
        case nil:
            return add(to: parent, last, .header, line)
        case .table(let node) where node.origin == .implied:
            node.origin = .header
            node.line = line
            return node
        default:
            throw TOMLError(message: "[\(key.joined(separator: "."))] comes twice", line: line)
        }
    }

    /// `[[a.b.c]]`
    private func appended(_ key: [String], _ line: Int) throws(TOMLError) -> Node {
        let parent = try descended(from: root, through: key.dropLast(), line: line)
        let last = key[key.count - 1]
        let node = Node()
        node.origin = .header
        node.line = line
        switch parent.members[last] {
        case nil: parent.set(last, .tables([node]))
        case .tables(let nodes): parent.set(last, .tables(nodes + [node]))
        default:
            throw TOMLError(message: "[[\(key.joined(separator: "."))]] is something else already", line: line)
        }
        return node
    }

    private func descended(from start: Node, through keys: ArraySlice<String>, line: Int) throws(TOMLError) -> Node {
        var node = start
        for key in keys {
            switch node.members[key] {
            case nil: node = add(to: node, key, .implied, line)
            case .table(let next): node = next
            case .tables(let nodes): node = nodes[nodes.count - 1]
            case .value: throw TOMLError(message: "'\(key)' is a value, not a table", line: line)
            }
        }
        return node
    }

    private func add(to parent: Node, _ key: String, _ origin: Node.Origin, _ line: Int) -> Node {
        let node = Node()
        node.origin = origin
        node.line = line
        parent.set(key, .table(node))
        return node
    }

    // MARK: - Values

    private mutating func assignment(in table: Node, depth: Int = 0) throws(TOMLError) {
        let line = cursor.line
        let key = try cursor.dottedKey()
        guard cursor.take("=") else { throw cursor.failure("'=' is missing behind '\(key.joined(separator: "."))'") }
        cursor.skipBlanks()
        var node = table
        for part in key.dropLast() {
            switch node.members[part] {
            case nil: node = add(to: node, part, .dotted, line)
            case .table(let next) where next.origin == .dotted: node = next
            default:
                throw TOMLError(
                    message: "'\(part)' in '\(key.joined(separator: "."))' is defined elsewhere", line: line)
            }
        }
        let last = key[key.count - 1]
        guard node.members[last] == nil else {
            throw TOMLError(message: "'\(key.joined(separator: "."))' comes twice", line: line)
        }
        node.set(last, .value(try value(depth: depth)))
    }

    private mutating func value(depth: Int) throws(TOMLError) -> TOMLValue {
        guard depth < Self.depthMax else { throw cursor.failure("values nest more than \(Self.depthMax) deep") }
        let line = cursor.line
        switch cursor.peek {
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            return TOMLValue(.text(try cursor.string(allowsLines: true)), line: line)
        case UInt8(ascii: "["):
            return TOMLValue(.list(try list(depth: depth)), line: line)
        case UInt8(ascii: "{"):
            return TOMLValue(.table(try inlineTable(depth: depth)), line: line)
        default:
            return TOMLValue(try cursor.word(), line: line)
        }
    }

    private mutating func list(depth: Int) throws(TOMLError) -> [TOMLValue] {
        _ = cursor.take("[")
        var values: [TOMLValue] = []
        while true {
            try cursor.skipSpaceAndComments()
            if cursor.take("]") { return values }
            values.append(try value(depth: depth + 1))
            try cursor.skipSpaceAndComments()
            if cursor.take("]") { return values }
            guard cursor.take(",") else { throw cursor.failure("',' or ']' is missing in a list") }
        }
    }

    private mutating func inlineTable(depth: Int) throws(TOMLError) -> TOMLTable {
        _ = cursor.take("{")
        let node = Node()
        cursor.skipBlanks()
        if cursor.take("}") { return node.table }
        while true {
            cursor.skipBlanks()
            try assignment(in: node, depth: depth + 1)
            cursor.skipBlanks()
            if cursor.take("}") { return node.table }
            guard cursor.take(",") else { throw cursor.failure("',' or '}' is missing in an inline table") }
        }
    }
}
