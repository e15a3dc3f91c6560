import Control
import Devices
import HubContract
import JSON
import Primitives
import Registry
import RuleLibrary
import RuleSets

/// Sets of rules for gateways: published here, named in twins, fetched and checked by the gateways.
extension Verbs {
    func publishRuleSet(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        let gateways = try takers(request)
        guard let text = request.text("file").flatMap({ Base64.decode($0) }) else {
            throw ControlError("the call has no file", .wrongCall)
        }
        let (set, left) = try await library(hub) { try await $0.publish(text, version: request.text("version") ?? "") }
        try await assign(set, to: gateways, hub)
        var row = Self.members(set)
        row["gateways"] = .array(gateways.map { .string($0.text) })
        if left > 0 {
            row["note"] = .string(
                "\(left) of its cases are about schedules in the gateway's own time zone and are run there")
        }
        return .object(row)
    }

    /// A row for each set and each gateway that is to run it or runs it.
    func listRuleSets(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        let (sets, users) = try await library(hub) { (try await $0.published(), try await $0.users()) }
        var rows: [JSONValue] = []
        for set in sets {
            let gateways = users.compactMap { Self.standing($0, of: set.version) }
            rows += Self.rows(Self.members(set), gateways)
        }
        let known = Set(sets.map(\.version))
        // Published elsewhere, or withdrawn since.
        for version in Set(users.flatMap(Self.versions)).subtracting(known).sorted() {
            rows += Self.rows(["version": .string(version)], users.compactMap { Self.standing($0, of: version) })
        }
        return .array(rows)
    }

    func showRuleSet(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        let version = request.text("version") ?? ""
        let (found, users) = try await library(hub) { (try await $0.text(version: version), try await $0.users()) }
        var row = Self.members(found.set)
        row["gateways"] = .array(users.compactMap { Self.standing($0, of: version).map { .object($0) } })
        row["text"] = .string(String(decoding: found.text, as: UTF8.self))
        return .object(row)
    }

    func assignRuleSet(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        let gateways = try takers(request)
        guard !gateways.isEmpty else { throw ControlError("name at least one gateway: --gateway ID", .wrongCall) }
        let set = try await library(hub) { try await $0.text(version: request.text("version") ?? "").set }
        try await assign(set, to: gateways, hub)
        return ["version": .string(set.version), "gateways": .array(gateways.map { .string($0.text) })]
    }

    /// From the gateways that are named, wherever the set was published; or from all that are to run this hub's text of
    /// that version, and out of the hub.
    func withdrawRuleSet(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        let version = request.text("version") ?? ""
        let named = try gateways(request)
        // Asked before any twin is changed: of a version that is not here, nothing is touched.
        let set = named.isEmpty ? try await library(hub) { try await $0.text(version: version).set } : nil
        let users = try await library(hub) { try await $0.users() }
        let wanting = users.filter { Self.isWanted(version, set, by: $0.wish) }.map(\.gateway)
        if let stranger = named.first(where: { !wanting.contains($0) }) {
            throw ControlError("the twin of \(stranger) does not name rule set \(version); see: cloud-hub ruleset list")
        }
        let gateways = named.isEmpty ? wanting : named
        for gateway in gateways {
            _ = try await hub.devices.patchTwin(
                HubIdentity(gateway), Self.desired([RuleSetReference.property: .null]))
        }
        if named.isEmpty { try await library(hub) { try await $0.withdraw(version: version) } }
        return [
            "version": .string(version), "gateways": .array(gateways.map { .string($0.text) }),
            "deleted": .bool(named.isEmpty),
        ]
    }

    // MARK: - Parts

    private func library<T>(_ hub: RunningHub, _ body: (RuleLibrary) async throws -> T) async throws -> T {
        do {
            return try await body(hub.ruleLibrary)
        } catch let error as RuleLibraryError {
            throw ControlError(error.description)
        }
    }

    /// All of them registered; checked before anything is changed.
    private func gateways(_ request: ControlRequest) throws(ControlError) -> [DeviceID] {
        var found: [DeviceID] = []
        for value in request.arguments["gateways"]?.arrayValue ?? [] {
            let text = value.stringValue ?? ""
            guard let id = DeviceID(text), registry.device(id) != nil else {
                throw ControlError("the gateway '\(text.prefix(128))' is not registered; see: cloud-hub device list")
            }
            if !found.contains(id) { found.append(id) }
        }
        return found
    }

    /// Gateways that can be told to run a set. A child's twin may hold a set from elsewhere, so withdrawing takes any.
    private func takers(_ request: ControlRequest) throws(ControlError) -> [DeviceID] {
        let gateways = try gateways(request)
        for id in gateways where registry.device(id)?.capabilities.iotEdge == false {
            guard let parent = registry.gateway(of: id) else { continue }
            throw ControlError("\(id) is a child of \(parent); name the gateway")
        }
        return gateways
    }

    private func assign(_ set: PublishedRuleSet, to gateways: [DeviceID], _ hub: RunningHub) async throws {
        for gateway in gateways {
            _ = try await hub.devices.patchTwin(
                HubIdentity(gateway), Self.desired([RuleSetReference.property: set.reference(for: gateway).json]))
        }
    }

    private static func desired(_ properties: JSONObject) -> JSONValue {
        ["properties": ["desired": .object(properties)]]
    }

    private static func members(_ set: PublishedRuleSet) -> JSONObject {
        [
            "version": .string(set.version), "rules": .number(JSONNumber(Int64(set.ruleCount))),
            "cases": .number(JSONNumber(Int64(set.caseCount))), "bytes": .number(JSONNumber(Int64(set.byteCount))),
            "sha256": .string(set.sha256), "published": .string(set.publishedAt.description),
        ]
    }

    private static func rows(_ set: JSONObject, _ gateways: [JSONObject]) -> [JSONValue] {
        guard !gateways.isEmpty else { return [.object(set)] }
        return gateways.map { gateway in
            var row = set
            for (name, value) in gateway.members { row[name] = value }
            return .object(row)
        }
    }

    private static func wanted(_ wish: RuleSetWish) -> String? {
        switch wish {
        case .none: nil
        case .set(let reference): reference.version
        case .unreadable(let version, _): version
        }
    }

    /// - Parameter set: when given, it must be this very text: a version of another server may have another one.
    private static func isWanted(_ version: String, _ set: PublishedRuleSet?, by wish: RuleSetWish) -> Bool {
        guard let set else { return wanted(wish) == version }
        guard case .set(let reference) = wish else { return false }
        return reference.version == version && reference.sha256 == set.sha256
    }

    private static func versions(_ user: RuleSetUser) -> [String] {
        [wanted(user.wish), user.report.running?.version].compactMap(\.self)
    }

    /// How a gateway stands to a version; `nil` when it has nothing to do with it.
    private static func standing(_ user: RuleSetUser, of version: String) -> JSONObject? {
        let isWanted = wanted(user.wish) == version
        let running = user.report.running.flatMap { $0.version == version ? $0 : nil }
        // A version of another hub may have another text.
        let runsWanted =
            if case .set(let reference) = user.wish { running?.sha256 == reference.sha256 } else { false }
        let refused = user.report.refused.flatMap { isWanted && $0.version == version ? $0 : nil }
        guard isWanted || running != nil else { return nil }
        let state =
            if let refused {
                refused.willRetry ? "retrying" : "refused"
            } else if isWanted, runsWanted {
                "running"
            } else if running != nil {
                "running until replaced"
            } else {
                "on its way"
            }
        let reasons = refused.map { $0.problems + ($0.moreCount > 0 ? ["and \($0.moreCount) more"] : []) } ?? []
        return [
            "gateway": .string(user.gateway.text), "state": .string(state),
            "since": running.map { .string($0.since.description) } ?? .null,
            "reason": .string(reasons.joined(separator: "; ")),
        ]
    }
}
