import JSON
import Primitives

/// Rows as the JSON of the Web API.
struct AnswerWriter {
    let table: Table
    /// `https://…/api/data/v9.2/`
    let base: String
    let options: QueryOptions
    /// `nil`: none.
    let annotations: AnnotationFilter?
    /// Rows that lookups point to, by their id: for `$expand` and display names.
    let related: [UniqueID: Row]

    private static let totalCount = "Microsoft.Dynamics.CRM.totalrecordcount"
    private static let limitExceeded = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"
    private static let formattedValue = "OData.Community.Display.V1.FormattedValue"
    private static let navigationProperty = "Microsoft.Dynamics.CRM.associatednavigationproperty"
    private static let logicalName = "Microsoft.Dynamics.CRM.lookuplogicalname"

    func collection(_ rows: [Row], count: Int?, nextLink: String?) -> JSONValue {
        var answer = JSONObject()
        answer["@odata.context"] = .string(context)
        if let count { answer["@odata.count"] = .number(JSONNumber(Int64(min(count, QueryOptions.pageRowsMax)))) }
        if annotations?.takes(Self.totalCount) == true {
            // -1 without `$count`.
            let total = count.map { Int64(min($0, QueryOptions.pageRowsMax)) } ?? -1
            answer["@" + Self.totalCount] = .number(JSONNumber(total))
        }
        if annotations?.takes(Self.limitExceeded) == true {
            answer["@" + Self.limitExceeded] = .bool((count ?? 0) > QueryOptions.pageRowsMax)
        }
        answer["value"] = .array(rows.map { .object(object($0)) })
        if let nextLink { answer["@odata.nextLink"] = .string(nextLink) }
        return .object(answer)
    }

    func single(_ row: Row) -> JSONValue {
        var answer = JSONObject()
        answer["@odata.context"] = .string(context + "/$entity")
        for (key, value) in object(row).members { answer[key] = value }
        return .object(answer)
    }

    private var context: String {
        var names = options.select.map(\.answerName)
        for expand in options.expands {
            names.append(
                navigation(expand.lookup) + "(" + expand.select.map(\.answerName).joined(separator: ",") + ")")
        }
        return base + "$metadata#" + table.entitySet + (names.isEmpty ? "" : "(" + names.joined(separator: ",") + ")")
    }

    private func object(_ row: Row) -> JSONObject {
        var object = object(row, of: table, select: options.select)
        for expand in options.expands {
            guard let target = Tables.table(logicalName: expand.target) else { continue }
            let inner = row.identifier(expand.lookup.name).flatMap { related[$0] }
            object[navigation(expand.lookup)] =
                inner.map { .object(self.object($0, of: target, select: expand.select)) } ?? .null
        }
        return object
    }

    private func navigation(_ column: Column) -> String {
        if case .lookup(_, let navigation) = column.kind { navigation } else { column.name }
    }

    private func object(_ row: Row, of table: Table, select: [Column]) -> JSONObject {
        var object = JSONObject()
        object["@odata.etag"] = .string(row.entityTag)
        for column in select.isEmpty ? table.columns : select {
            let name = column.answerName
            let cell = row[column.name]
            if let annotations {
                for (annotation, value) in notes(on: column, cell) where annotations.takes(annotation) {
                    object[name + "@" + annotation] = value
                }
            }
            object[name] = Self.json(cell)
        }
        object[table.primaryKey] = .string(row.id.description)
        return object
    }

    /// Every annotation of one value, in Dataverse's order.
    private func notes(on column: Column, _ cell: Cell) -> [(name: String, value: JSONValue)] {
        switch (column.kind, cell) {
        case (.choice(let choices), .whole(let value)):
            let label = choices.first { $0.value == value }?.label
            return label.map { [(Self.formattedValue, .string($0))] } ?? []
        case (.flag, .flag(let flag)): return [(Self.formattedValue, .string(flag ? "Yes" : "No"))]
        case (.lookup(let target, let navigation), .identifier(let id)):
            let title = Tables.table(logicalName: target).flatMap { related[id]?.text($0.primaryName) }
            return (title.map { [(Self.formattedValue, .string($0))] } ?? []) + [
                (Self.navigationProperty, .string(navigation)), (Self.logicalName, .string(target)),
            ]
        case (_, _): return []
        }
    }

    private static func json(_ cell: Cell) -> JSONValue {
        switch cell {
        case .null: .null
        case .text(let text): .string(text)
        case .whole(let number): .number(JSONNumber(number))
        case .flag(let flag): .bool(flag)
        case .instant(let instant): .string(instant.description)
        case .identifier(let id): .string(id.description)
        }
    }
}

extension DataverseError {
    var body: JSONValue {
        ["error": ["code": .string(code), "message": .string(message)]]
    }
}
