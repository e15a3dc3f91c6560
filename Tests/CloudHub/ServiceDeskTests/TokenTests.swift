import DeskTestKit
import Foundation
import JSON
import Primitives
import ServiceDesk
import Testing

@Suite struct TokenTests {
    let folder = TemporaryFolder()

    func withDesk(
        now: @escaping @Sendable () -> WallInstant = { TestClock.wall }, _ body: (LiveDesk, String) async throws -> Void
    ) async throws {
        let live = try await LiveDesk.start(folder: folder.path, tokenLifetime: .seconds(60), now: now)
        do {
            try await body(live, String(decoding: live.desk.credentials.clientSecret.bytes, as: UTF8.self))
        } catch {
            try await live.stop()
            throw error
        }
        try await live.stop()
    }

    @Test func theRightSecretGetsABearerTokenThatEnds() async throws {
        let clock = SetClock(WallInstant("2026-11-21T09:00:00Z")!)
        try await withDesk(now: { clock.now }) { live, secret in
            let answer = try await DeskCaller.token(live, secret: secret)
            #expect(answer.status == 200)
            #expect(answer.json?["token_type"]?.stringValue == "Bearer")
            #expect(answer.json?["expires_in"]?.int64Value == 60)
            let caller = try await DeskCaller(live)
            #expect(try await caller.call("GET", "msdyn_iotalerts").status == 200)
            clock.advance(by: .seconds(60))
            let expired = try await caller.call("GET", "msdyn_iotalerts")
            #expect(expired.status == 401)
            #expect(expired.body.isEmpty)
            #expect(expired.headers["www-authenticate"]?.hasPrefix("Bearer authorization_uri=\(live.origin)/") == true)
        }
    }

    @Test func refusalsAreEntras() async throws {
        try await withDesk { live, secret in
            let wrong = try await DeskCaller.token(live, secret: "wrong")
            #expect(wrong.status == 401)
            #expect(wrong.json?["error"]?.stringValue == "invalid_client")
            #expect(
                wrong.json?["error_description"]?.stringValue?.hasPrefix("AADSTS7000215: Invalid client secret") == true
            )
            #expect(wrong.json?["error_codes"]?.arrayValue == [7_000_215])
            let rows: [(DeskCaller.Answer, Int, String, String)] = [
                (
                    try await DeskCaller.token(live, secret: secret, client: "x"), 400, "unauthorized_client",
                    "AADSTS700016"
                ),
                (try await DeskCaller.token(live, secret: secret, tenant: "x"), 400, "invalid_request", "AADSTS90002"),
                (
                    try await DeskCaller.token(live, secret: secret, grant: "password"), 400, "unsupported_grant_type",
                    "AADSTS70003"
                ),
                (
                    try await DeskCaller.token(live, secret: secret, scope: live.origin), 400, "invalid_scope",
                    "AADSTS1002012"
                ),
                (
                    try await DeskCaller.token(live, secret: secret, scope: "https://other.example/.default"), 400,
                    "invalid_resource", "AADSTS500011"
                ),
            ]
            for (answer, status, error, code) in rows {
                #expect(answer.status == status)
                #expect(answer.json?["error"]?.stringValue == error)
                #expect(answer.json?["error_description"]?.stringValue?.hasPrefix(code) == true)
            }
        }
    }

    @Test func withoutATokenNothingIsAnsweredAndNothingIsWritten() async throws {
        try await withDesk { live, _ in
            var caller = try await DeskCaller(live)
            for token in [nil, "", "made-up"] {
                caller.token = token
                #expect(try await caller.call("POST", "msdyn_iotalerts", ["msdyn_description": "x"]).status == 401)
            }
            #expect(try await live.desk.alerts(limit: 10).isEmpty)
        }
    }

    @Test func credentialsAreMadeOnceAndAreForTheOwnerOnly() async throws {
        try await withDesk { live, secret in
            for name in ["desk-client.json", "desk.sqlite", "desk.sqlite-wal"] {
                let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/" + name)
                #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
            }
            #expect(secret.utf8.count >= 32)
            #expect("\(live.desk.credentials)".contains(secret) == false)
        }
        var first: String?
        try await withDesk { _, secret in first = secret }
        try await withDesk { _, secret in #expect(secret == first) }
    }
}
