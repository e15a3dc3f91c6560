import Foundation
import JSON
import NIOPosix
import Testing

@testable import Control

@Suite struct ControlTests {
    @Test func aCallIsAnsweredAndTheSocketIsPrivate() async throws {
        try await withServer { request, _ in
            .done(["verb": .string(request.verb), "id": .string(request.text("id") ?? "")])
        } body: { path in
            var answers: [ControlAnswer] = []
            try ControlClient(path: path).call(ControlRequest(verb: "device.show", arguments: ["id": "dev-1"])) {
                answers.append($0)
                return true
            }
            #expect(answers == [.done(["verb": "device.show", "id": "dev-1"])])
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test func aStreamEndsWhenTheCallerHasEnough() async throws {
        try await withServer { _, send in
            var number: Int64 = 0
            while await send(.item(.number(JSONNumber(number)))) { number += 1 }
            return .done(.null)
        } body: { path in
            var received = 0
            try ControlClient(path: path).call(ControlRequest(verb: "monitor", arguments: [:])) { _ in
                received += 1
                return received < 100
            }
            #expect(received == 100)
        }
    }

    @Test func anErrorKeepsItsKind() async throws {
        try await withServer { _, _ in
            throw ControlError("no such device", .wrongCall)
        } body: { path in
            var answers: [ControlAnswer] = []
            try ControlClient(path: path).call(ControlRequest(verb: "x", arguments: [:])) {
                answers.append($0)
                return true
            }
            #expect(answers == [.failed(ControlError("no such device", .wrongCall))])
        }
    }

    @Test func whenNobodyListensTheErrorNamesTheSocket() {
        let error = #expect(throws: ControlError.self) {
            try ControlClient(path: "/nonexistent/control.sock").call(ControlRequest(verb: "x", arguments: [:])) { _ in
                true
            }
        }
        #expect(
            error?.message
                == "the hub's socket /nonexistent/control.sock does not answer: No such file or directory")
    }

    @Test func aPathThatIsTooLongIsRefusedInWords() {
        let path = "/" + String(repeating: "x", count: 120)
        let error = #expect(throws: ControlError.self) {
            try ControlClient(path: path).call(ControlRequest(verb: "x", arguments: [:])) { _ in true }
        }
        #expect(error?.message.contains("longer than the 107 bytes") == true)
    }

    private func withServer(
        _ verb: @escaping ControlVerb, body: @Sendable @escaping (String) throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "control-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "s").path
        let server = try await ControlServer.start(path: path, group: .singletonMultiThreadedEventLoopGroup, verb: verb)
        try await NIOThreadPool.singleton.runIfActive { try body(path) }
        await server.stop()
    }
}
