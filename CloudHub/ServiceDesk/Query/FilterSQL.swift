import GRDB

/// A piece of SQL with its arguments.
struct SQLPiece {
    var sql: String
    var arguments: [DatabaseValue] = []
}

extension FilterExpression {
    /// The condition over a row named `r`. Texts compare without regard to case, as Dataverse's collation does.
    func sql(table: Table) -> SQLPiece {
        switch self {
        case .compare(let column, let comparison, let cell): Self.compare(column, comparison, cell, table)
        case .match(let column, let match, let text):
            SQLPiece(
                sql: "\(column.sql(table)) LIKE ? ESCAPE '\\'",
                arguments: [Self.pattern(match, text).databaseValue])
        case .not(let inner):
            inner.sql(table: table).wrapped { "NOT COALESCE((\($0)), 0)" }
        case .and(let left, let right): Self.joined(left, "AND", right, table)
        case .or(let left, let right): Self.joined(left, "OR", right, table)
        }
    }

    private static func joined(
        _ left: FilterExpression, _ word: String, _ right: FilterExpression, _ table: Table
    ) -> SQLPiece {
        let first = left.sql(table: table)
        let second = right.sql(table: table)
        return SQLPiece(
            sql: "(\(first.sql)) \(word) (\(second.sql))", arguments: first.arguments + second.arguments)
    }

    private static func compare(
        _ column: FilterColumn, _ comparison: Comparison, _ cell: Cell, _ table: Table
    ) -> SQLPiece {
        let name = column.sql(table)
        let collation = column.column.isText ? " COLLATE NOCASE" : ""
        let value = [cell.databaseValue]
        switch comparison {
        case .eq: return SQLPiece(sql: "\(name) IS ?\(collation)", arguments: value)
        case .ne: return SQLPiece(sql: "\(name) IS NOT ?\(collation)", arguments: value)
        case .gt: return SQLPiece(sql: "\(name) > ?\(collation)", arguments: value)
        case .ge: return SQLPiece(sql: "\(name) >= ?\(collation)", arguments: value)
        case .lt: return SQLPiece(sql: "\(name) < ?\(collation)", arguments: value)
        case .le: return SQLPiece(sql: "\(name) <= ?\(collation)", arguments: value)
        }
    }

    private static func pattern(_ match: TextMatch, _ text: String) -> String {
        var escaped = ""
        for character in text {
            if "\\%_".contains(character) { escaped.append("\\") }
            escaped.append(character)
        }
        switch match {
        case .contains: return "%\(escaped)%"
        case .startswith: return "\(escaped)%"
        case .endswith: return "%\(escaped)"
        }
    }
}

extension FilterColumn {
    fileprivate func sql(_ table: Table) -> String {
        guard let via, case .lookup(let targetName, _) = via.kind, let target = Tables.table(logicalName: targetName)
        else { return "r.\"\(column.name)\"" }
        return "(SELECT t.\"\(column.name)\" FROM \"\(target.logicalName)\" t "
            + "WHERE t.\"\(target.primaryKey)\" = r.\"\(via.name)\")"
    }
}

extension SQLPiece {
    fileprivate func wrapped(_ wrap: (String) -> String) -> SQLPiece {
        SQLPiece(sql: wrap(sql), arguments: arguments)
    }
}
