import Authorities
import Control
import HubClock
import JSON
import Primitives

extension Verbs {
    func addAuthority(_ request: ControlRequest) async throws -> JSONValue {
        row(try await authorities.add(try name(request), file: try file(request)))
    }

    func makeAuthorityCode(_ request: ControlRequest) async throws -> JSONValue {
        .string(try await authorities.makeCode(for: try name(request)))
    }

    func proveAuthority(_ request: ControlRequest) async throws -> JSONValue {
        row(try await authorities.prove(try name(request), file: try file(request)))
    }

    func listAuthorities() -> JSONValue { .array(authorities.summaries.map(row)) }

    func deleteAuthority(_ request: ControlRequest) async throws -> JSONValue {
        let name = try name(request)
        try await authorities.delete(name)
        return ["name": .string(name), "deleted": true]
    }

    func setRevocationList(_ request: ControlRequest) async throws -> JSONValue {
        let summary = try await authorities.setRevocationList(try name(request), file: try file(request))
        guard case .object(var shown) = row(summary) else { return .null }
        if let ends = summary.listEndsAt, ends <= SystemTime.wall() {
            shown["warning"] = .string(
                "the list ended at \(ends); have the authority make a new one, what was revoked since is not in it")
        }
        return .object(shown)
    }

    private func name(_ request: ControlRequest) throws(ControlError) -> String {
        guard let name = request.text("name") else { throw ControlError("the call names no authority", .wrongCall) }
        return name
    }

    private func file(_ request: ControlRequest) throws(ControlError) -> [UInt8] {
        guard let bytes = request.text("file").flatMap({ Base64.decode($0) }) else {
            throw ControlError("the call has no file", .wrongCall)
        }
        return bytes
    }

    private func row(_ authority: AuthoritySummary) -> JSONValue {
        [
            "name": .string(authority.name), "proven": .bool(authority.isProven),
            "ends": .string(authority.endsAt.description),
            "revoked": authority.revokedCount.map { .number(JSONNumber($0)) } ?? .null,
            "listEnds": authority.listEndsAt.map { .string($0.description) } ?? .null,
            "thumbprint": .string(authority.thumbprint), "subject": .string(authority.subject),
        ]
    }
}
