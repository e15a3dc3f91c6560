import Primitives

/// A checked `$filter`: every column exists and every literal has the column's type.
///
/// Source: OData 4.0 part 2, section 5.1.1; Dataverse "Filter rows" (which of it Dataverse takes).
indirect enum FilterExpression: Sendable, Equatable {
    enum Comparison: String, Sendable { case eq, ne, gt, ge, lt, le }
    enum TextMatch: String, Sendable { case contains, startswith, endswith }

    case compare(FilterColumn, Comparison, Cell)
    case match(FilterColumn, TextMatch, String)
    case not(FilterExpression)
    case and(FilterExpression, FilterExpression)
    case or(FilterExpression, FilterExpression)

    init(_ text: String, table: Table) throws(DataverseError) {
        var parser = FilterParser(tokens: try FilterToken.tokens(text), table: table)
        self = try parser.whole()
    }
}

/// A column in a filter: of the row itself, or of the row that a lookup points to (`msdyn_Device/msdyn_deviceid`).
struct FilterColumn: Sendable, Equatable {
    let column: Column
    /// The lookup that leads to it.
    let via: Column?
}

private struct FilterParser {
    /// Parentheses and `not`s in one another; recursion ends here.
    static let depthMax = 32

    let tokens: [FilterToken]
    let table: Table
    var index = 0
    var depth = 0

    mutating func whole() throws(DataverseError) -> FilterExpression {
        let expression = try or()
        guard index == tokens.count else { throw syntax() }
        return expression
    }

    private mutating func or() throws(DataverseError) -> FilterExpression {
        var left = try and()
        while takeName("or") { left = .or(left, try and()) }
        return left
    }

    private mutating func and() throws(DataverseError) -> FilterExpression {
        var left = try unary()
        while takeName("and") { left = .and(left, try unary()) }
        return left
    }

    private mutating func unary() throws(DataverseError) -> FilterExpression {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthMax else {
            throw .badQuery("The $filter is nested deeper than \(Self.depthMax) levels.")
        }
        if takeName("not") { return .not(try unary()) }
        if take(.open) {
            let inner = try or()
            guard take(.close) else { throw syntax() }
            return inner
        }
        return try condition()
    }

    private mutating func condition() throws(DataverseError) -> FilterExpression {
        guard case .name(let name) = next() else { throw syntax() }
        if take(.open) { return try function(name) }
        let column = try column(name)
        guard case .name(let word) = next(), let comparison = FilterExpression.Comparison(rawValue: word) else {
            throw syntax()
        }
        return .compare(column, comparison, try literal(for: column.column))
    }

    private mutating func function(_ name: String) throws(DataverseError) -> FilterExpression {
        guard let match = FilterExpression.TextMatch(rawValue: name) else {
            throw .badQuery("An unknown function with name '\(name)' was found.")
        }
        guard case .name(let columnName) = next(), take(.comma), case .text(let text) = next(), take(.close) else {
            throw syntax()
        }
        let column = try column(columnName)
        guard column.column.isText else {
            throw .badQuery("The function '\(name)' needs a text column; '\(columnName)' is none.")
        }
        return .match(column, match, text)
    }

    private func column(_ name: String) throws(DataverseError) -> FilterColumn {
        guard let slash = name.firstIndex(of: "/") else {
            guard let column = table.readable(name) else { throw .unknownColumn(name, in: table) }
            return FilterColumn(column: column, via: nil)
        }
        let navigation = name[..<slash]
        guard let lookup = table.lookup(navigation: navigation), case .lookup(let target, _) = lookup.kind else {
            throw .unknownColumn(navigation, in: table)
        }
        guard let targetTable = Tables.table(logicalName: target) else { throw .unknownSegment(navigation) }
        let inner = name[name.index(after: slash)...]
        guard let column = targetTable.readable(inner) else { throw .unknownColumn(inner, in: targetTable) }
        return FilterColumn(column: column, via: lookup)
    }

    private mutating func literal(for column: Column) throws(DataverseError) -> Cell {
        let token = next()
        if token == .name("null") { return .null }
        switch (column.kind, token) {
        case (.text, .text(let text)): return .text(text)
        case (.whole, .bare(let text)), (.choice, .bare(let text)):
            if let number = Int64(text) { return .whole(number) }
        case (.flag, .name("true")): return .flag(true)
        case (.flag, .name("false")): return .flag(false)
        case (.instant, .bare(let text)):
            if let instant = WallInstant(text) { return .instant(instant) }
            if let day = WallInstant(text + "T00:00:00Z") { return .instant(day) }
        case (.lookup, .bare(let text)), (.identifier, .bare(let text)),
            (.lookup, .text(let text)), (.identifier, .text(let text)),
            (.lookup, .name(let text)), (.identifier, .name(let text)):
            if let id = UniqueID(text) { return .identifier(id) }
        case (_, _): break
        }
        throw .badQuery(
            "A binary operator with incompatible types was detected: the literal after '\(column.answerName)' does not "
                + "have its type.")
    }

    // MARK: - Tokens

    private mutating func next() -> FilterToken? {
        guard index < tokens.count else { return nil }
        defer { index += 1 }
        return tokens[index]
    }

    private mutating func take(_ token: FilterToken) -> Bool {
        guard index < tokens.count, tokens[index] == token else { return false }
        index += 1
        return true
    }

    private mutating func takeName(_ name: String) -> Bool { take(.name(name)) }

    private func syntax() -> DataverseError {
        .badQuery("Syntax error at token \(min(index, tokens.count)) of the $filter.")
    }
}
