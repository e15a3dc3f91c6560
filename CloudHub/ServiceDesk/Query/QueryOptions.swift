import Primitives

/// What a GET asks for beyond the address: `$select`, `$filter`, `$orderby`, `$top`, `$count`, `$expand` and the page.
///
/// Source: Dataverse "Query data using the Web API".
struct QueryOptions: Sendable, Equatable {
    struct Order: Sendable, Equatable {
        let column: Column
        let isDescending: Bool
    }

    struct Expand: Sendable, Equatable {
        let lookup: Column
        let target: String
        /// Empty: every column.
        let select: [Column]
    }

    /// Rows in one answer when the client names no page size: Dataverse's own limit.
    static let pageRowsMax = 5000
    static let orderColumnsMax = 10
    static let expandsMax = 10

    /// Empty: every column.
    var select: [Column] = []
    var filter: FilterExpression?
    var orders: [Order] = []
    var top: Int?
    var wantsCount = false
    var expands: [Expand] = []
    /// Rows that earlier pages gave.
    var offset = 0

    init() {}

    /// - Parameter query: the part after `?`, still percent-encoded.
    init(query: String, table: Table) throws(DataverseError) {
        for (name, value) in try Self.pairs(query) {
            switch name {
            case "$select": select = try Self.columns(value, in: table)
            case "$filter": filter = try FilterExpression(value, table: table)
            case "$orderby": orders = try Self.orders(value, in: table)
            case "$top": top = try Self.positive(value, name)
            case "$count": wantsCount = try Self.flag(value, name)
            case "$expand": expands = try Self.expands(value, in: table)
            case "$skiptoken": offset = try PageToken.offset(value)
            case "$skip": throw .badQuery("Skip Clause is not supported in CRM")
            default:
                throw .badQuery("The query parameter \(name) is not supported")
            }
        }
    }

    /// Name and value of each parameter, decoded; `+` is a space here.
    static func pairs(_ query: String) throws(DataverseError) -> [(String, String)] {
        var pairs: [(String, String)] = []
        for part in query.split(separator: "&").prefix(32) {
            let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = halves.count > 1 ? String(halves[1].map { $0 == "+" ? " " : $0 }) : ""
            guard let name = PercentEncoding.decode(halves[0]), let decoded = PercentEncoding.decode(value) else {
                throw .badQuery("The query is not percent-encoded UTF-8.")
            }
            pairs.append((name, decoded))
        }
        return pairs
    }

    private static func columns(_ value: String, in table: Table) throws(DataverseError) -> [Column] {
        var columns: [Column] = []
        for part in value.split(separator: ",") {
            let name = part.trimmed
            guard let column = table.readable(name) else { throw .unknownColumn(name, in: table) }
            if column.name != table.primaryKey { columns.append(column) }
        }
        return columns
    }

    private static func orders(_ value: String, in table: Table) throws(DataverseError) -> [Order] {
        var orders: [Order] = []
        for part in value.split(separator: ",") {
            let words = part.split(separator: " ")
            guard let name = words.first, words.count <= 2 else { throw .badQuery("Syntax error in $orderby.") }
            guard let column = table.readable(name) else { throw .unknownColumn(name, in: table) }
            switch words.dropFirst().first {
            case nil, "asc": orders.append(Order(column: column, isDescending: false))
            case "desc": orders.append(Order(column: column, isDescending: true))
            case .some(let word): throw .badQuery("Syntax error in $orderby at '\(word)'.")
            }
        }
        guard orders.count <= orderColumnsMax else {
            throw .badQuery("$orderby names more than \(orderColumnsMax) columns.")
        }
        return orders
    }

    /// `msdyn_Device($select=msdyn_name,msdyn_deviceid),msdyn_ParentAlert`.
    private static func expands(_ value: String, in table: Table) throws(DataverseError) -> [Expand] {
        var expands: [Expand] = []
        for part in splitOutsideParentheses(value) {
            let open = part.firstIndex(of: "(") ?? part.endIndex
            let navigation = part[..<open].trimmed
            guard let lookup = table.lookup(navigation: navigation), case .lookup(let target, _) = lookup.kind,
                let targetTable = Tables.table(logicalName: target)
            else { throw .unknownColumn(navigation, in: table) }
            var selected: [Column] = []
            if open < part.endIndex {
                let inner = part[part.index(after: open)...].dropLast()
                guard part.hasSuffix(")"), inner.hasPrefix("$select=") else {
                    throw .badQuery("Only $select is supported inside $expand.")
                }
                selected = try columns(String(inner.dropFirst("$select=".count)), in: targetTable)
            }
            expands.append(Expand(lookup: lookup, target: target, select: selected))
        }
        guard expands.count <= expandsMax else { throw .badQuery("$expand names more than \(expandsMax) properties.") }
        return expands
    }

    private static func splitOutsideParentheses(_ value: String) -> [Substring] {
        var parts: [Substring] = []
        var start = value.startIndex
        var depth = 0
        for index in value.indices {
            switch value[index] {
            case "(": depth += 1
            case ")": depth -= 1
            case "," where depth == 0:
                parts.append(value[start..<index])
                start = value.index(after: index)
            default: break
            }
        }
        return parts + [value[start...]]
    }

    private static func positive(_ value: String, _ name: String) throws(DataverseError) -> Int {
        guard let number = Int(value), number > 0 else {
            throw .badQuery("Invalid value '\(value.prefix(32))' for \(name) query option found. It must be positive.")
        }
        return number
    }

    private static func flag(_ value: String, _ name: String) throws(DataverseError) -> Bool {
        switch value {
        case "true": return true
        case "false": return false
        default: throw .badQuery("Invalid value '\(value.prefix(32))' for \(name) query option found.")
        }
    }
}

/// Where the next page begins, in the shape of Dataverse's paging cookie. Opaque to clients.
enum PageToken {
    static func text(offset: Int) -> String { "<cookie offset=\"\(offset)\" />" }

    static func offset(_ text: String) throws(DataverseError) -> Int {
        guard text.hasPrefix("<cookie offset=\""), text.hasSuffix("\" />"),
            let offset = Int(text.dropFirst("<cookie offset=\"".count).dropLast("\" />".count)),
            (0...10_000_000).contains(offset)
        else { throw .badQuery("Malformed $skiptoken: it is not one that an answer gave.") }
        return offset
    }
}

extension Substring {
    var trimmed: Substring {
        let front = drop { $0 == " " }
        guard let last = front.lastIndex(where: { $0 != " " }) else { return "" }
        return front[...last]
    }
}
