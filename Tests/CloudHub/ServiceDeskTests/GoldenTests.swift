import DeskTestKit
import Glibc
import JSON
import Primitives
import ServiceDesk
import Testing

/// Requests and answers in the forms of the public documentation, replayed against a live desk.
///
/// A case is a folder with `request.http`, `response.http` and `source.txt`. The desk holds one device (`…d1`), one alert
/// (`…a1`) and one command (`…c1`). In an expected answer `{origin}` stands for the desk's own address, `"<any>"` for any
/// value; members that are not named may be there.
@Suite struct GoldenTests {
    static let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    static var root: String { "/" + folder + "/Golden/dataverse" }

    static var cases: [String] {
        guard let directory = opendir(root) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    @Test func thereAreCases() { #expect(Self.cases.count >= 14) }

    @Test(arguments: cases) func answersAsDocumented(_ name: String) async throws {
        let folder = TemporaryFolder()
        let live = try await LiveDesk.start(folder: folder.path)
        do {
            let caller = try await DeskCaller(live)
            try await seed(caller)
            let source = try text(name, "source.txt")
            #expect(source.contains("learn.microsoft.com") || source.contains("github.com"), "a case cites its source")
            let request = try Message(text(name, "request.http"))
            let expected = try Message(text(name, "response.http"))
            let first = request.first.split(separator: " ", maxSplits: 1).map(String.init)
            let body = request.body.isEmpty ? nil : try JSONValue(parsing: request.body)
            let answer = try await caller.call(first[0], first[1], body, headers: request.headers)
            #expect("\(answer.status)" == expected.first, "\(String(decoding: answer.body, as: UTF8.self))")
            for (header, value) in expected.headers {
                let wanted = value.filling(caller.origin)
                let found = answer.headers[header.lowercased()]
                #expect(wanted == "<any>" ? found != nil : found == wanted, "\(header): \(found ?? "missing")")
            }
            if expected.body.isEmpty {
                #expect(answer.body.isEmpty)
            } else {
                let wanted = try JSONValue(parsing: expected.body.filling(caller.origin))
                #expect(wanted.isIn(answer.json ?? .null), "\(String(decoding: answer.body, as: UTF8.self))")
            }
        } catch {
            try await live.stop()
            throw error
        }
        try await live.stop()
    }

    private func seed(_ caller: DeskCaller) async throws {
        let zeros = "00000000-0000-0000-8000-0000000000"
        _ = try await caller.call(
            "PATCH", "msdyn_iotdevices(\(zeros)d1)", ["msdyn_name": "Thermostat", "msdyn_deviceid": "thermostat-1"])
        _ = try await caller.call(
            "PATCH", "msdyn_iotalerts(\(zeros)a1)",
            [
                "msdyn_description": "too hot", "msdyn_alerttoken": "token-1",
                "msdyn_Device@odata.bind": .string("/msdyn_iotdevices(\(zeros)d1)"),
            ])
        _ = try await caller.call(
            "PATCH", "msdyn_iotdevicecommands(\(zeros)c1)",
            [
                "msdyn_name": "Reset Thermostat", "msdyn_deviceid": "thermostat-1",
                "msdyn_message": #"{"CommandName":"Reset Thermostat","Parameters":{}}"#,
                "msdyn_ParentAlert@odata.bind": .string("/msdyn_iotalerts(\(zeros)a1)"),
            ])
    }

    private func text(_ name: String, _ file: String) throws -> String {
        guard let stream = fopen("\(Self.root)/\(name)/\(file)", "r") else { throw Missing(file: "\(name)/\(file)") }
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, stream)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    struct Missing: Error { let file: String }
}

/// First line, headers, blank line, body.
private struct Message {
    let first: String
    var headers: [(String, String)] = []
    let body: String

    init(_ text: String) throws {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        first = lines.removeFirst()
        while let line = lines.first, !line.isEmpty {
            let halves = line.split(separator: ":", maxSplits: 1).map { $0.drop { $0 == " " } }
            headers.append((String(halves[0]), String(halves[1])))
            lines.removeFirst()
        }
        body = lines.joined(separator: "\n").split(separator: "\n").joined(separator: "\n")
    }
}

extension String {
    fileprivate func filling(_ origin: String) -> String {
        split(separator: "{origin}", omittingEmptySubsequences: false).joined(separator: origin)
    }
}

extension JSONValue {
    fileprivate func isIn(_ found: JSONValue) -> Bool {
        switch (self, found) {
        case (.string("<any>"), _): found != .null
        case (.object(let wanted), .object(let object)):
            wanted.members.allSatisfy { member in object[member.key].map { member.value.isIn($0) } ?? false }
        case (.array(let wanted), .array(let array)):
            wanted.count == array.count && zip(wanted, array).allSatisfy { $0.isIn($1) }
        default: self == found
        }
    }
}
