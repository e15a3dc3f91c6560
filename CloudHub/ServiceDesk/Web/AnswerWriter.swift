import JSON
import Primitives

/// Rows as the JSON of the Web API.
struct AnswerWriter {
    let table: Table
    /// `https://…/api/data/v9.2/`
    let base: String
    let options: QueryOptions
    let wantsAnnotations: Bool
    /// Rows that lookups point to, by their id: for `$expand` and display names.
    let related: [UniqueID: Row]

    func collection(_ rows: [Row], count: Int?, nextLink: String?) -> JSONValue {
        var answer = JSONObject()
        answer["@odata.context"] = .string(context)
        if let count { answer["@odata.count"] = .number(JSONNumber(Int64(min(count, QueryOptions.pageRowsMax)))) }
        if let count, wantsAnnotations {
            answer["@Microsoft.Dynamics.CRM.totalrecordcount"] =
                .number(JSONNumber(Int64(min(count, QueryOptions.pageRowsMax))))
            answer["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] = .bool(count > QueryOptions.pageRowsMax)
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
        var object = Self.object(
            row, table: table, select: options.select, related: wantsAnnotations ? related : nil)
        for expand in options.expands {
            guard let target = Tables.table(logicalName: expand.target) else { continue }
            let inner = row.identifier(expand.lookup.name).flatMap { related[$0] }
            object[navigation(expand.lookup)] =
                inner.map { .object(Self.object($0, table: target, select: expand.select, related: nil)) } ?? .null
        }
        return object
    }

    private func navigation(_ column: Column) -> String {
        if case .lookup(_, let navigation) = column.kind { navigation } else { column.name }
    }

    /// - Parameter related: rows for display names; `nil` leaves annotations out.
    private static func object(
        _ row: Row, table: Table, select: [Column], related: [UniqueID: Row]?
    ) -> JSONObject {
        var object = JSONObject()
        object["@odata.etag"] = .string(row.entityTag)
        for column in select.isEmpty ? table.columns : select {
            let name = column.answerName
            let cell = row[column.name]
            if let related { annotate(&object, name, column, cell, related) }
            object[name] = json(cell)
        }
        object[table.primaryKey] = .string(row.id.description)
        return object
    }

    private static func annotate(
        _ object: inout JSONObject, _ name: String, _ column: Column, _ cell: Cell, _ related: [UniqueID: Row]
    ) {
        let formatted = name + "@OData.Community.Display.V1.FormattedValue"
        switch (column.kind, cell) {
        case (.choice(let choices), .whole(let value)):
            if let label = choices.first(where: { $0.value == value })?.label { object[formatted] = .string(label) }
        case (.flag, .flag(let flag)): object[formatted] = .string(flag ? "Yes" : "No")
        case (.lookup(let target, let navigation), .identifier(let id)):
            if let targetTable = Tables.table(logicalName: target),
                let title = related[id]?.text(targetTable.primaryName)
            {
                object[formatted] = .string(title)
            }
            object[name + "@Microsoft.Dynamics.CRM.associatednavigationproperty"] = .string(navigation)
            object[name + "@Microsoft.Dynamics.CRM.lookuplogicalname"] = .string(target)
        case (_, _): break
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
