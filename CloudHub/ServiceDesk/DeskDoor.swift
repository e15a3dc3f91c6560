import JSON
public import Primitives

/// One alert as pages list it.
public struct DeskAlert: Sendable, Equatable {
    public let id: UniqueID
    /// `msdyn_description`; at most 100 characters.
    public let title: String
    /// The provider's device id; empty when the alert names none.
    public let deviceID: String
    public let time: WallInstant
    /// Whether its state is anything but closed or inactive.
    public let isOpen: Bool
    /// The status reason in words: `Active`, `In Progress - Command Sent`, `Closed`, …
    public let status: String
}

/// One command row of an alert.
public struct DeskCommand: Sendable, Equatable {
    public let id: UniqueID
    public let name: String
    /// The JSON that is sent.
    public let message: String
    /// `In Progress`, `Sent` or `Error`.
    public let status: String
    public let reason: String
    public let createdAt: WallInstant
}

/// One thing that happened to an alert or to one of its commands.
public struct DeskHistoryLine: Sendable, Equatable {
    public let at: WallInstant
    public let actor: String
    /// For example `update msdyn_iotalert: statuscode = Closed`.
    public let what: String
}

/// One alert with all that happened to it.
public struct DeskAlertDetail: Sendable, Equatable {
    public let alert: DeskAlert
    /// `msdyn_alertdata`: the JSON that came with the alert.
    public let alertText: String
    /// The newest hundred, oldest first.
    public let commands: [DeskCommand]
    /// Oldest first; the newest 500.
    public let history: [DeskHistoryLine]
}

/// The door for pages in the same process. It reads rows and writes command rows, and reaches nothing else.
extension ServiceDesk {
    public enum AlertFilter: Sendable { case all, open, closed }

    /// Newest first.
    ///
    /// - Parameter limit: 1 … 5000.
    public func alerts(_ filter: AlertFilter = .all, limit: Int) async throws -> [DeskAlert] {
        var options = QueryOptions()
        let open = try FilterExpression("statecode eq 0 or statecode eq 2", table: Tables.alert)
        switch filter {
        case .all: break
        case .open: options.filter = open
        case .closed: options.filter = .not(open)
        }
        options.orders = Self.newestFirst(Tables.alert)
        let found = try await store.rows(
            options, in: Tables.alert, limit: min(max(limit, 1), QueryOptions.pageRowsMax))
        return found.rows.map(DeskAlert.init)
    }

    /// `nil` when there is no such alert.
    public func alert(_ id: UniqueID) async throws -> DeskAlertDetail? {
        guard let row = try await store.row(id, in: Tables.alert) else { return nil }
        var options = QueryOptions(query: [("_msdyn_parentalert_value", id)])
        options.orders = Self.newestFirst(Tables.command)
        let newest = try await store.rows(options, in: Tables.command, limit: 100).rows
        let lines = try await store.audit(of: [id] + newest.map(\.id), limit: 500)
        return DeskAlertDetail(
            alert: DeskAlert(row), alertText: row.text("msdyn_alertdata") ?? "",
            commands: Self.inOrder(newest.map(DeskCommand.init), lines),
            history: lines.map(DeskHistoryLine.init))
    }

    private static func newestFirst(_ table: Table) -> [QueryOptions.Order] {
        ["createdon", "versionnumber"].compactMap { name in
            table.column(name).map { QueryOptions.Order(column: $0, isDescending: true) }
        }
    }

    /// Oldest first. Rows say the second of their making only; of those in one second the audit knows the order.
    private static func inOrder(_ commands: [DeskCommand], _ lines: [AuditLine]) -> [DeskCommand] {
        let made = Dictionary(lines.enumerated().map { ($1.row, $0) }, uniquingKeysWith: min)
        return commands.sorted {
            ($0.createdAt, made[$0.id] ?? -1) < ($1.createdAt, made[$1.id] ?? -1)
        }
    }

    /// Writes a command row on an alert's device, with its audit line, and does nothing else.
    ///
    /// - Parameters:
    ///   - name: the stock or own command name, up to 100 characters: `Reset Thermostat`.
    ///   - parameters: what stands under `Parameters` in the message.
    ///   - user: who asked for it, for the audit.
    /// - Returns: the id of the row.
    /// - Throws: `DeskError`, with nothing written.
    @discardableResult
    public func createCommand(
        _ name: String, parameters: JSONObjectText = .empty, on alert: UniqueID, by user: String
    ) async throws -> UniqueID {
        let doing = "write a command row"
        guard let row = try await store.row(alert, in: Tables.alert) else { throw DeskError(.noSuchRow, doing: doing) }
        let message: JSONValue = ["CommandName": .string(name), "Parameters": parameters.value]
        var body: JSONObject = [
            "msdyn_name": .string(name), "msdyn_message": .string(message.text),
            "msdyn_ParentAlert@odata.bind": .string("/\(Tables.alert.entitySet)(\(alert))"),
        ]
        if let device = row.text("msdyn_deviceid") { body["msdyn_deviceid"] = .string(device) }
        if let device = row.identifier("msdyn_device") {
            body["msdyn_Device@odata.bind"] = .string("/\(Tables.device.entitySet)(\(device))")
        }
        let actor = Actor(id: Self.pagesUser, name: "user \(user.prefix(100))")
        do {
            let written = try await store.create(.object(body), in: Tables.command, by: actor)
            rowCreated(Tables.command)
            return written.id
        } catch let error as DataverseError {
            throw DeskError(.refused(error.message), doing: doing)
        }
    }

    /// The system user behind rows that pages write.
    private static let pagesUser = UniqueID(high: 0x6669_656c_646c_4e00, low: 0x8000_0000_0000_0001)
}

/// A JSON object for the door, so that pages need not know the JSON room's types.
public struct JSONObjectText: Sendable, Equatable {
    public static let empty = JSONObjectText(value: .object(JSONObject()))

    let value: JSONValue

    private init(value: JSONValue) { self.value = value }

    /// Text members: `["Message": "hello"]`.
    public init(_ members: [String: String]) {
        value = .object(JSONObject(members.sorted { $0.key < $1.key }.map { (key: $0.key, value: .string($0.value)) }))
    }

    /// Members inside one outer member: `Reading` → `["Temperature": "21.5"]`.
    public init(_ name: String, _ members: [String: String]) {
        value = .object([name: Self(members).value] as JSONObject)
    }
}

extension QueryOptions {
    fileprivate init(query equal: [(name: String, id: UniqueID)]) {
        self.init()
        for (name, id) in equal {
            guard let column = Tables.command.readable(name) else { continue }
            filter = .compare(FilterColumn(column: column, via: nil), .eq, .identifier(id))
        }
    }
}

extension DeskAlert {
    fileprivate init(_ row: Row) {
        let status = row.whole("statuscode") ?? 1
        let state = row.whole("statecode") ?? 0
        self.init(
            id: row.id, title: row.text("msdyn_description") ?? "", deviceID: row.text("msdyn_deviceid") ?? "",
            time: row.instant("msdyn_alerttime") ?? row.instant("createdon") ?? WallInstant(milliseconds: 0),
            isOpen: state == 0 || state == 2,
            status: Tables.alert.statuses.first { $0.value == status }?.label ?? String(status))
    }
}

extension DeskCommand {
    fileprivate init(_ row: Row) {
        let status =
            switch row.whole("msdyn_commandstatus") {
            case 192_350_001: "Sent"
            case 192_350_002: "Error"
            default: "In Progress"
            }
        self.init(
            id: row.id, name: row.text("msdyn_name") ?? "", message: row.text("msdyn_message") ?? "", status: status,
            reason: row.text("msdyn_commandstatusreason") ?? "",
            createdAt: row.instant("createdon") ?? WallInstant(milliseconds: 0))
    }
}

extension DeskHistoryLine {
    fileprivate init(_ line: AuditLine) {
        self.init(
            at: line.at, actor: line.actor,
            what: "\(line.action.rawValue) \(line.tableName)" + (line.changed.isEmpty ? "" : ": \(line.changed)"))
    }
}
