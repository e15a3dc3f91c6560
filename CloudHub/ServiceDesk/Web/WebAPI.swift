import JSON
import Primitives

/// The Dataverse Web API over the desk's rows.
///
/// Source: Dataverse developer documentation, "Use the Microsoft Dataverse Web API": create, retrieve, update and
/// delete a table row; query data; conditional operations; associate and disassociate rows.
struct WebAPI: Sendable {
    static let path = "/api/data/v9.2/"
    /// Unit: bytes. Four of the longest rows fit.
    static let bodyBytesMax = 256 << 10

    let store: DeskStore
    /// Told the table of each new row, after its commit.
    let onCreate: @Sendable (Table) -> Void

    func answer(_ request: DeskRequest, by actor: Actor) async throws -> DeskAnswer {
        guard let first = request.segments.first else { throw DataverseError.notBuilt("service document") }
        if let missing = Self.notBuilt[first] { throw DataverseError.notBuilt(missing) }
        let address = try Address(first)
        switch (request.method, address.id, request.segments.count) {
        case (.get, nil, 1): return try await list(address.table, request)
        case (.get, let id?, 1): return try await get(id, address.table, request)
        case (.post, nil, 1): return try await create(address.table, request, actor)
        case (.patch, let id?, 1): return try await patch(id, address.table, request, actor)
        case (.delete, let id?, 1):
            try await store.delete(
                id, from: address.table, precondition: try precondition(request, of: address.table), by: actor)
            return DeskAnswer(204)
        case (.delete, let id?, 3): return try await disassociate(id, address.table, request, actor)
        case (_, _, 1): throw DataverseError.methodNotAllowed
        case (_, _, _): throw DataverseError.notBuilt("\(request.method.rawValue) of a part of a row or table")
        }
    }

    /// What Dataverse has at these addresses, and nothing here needs.
    private static let notBuilt = ["$batch": "batch operations", "$metadata": "metadata document"]

    // MARK: - Reading

    private func list(_ table: Table, _ request: DeskRequest) async throws -> DeskAnswer {
        let options = try QueryOptions(query: request.query, table: table)
        let preferences = request.preferences
        let pageRows = min(max(preferences.pageRows ?? QueryOptions.pageRowsMax, 1), QueryOptions.pageRowsMax)
        // A page size makes Dataverse pass $top over.
        let top = preferences.pageRows == nil ? options.top : nil
        let limit = top.map { min($0, QueryOptions.pageRowsMax) } ?? pageRows
        var found = try await store.rows(options, in: table, limit: top == nil ? limit + 1 : limit)
        var nextLink: String?
        if top == nil, found.rows.count > limit {
            found.rows.removeLast()
            nextLink = link(request, offset: options.offset + limit)
        }
        let writer = try await writer(found.rows, table, options, request)
        return DeskAnswer(
            200, headers: preferences.applied(isPage: true),
            json: writer.collection(found.rows, count: found.count, nextLink: nextLink))
    }

    private func get(_ id: UniqueID, _ table: Table, _ request: DeskRequest) async throws -> DeskAnswer {
        let options = try QueryOptions(query: request.query, table: table)
        guard let row = try await store.row(id, in: table) else {
            throw DataverseError.noSuchRow(table, id.description)
        }
        let preferences = request.preferences
        // What stands beside the row itself may have changed without it.
        let isAlone = options.expands.isEmpty && preferences.annotations == nil
        if isAlone, request.header("if-none-match") == row.entityTag { return DeskAnswer(304) }
        let writer = try await writer([row], table, options, request)
        return DeskAnswer(
            200, headers: [(name: "ETag", value: row.entityTag)] + preferences.applied(), json: writer.single(row))
    }

    /// Reads the rows that the answer shows besides its own.
    private func writer(
        _ rows: [Row], _ table: Table, _ options: QueryOptions, _ request: DeskRequest
    ) async throws -> AnswerWriter {
        let annotations = request.preferences.annotations
        var wanted: [String: Set<UniqueID>] = [:]
        for column in table.columns {
            guard case .lookup(let target, _) = column.kind, Tables.table(logicalName: target) != nil else { continue }
            guard annotations != nil || options.expands.contains(where: { $0.lookup == column }) else { continue }
            wanted[target, default: []].formUnion(rows.compactMap { $0.identifier(column.name) })
        }
        var related: [UniqueID: Row] = [:]
        for (target, ids) in wanted where !ids.isEmpty {
            guard let targetTable = Tables.table(logicalName: target) else { continue }
            related.merge(try await store.rows(ids, in: targetTable)) { first, _ in first }
        }
        return AnswerWriter(
            table: table, base: request.origin + Self.path, options: options, annotations: annotations, related: related
        )
    }

    private func link(_ request: DeskRequest, offset: Int) -> String {
        let kept = request.query.split(separator: "&").filter { !$0.hasPrefix("$skiptoken=") }
        let token = "$skiptoken=" + PercentEncoding.encode(PageToken.text(offset: offset))
        return request.origin + Self.path + request.segments.joined(separator: "/") + "?"
            + (kept.map(String.init) + [token]).joined(separator: "&")
    }

    // MARK: - Writing

    private func create(_ table: Table, _ request: DeskRequest, _ actor: Actor) async throws -> DeskAnswer {
        let row = try await store.create(try body(request, table), in: table, by: actor)
        onCreate(table)
        return try await written(row, table, request, isNew: true)
    }

    private func patch(
        _ id: UniqueID, _ table: Table, _ request: DeskRequest, _ actor: Actor
    ) async throws -> DeskAnswer {
        let body = try body(request, table)
        let precondition = try precondition(request, of: table)
        let result = try await store.write(body, to: id, in: table, precondition: precondition, by: actor)
        if result.isNew { onCreate(table) }
        return try await written(result.row, table, request, isNew: result.isNew)
    }

    /// 204 with the row's address; or the row itself, and then no address, when the client prefers that.
    private func written(_ row: Row, _ table: Table, _ request: DeskRequest, isNew: Bool) async throws -> DeskAnswer {
        let preferences = request.preferences
        guard preferences.returnsRow else {
            let address = "\(request.origin)\(Self.path)\(table.entitySet)(\(row.id))"
            return DeskAnswer(204, headers: [(name: "OData-EntityId", value: address)])
        }
        let options = try QueryOptions(query: request.query, table: table)
        let writer = try await writer([row], table, options, request)
        return DeskAnswer(
            isNew ? 201 : 200,
            headers: [(name: "Preference-Applied", value: "return=representation")] + preferences.applied(),
            json: writer.single(row))
    }

    /// `DELETE set(id)/nav/$ref` clears one lookup.
    private func disassociate(
        _ id: UniqueID, _ table: Table, _ request: DeskRequest, _ actor: Actor
    ) async throws -> DeskAnswer {
        guard request.segments[2] == "$ref" else { throw DataverseError.unknownSegment(request.segments[2]) }
        guard let lookup = table.lookup(navigation: request.segments[1]) else {
            throw DataverseError.unknownSegment(request.segments[1])
        }
        try await store.clear(lookup, of: id, in: table, by: actor)
        return DeskAnswer(204)
    }

    private func body(_ request: DeskRequest, _ table: Table) throws(DataverseError) -> JSONValue {
        do {
            return try JSONValue(parsing: request.body)
        } catch {
            throw .payload(table, "The request body is not JSON: \(error)")
        }
    }

    private func precondition(
        _ request: DeskRequest, of table: Table
    ) throws(DataverseError) -> DeskStore.Precondition {
        switch (request.header("if-match"), request.header("if-none-match")) {
        case (nil, nil): return .none
        case (nil, "*"?): return .absent
        case ("*"?, nil): return .present
        case (let tag?, nil):
            guard let version = tag.dropping(prefix: "W/\"")?.dropping(suffix: "\"").flatMap({ Int64($0) }) else {
                throw .badQuery("The If-Match header is not an entity tag of this table: \(table.entitySet).")
            }
            return .version(version)
        default: throw .badQuery("The If-Match and If-None-Match headers of this request cannot be combined.")
        }
    }
}

/// `msdyn_iotalerts` or `msdyn_iotalerts(5a9f…)`.
private struct Address {
    let table: Table
    let id: UniqueID?

    init(_ segment: String) throws(DataverseError) {
        let name = segment.prefix { $0 != "(" }
        guard let table = Tables.table(entitySet: name) else { throw .unknownSegment(name) }
        self.table = table
        let key = segment.dropFirst(name.count)
        if key.isEmpty {
            id = nil
        } else {
            guard let id = UniqueID(key.dropFirst().dropLast()), key.hasSuffix(")") else { throw .badKey(key) }
            self.id = id
        }
    }
}

extension String {
    func dropping(prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
