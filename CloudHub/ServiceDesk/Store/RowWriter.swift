import GRDB
import JSON
import Primitives

/// Turns a checked body into a stored row, with all that the platform adds by itself.
struct RowWriter {
    let tables: RowTables
    let table: Table
    let actor: Actor
    let now: WallInstant

    func create(_ id: UniqueID, _ body: JSONValue) throws -> Row {
        let change = try RowBody(body, for: table, key: id, isCreate: true)
        try demandTargets(change)
        var cells = Dictionary(table.columns.map { ($0.name, $0.initial) }, uniquingKeysWith: { first, _ in first })
        cells.merge(change.cells) { _, new in new }
        let status = try table.statusPair(named: change.cells, current: (0, table.states[0].defaultStatus))
        cells["statecode"] = .whole(status.state)
        cells["statuscode"] = .whole(status.status)
        cells["createdon"] = .seconds(now)
        cells["modifiedon"] = .seconds(now)
        for column in ["createdby", "modifiedby", "ownerid"] { cells[column] = .identifier(actor.id) }
        cells["versionnumber"] = .whole(try tables.nextVersion())
        try infer(&cells, named: change)
        let row = Row(id: id, cells: cells)
        try tables.insert(row, in: table)
        try audit(.create, id, change.cells)
        return row
    }

    func update(_ current: Row, _ body: JSONValue) throws -> Row {
        let change = try RowBody(body, for: table, key: current.id, isCreate: false)
        try demandTargets(change)
        var cells = change.cells
        if cells.keys.contains("statecode") || cells.keys.contains("statuscode") {
            let state = current.whole("statecode") ?? 0
            let status = current.whole("statuscode") ?? table.states[0].defaultStatus
            let pair = try table.statusPair(named: change.cells, current: (state, status))
            cells["statecode"] = .whole(pair.state)
            cells["statuscode"] = .whole(pair.status)
        }
        let audited = cells
        cells["modifiedon"] = .seconds(now)
        cells["modifiedby"] = .identifier(actor.id)
        cells["versionnumber"] = .whole(try tables.nextVersion())
        try infer(&cells, named: change)
        try tables.update(current.id, with: cells, in: table)
        try audit(.update, current.id, audited)
        return Row(id: current.id, cells: current.cells.merging(cells) { _, new in new })
    }

    private func demandTargets(_ change: RowBody) throws {
        for target in change.targets {
            guard let targetTable = Tables.table(logicalName: target.table) else { continue }
            guard try tables.row(target.id, in: targetTable) != nil else {
                throw DataverseError.noSuchRow(targetTable, target.id.description)
            }
        }
    }

    /// What the solution's own logic sets: the parent alert by its token, the device row by the device's text id.
    private func infer(_ cells: inout [String: Cell], named change: RowBody) throws {
        if case .text(let token) = change.cells["msdyn_parentalerttoken"], change.cells["msdyn_parentalert"] == nil,
            let parent = try tables.first(of: Tables.alert, where: "msdyn_alerttoken", is: token)
        {
            cells["msdyn_parentalert"] = .identifier(parent)
        }
        if table.lookup(navigation: "msdyn_Device") != nil, case .text(let device) = change.cells["msdyn_deviceid"],
            change.cells["msdyn_device"] == nil,
            let row = try tables.first(of: Tables.device, where: "msdyn_deviceid", is: device)
        {
            cells["msdyn_device"] = .identifier(row)
        }
    }

    private func audit(_ action: AuditLine.Action, _ id: UniqueID, _ cells: [String: Cell]) throws {
        let line = AuditLine(
            at: now, actor: actor.name, action: action, table: table, row: id, changed: summary(cells))
        try line.insert(tables.database)
    }

    /// Column names in the table's order; choices with their label, short texts and flags with their value.
    private func summary(_ cells: [String: Cell]) -> String {
        var parts: [String] = []
        for column in table.columns {
            guard let cell = cells[column.name] else { continue }
            switch (column.kind, cell) {
            case (_, .null): parts.append("\(column.name) cleared")
            case (.choice(let choices), .whole(let value)):
                let label = choices.first { $0.value == value }?.label ?? String(value)
                parts.append("\(column.name) = \(label)")
            case (.text, .text(let text)): parts.append("\(column.name) = \(text.prefix(120))")
            case (_, .whole(let value)): parts.append("\(column.name) = \(value)")
            case (_, .flag(let flag)): parts.append("\(column.name) = \(flag)")
            case (_, .instant(let instant)): parts.append("\(column.name) = \(instant)")
            case (_, .identifier(let id)): parts.append("\(column.name) = \(id)")
            case (_, .text): parts.append(column.name)
            }
        }
        return String(parts.joined(separator: "; ").prefix(2000))
    }
}
