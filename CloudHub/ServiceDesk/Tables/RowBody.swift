import JSON
import Primitives

/// What a create or update body asks for, checked against the table's declaration. Pure.
struct RowBody: Sendable, Equatable {
    /// Column name → new value; `.null` clears.
    private(set) var cells: [String: Cell] = [:]
    /// Lookups whose target must exist, by column name.
    private(set) var targets: [(column: String, table: String, id: UniqueID)] = []

    static func == (left: RowBody, right: RowBody) -> Bool { left.cells == right.cells }

    /// - Parameter key: the id in the address; a body that repeats it with another value is refused.
    init(_ body: JSONValue, for table: Table, key: UniqueID?, isCreate: Bool) throws(DataverseError) {
        guard let object = body.objectValue else {
            throw .payload(table, "A JSON object was expected as the body of the request.")
        }
        for (name, value) in object.members {
            if let navigation = name.dropping(suffix: "@odata.bind") {
                try bind(navigation, to: value, in: table)
            } else if name.contains("@") {
                continue
            } else if let lookup = table.lookup(navigation: name) {
                try clear(lookup, named: name, value, in: table)
            } else if name == table.primaryKey {
                guard key == nil || value.stringValue.flatMap({ UniqueID($0) }) == key else {
                    throw .payload(table, "The key property '\(name)' does not match the address of the request.")
                }
            } else {
                try set(name, to: value, in: table, isCreate: isCreate)
            }
        }
    }

    private mutating func bind(_ navigation: String, to value: JSONValue, in table: Table) throws(DataverseError) {
        guard let column = table.lookup(navigation: navigation), case .lookup(let target, _) = column.kind else {
            throw .undeclaredNavigation(navigation, in: table)
        }
        guard column.write == .open else { return }
        if value == .null {
            cells[column.name] = .null
            return
        }
        guard let reference = value.stringValue.flatMap(RowReference.init) else {
            throw .payload(table, "The value of '\(navigation)@odata.bind' is not the address of a row.")
        }
        guard let bound = Tables.table(entitySet: reference.entitySet), bound.logicalName == target else {
            throw .unknownSegment(reference.entitySet)
        }
        cells[column.name] = .identifier(reference.id)
        targets.append((column.name, target, reference.id))
    }

    /// `"msdyn_Device": null` does what a bind to null does; a row in that place would be created with this one.
    private mutating func clear(
        _ lookup: Column, named name: String, _ value: JSONValue, in table: Table
    ) throws(DataverseError) {
        if value.objectValue != nil { throw .notBuilt("deep insert; create the related row first, then bind it") }
        guard value == .null else { throw .unknownProperty(name, in: table) }
        if lookup.write == .open { cells[lookup.name] = .null }
    }

    private mutating func set(
        _ name: String, to value: JSONValue, in table: Table, isCreate: Bool
    ) throws(DataverseError) {
        if name.hasPrefix("_"), table.readable(name) != nil {
            throw .payload(
                table,
                "CRM do not support direct update of Entity Reference properties, Use Navigation properties instead.")
        }
        guard let column = table.column(name), !column.isLookup else { throw .unknownProperty(name, in: table) }
        switch column.write {
        case .platform, .key: return
        case .createOnly where !isCreate: return
        case .createOnly, .open: cells[name] = try Self.cell(value, for: column, in: table)
        }
    }

    private static func cell(_ value: JSONValue, for column: Column, in table: Table) throws(DataverseError) -> Cell {
        if value == .null {
            guard column.level != .systemRequired else {
                throw .payload(table, "The property '\(column.name)' has a null value, but it is not nullable.")
            }
            return .null
        }
        switch column.kind {
        case .text(let lengthMax):
            guard let text = value.stringValue else { throw literal(value, column, "Edm.String", table) }
            guard text.utf16.count <= lengthMax else { throw .tooLong(column.name, lengthMax: lengthMax, in: table) }
            return .text(text)
        case .whole(let range):
            guard let number = value.int64Value else { throw literal(value, column, "Edm.Int32", table) }
            guard range.contains(number) else { throw .outsideRange(number, column.name, in: table) }
            return .whole(number)
        case .choice(let choices):
            guard let number = value.int64Value else { throw literal(value, column, "Edm.Int32", table) }
            guard choices.contains(where: { $0.value == number }) else {
                throw .outsideChoices(number, column.name, choices, in: table)
            }
            return .whole(number)
        case .flag:
            guard let flag = value.boolValue else { throw literal(value, column, "Edm.Boolean", table) }
            return .flag(flag)
        case .instant:
            guard let instant = value.stringValue.flatMap({ WallInstant($0) }) else {
                throw literal(value, column, "Edm.DateTimeOffset", table)
            }
            return .seconds(instant)
        case .lookup, .identifier:
            throw .unknownProperty(column.name, in: table)
        }
    }

    private static func literal(
        _ value: JSONValue, _ column: Column, _ type: String, _ table: Table
    ) -> DataverseError {
        .payload(table, "Cannot convert the literal '\(value.text.prefix(64))' to the expected type '\(type)'.")
    }
}

/// The address of one row: `/msdyn_iotdevices(5a9f…)`, relative or as a whole URL.
struct RowReference: Sendable, Equatable {
    let entitySet: String
    let id: UniqueID

    init?(_ text: String) {
        guard text.utf8.count <= 2048 else { return nil }
        let last = text.split(separator: "/").last ?? ""
        guard let open = last.firstIndex(of: "("), last.hasSuffix(")"),
            let id = UniqueID(last[last.index(after: open)...].dropLast())
        else { return nil }
        entitySet = String(last[..<open])
        self.id = id
    }
}

extension Table {
    /// The `statecode` and `statuscode` that follow from what a body names and what the row holds now.
    ///
    /// A state alone brings its default status; a status alone must belong to the row's state; both must pair.
    func statusPair(
        named cells: [String: Cell], current: (state: Int64, status: Int64)
    ) throws(DataverseError) -> (state: Int64, status: Int64) {
        let named = (state: Self.whole(cells["statecode"]), status: Self.whole(cells["statuscode"]))
        guard let stateValue = named.state ?? (named.status == nil ? nil : current.state) else { return current }
        guard let state = states.first(where: { $0.value == stateValue }) else { return current }
        guard let statusValue = named.status else {
            return stateValue == current.state ? current : (stateValue, state.defaultStatus)
        }
        guard statuses.contains(where: { $0.value == statusValue && $0.state == stateValue }) else {
            throw .statusPair(statusValue, state: state, in: self)
        }
        return (stateValue, statusValue)
    }

    private static func whole(_ cell: Cell?) -> Int64? {
        if case .whole(let number) = cell { number } else { nil }
    }
}

extension String {
    func dropping(suffix: String) -> String? {
        hasSuffix(suffix) ? String(dropLast(suffix.count)) : nil
    }
}
