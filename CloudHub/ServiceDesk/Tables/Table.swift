/// A Dataverse table described as data: what may be written, how long, and under which names.
///
/// Source: the generated table references of the Dynamics 365 Customer Engagement documentation, `msdyn_iotalert`,
/// `msdyn_iotdevice` and `msdyn_iotdevicecommand`.
struct Table: Sendable {
    let logicalName: String
    /// The name in URLs.
    let entitySet: String
    let primaryKey: String
    let primaryName: String
    /// Own columns, then the ones that every table has; without the primary key.
    let columns: [Column]
    let states: [State]
    let statuses: [Status]

    private let columnByName: [String: Column]
    private let columnByNavigation: [String: Column]

    init(
        _ logicalName: String, entitySet: String, primaryName: String, columns own: [Column], states: [State],
        statuses: [Status]
    ) {
        self.logicalName = logicalName
        self.entitySet = entitySet
        primaryKey = logicalName + "id"
        self.primaryName = primaryName
        self.states = states
        self.statuses = statuses
        columns = own + Self.statusColumns(states, statuses) + Self.platformColumns
        columnByName = Dictionary(columns.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var navigations: [String: Column] = [:]
        for column in columns {
            if case .lookup(_, let navigation) = column.kind { navigations[navigation] = column }
        }
        columnByNavigation = navigations
    }

    /// Exact case, as Dataverse demands.
    func column(_ name: some StringProtocol) -> Column? { columnByName[String(name)] }

    /// By the navigation property's name, exact case: `msdyn_Device`.
    func lookup(navigation: some StringProtocol) -> Column? { columnByNavigation[String(navigation)] }

    /// The column behind a name in a query: a plain column, or the lookup behind `_name_value`.
    func readable(_ name: some StringProtocol) -> Column? {
        if name == primaryKey { return Column(primaryKey, .identifier, write: .key) }
        if name.hasPrefix("_"), name.hasSuffix("_value") {
            guard let column = column(name.dropFirst().dropLast("_value".count)), column.isLookup else { return nil }
            return column
        }
        guard let column = column(name), !column.isLookup else { return nil }
        return column
    }

    private static func statusColumns(_ states: [State], _ statuses: [Status]) -> [Column] {
        [
            Column(
                "statecode", .choice(states.map { Choice($0.value, $0.label) }), level: .systemRequired),
            Column("statuscode", .choice(statuses.map { Choice($0.value, $0.label) })),
        ]
    }

    private static let platformColumns: [Column] = [
        Column("createdon", .instant, write: .platform),
        Column("modifiedon", .instant, write: .platform),
        Column("overriddencreatedon", .instant, write: .createOnly),
        Column("createdby", .lookup(table: "systemuser", navigation: "createdby"), write: .platform),
        Column("modifiedby", .lookup(table: "systemuser", navigation: "modifiedby"), write: .platform),
        Column("ownerid", .lookup(table: "systemuser", navigation: "ownerid"), write: .platform),
        Column("versionnumber", .whole(0...Int64.max), write: .platform),
    ]
}

/// One column of a table.
struct Column: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        /// String, memo or URL. Unit of the limit: UTF-16 code units, as Dataverse counts.
        case text(lengthMax: Int)
        case whole(ClosedRange<Int64>)
        case choice([Choice])
        case flag
        /// Stored in UTC, whole seconds.
        case instant
        case lookup(table: String, navigation: String)
        case identifier
    }

    /// Dataverse itself refuses only a missing system-required value; application-required is for forms.
    enum Level: Sendable, Equatable { case optional, applicationRequired, systemRequired }

    enum Write: Sendable, Equatable {
        case open
        /// Taken on create, refused on update.
        case createOnly
        /// Set by the platform; a client's value is passed over.
        case platform
        case key
    }

    let name: String
    let kind: Kind
    let level: Level
    let write: Write
    /// What a new row gets when its creator says nothing.
    let initial: Cell

    init(
        _ name: String, _ kind: Kind, level: Level = .optional, write: Write = .open, initial: Cell = .null
    ) {
        self.name = name
        self.kind = kind
        self.level = level
        self.write = write
        self.initial = initial
    }

    var isLookup: Bool {
        if case .lookup = kind { true } else { false }
    }

    var isText: Bool {
        if case .text = kind { true } else { false }
    }

    /// The name in an answer: lookups appear as `_name_value`.
    var answerName: String { isLookup ? "_\(name)_value" : name }
}

/// One value of a choice column.
struct Choice: Sendable, Equatable {
    let value: Int64
    let label: String

    init(_ value: Int64, _ label: String) {
        self.value = value
        self.label = label
    }
}

/// One `statecode` and the `statuscode` that it gets when none is named.
struct State: Sendable, Equatable {
    let value: Int64
    let label: String
    let defaultStatus: Int64
}

/// One `statuscode` and the only `statecode` that it may stand with.
struct Status: Sendable, Equatable {
    let value: Int64
    let label: String
    let state: Int64
}
